//! The last step of a search: the best few with other seeds, then the winner on the test images, once.

use super::{
    board::Board,
    setup::Setup,
    study::Opened,
    trainer::{Trainer, weights_folder},
    workers::{Clock, Crew, plural, trainer},
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        interrupt::Interrupt,
        output::Output,
    },
    network::Network,
    search::{
        Assignment, Audience, Ending, Extent, Fault, Keep, Order, Outcome, Proposal, Proposals, Retraining, Sampled,
        attributes, finalists,
    },
    study,
};
use nasgen_search::{Rejection, Trial, pruner};
use nasgen_storage::{Storage, Study, connect};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The share of the time that the last step may have set aside for it.
const LAST_STEP_SHARE: f64 = 0.5;
/// How long the last step takes more than its trainings took before: the test images, and what cannot be foreseen.
const MARGIN: f64 = 1.15;
/// What else has to fit, however short the trainings: the trial that is cut off comes to its stop, and is written down.
const STOPPING_SECONDS: f64 = 1.0;

/// What came of the last step, and where its files are.
pub(super) struct Finale {
    pub(super) outcome: Outcome,
    /// The folder of the winner's weights that should be used; `None` where another machine has them.
    pub(super) weights: Option<PathBuf>,
    /// Images that the test scores are of.
    pub(super) test_images: usize,
}

/// The whole last step.
fn whole_last_step(setup: &Setup<'_>) -> Extent {
    Extent { finalists: setup.arguments.finalists, seeds: setup.arguments.final_seeds }
}

/// What one training of the last step will take, in seconds, if one of a trial takes `each`.
fn last_training_seconds(setup: &Setup<'_>, each: f64) -> f64 {
    let epochs = setup.config.settings.epochs.max(1) as f64;
    let longer = setup.arguments.final_epochs.map_or(1.0, |last| last as f64 / epochs);
    MARGIN * each * longer
}

/// What comes after the last step: after a cross-validation one training on all images.
fn afterwards(setup: &Setup<'_>, each: f64) -> f64 {
    let (Some(folds), Some(pictures)) = (setup.config.kfold, &setup.pictures) else { return 0.0 };
    each / folds as f64 * pictures.all_per_learnt()
}

/// How much of `time` is set aside for the last step, if a training of a trial takes `each` seconds.
pub(super) fn set_aside(setup: &Setup<'_>, time: Duration, each: Option<f64>) -> Duration {
    let needed = each.map_or(0.0, |each| {
        let each = last_training_seconds(setup, each);
        STOPPING_SECONDS + whole_last_step(setup).seconds(setup.jobs, each) + afterwards(setup, each)
    });
    Duration::from_secs_f64(needed.min(time.as_secs_f64() * LAST_STEP_SHARE))
}

/// What the last step needs to know.
pub(super) struct LastStep<'a> {
    pub(super) setup: &'a Setup<'a>,
    pub(super) opened: &'a Opened,
    pub(super) clock: Clock,
    pub(super) interrupt: &'a Interrupt,
    pub(super) output: &'a Output,
}

impl LastStep<'_> {
    /// The best few with other seeds, then the winner on the test images, once. A training of a trial took `each`
    /// seconds. `None` where there is nothing to train again, or no time for it.
    pub(super) fn run(&self, each: Option<f64>) -> Result<Option<Finale>, Failure> {
        let Self { setup, opened, output, .. } = *self;
        let mut storage = connect(&opened.url)?;
        let study = storage.study(&opened.name)?.map(|(_, study)| study);
        let fits = |trial: &&Trial| study.as_ref().is_none_or(|study| study::fits(study, trial));
        let trials: Vec<Trial> = storage.trials(opened.id)?.iter().filter(fits).cloned().collect();
        let numbers = finalists(&trials, &setup.objectives, setup.arguments.finalists);
        if setup.pictures.is_none() || numbers.is_empty() {
            return Ok(None);
        }
        let whole = Extent { finalists: numbers.len(), ..whole_last_step(setup) };
        let Some(extent) = self.affordable(whole, each) else { return Ok(None) };
        let numbers = numbers[..extent.finalists].to_vec();
        let settings = |train: &Map<String, Value>| setup.settings(train);
        let latency = |network: &Network| setup.latency_ms(network);
        let space = setup.model_space(&settings, &latency)?;
        let (seed, extended) = (setup.config.settings.seed, opened.extended);
        let proposals = Sampled { space: &space, sampler: &*setup.sampler.by, seed, extended };
        let finalists = numbers.iter().map(|number| Ok((*number, again(setup, &proposals, &trials, *number)?)));
        let retraining = Retraining {
            finalists: finalists.collect::<Result<_, Failure>>()?,
            seeds: extent.seeds,
            seed,
            objective: &setup.objectives[..1],
        };
        let name = final_name(setup, opened, &numbers, extent.seeds);
        let folder = opened.folder.join("final").join(crate::search::hash(&name));
        let id = self.retrain(&mut *storage, &retraining, &name, &folder)?;
        if self.interrupt.asked() {
            return Ok(None);
        }
        let done = storage.trials(id)?.to_vec();
        let seeds = Outcome::whole_seeds(&done, numbers.len()).min(extent.seeds);
        if seeds < extent.seeds {
            output.note(&format!("the time was up in the last step: {seeds} of {} seeds count", extent.seeds));
        }
        let outcome = Outcome::of(&done, &numbers, &setup.objectives[0], seeds);
        let Some(outcome) = outcome.filter(|_| seeds > 0) else { return Ok(None) };
        if seeds == extent.seeds {
            storage.close(id)?;
        }
        self.measured(&mut *storage, &retraining, outcome, &name, &folder).map(Some)
    }

    /// Trains the finalists, as trials of a study of their own, until they are done or the time is up. Gives the
    /// study's id.
    fn retrain(
        &self,
        storage: &mut dyn Storage,
        retraining: &Retraining<'_>,
        name: &str,
        folder: &Path,
    ) -> Result<i64, Failure> {
        let Self { setup, opened, .. } = *self;
        let objectives = &setup.objectives[..1];
        let (id, _) = storage.open(&Study {
            name: name.to_owned(),
            objectives: objectives.to_vec(),
            user: Default::default(),
            system: [(attributes::LAST_STEP_OF.to_owned(), json!(opened.name))].into(),
        })?;
        let numbers: Vec<u64> = retraining.finalists.iter().map(|(number, _)| *number).collect();
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let (trials, seeds) = (plural(numbers.len() as u64, "trial"), plural(retraining.seeds, "seed"));
        let message = format!("last step: {trials} {} with {} {seeds} each", words.join(", "), retraining.seeds);
        self.output.message(&message);
        let none = pruner("none", &Map::new()).map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
        let naming =
            |run: u64| format!("trial {:>5}, seed {}", numbers[retraining.finalist(run)], retraining.seed_of(run));
        let board = Board::new(objectives, "last step", setup.config.kfold, &naming);
        let is_late = || self.clock.left().is_some_and(|left| left <= 0.0);
        Crew {
            setup,
            url: &opened.url,
            study: id,
            name,
            folder,
            proposals: retraining,
            pruner: &*none,
            at_most: Some(retraining.len()),
            complete_at_least: 0,
            until: None,
            keep: Keep { best: usize::MAX, bytes: u64::MAX },
            whole_runs: true,
            board: &board,
            stop: &|| self.interrupt.asked() || is_late(),
        }
        .work()?;
        Ok(id)
    }

    /// As much of the last step as the time that is left holds, if a training of a trial takes `each` seconds; says so
    /// where that is not all of it.
    fn affordable(&self, whole: Extent, each: Option<f64>) -> Option<Extent> {
        let setup = self.setup;
        let Some(left) = self.clock.left() else { return Some(whole) };
        let each = each.map(|each| last_training_seconds(setup, each));
        let extent = each.and_then(|each| whole.within(left - afterwards(setup, each), setup.jobs, each));
        let needed = each.map_or_else(String::new, |each| {
            format!(" of about {:.0} s", whole.seconds(setup.jobs, each) + afterwards(setup, each))
        });
        match extent {
            Some(extent) if extent == whole => {}
            Some(Extent { finalists, seeds }) => self.output.note(&format!(
                "the last step{needed} is shortened to {finalists} of the best with {} of {} seeds: {left:.0} s of --time are \
                 left",
                seeds, whole.seeds
            )),
            None => self.output.note(&format!(
                "no last step{needed}: {left:.0} s of --time are left. The best values of the search stand, which flatter \
                 what they chose"
            )),
        }
        extent
    }

    /// The winner on the test images. What was measured before is taken from the study: they are looked at once.
    fn measured(
        &self,
        storage: &mut dyn Storage,
        retraining: &Retraining<'_>,
        mut outcome: Outcome,
        name: &str,
        folder: &Path,
    ) -> Result<Finale, Failure> {
        let Self { setup, opened, .. } = *self;
        let _turn = turn(folder)?;
        let objective = &setup.objectives[0];
        let place = retraining.finalists.iter().position(|(number, _)| *number == outcome.winner().number).unwrap_or(0);
        let proposal = &retraining.finalists[place].1;
        let trainer = trainer(setup, true)?;
        let Some(model) = &proposal.model else {
            return Ok(Finale { outcome, weights: None, test_images: 0 });
        };
        let before = self.measured_before(storage, &outcome, name)?;
        let parts = trainer.pictures.parts(&model.network)?;
        let test = parts[0].test.clone();
        let folders: Vec<(u64, PathBuf)> = match trainer.pictures.folds() {
            1 => outcome.winner().runs.iter().filter_map(|run| Some((*run, weights_folder(folder, *run)?))).collect(),
            _ => vec![(0, on_all_images(&trainer, proposal, folder)?)],
        };
        match (before, &test) {
            (Some(before), _) => outcome.test = before,
            (None, Some(test)) if !test.is_empty() => {
                let value = |(_, folder): &(u64, PathBuf)| {
                    let metrics = trainer.measure(&model.network, folder, &parts[0], test)?;
                    Ok(super::trainer::metric_value(setup.config.settings.metric, &metrics))
                };
                outcome.test = folders.iter().map(value).collect::<Result<_, Failure>>()?;
            }
            (None, _) => {}
        }
        storage.set_study_attribute(
            opened.id,
            true,
            attributes::FINAL,
            &json!({ "name": name, "outcome": outcome }),
        )?;
        let best = outcome.winner().best_run(objective);
        let weights = folders.iter().find(|(run, _)| trainer.pictures.folds() > 1 || Some(*run) == best);
        let weights = weights.map(|(_, folder)| folder.clone());
        Ok(Finale { weights, test_images: test.map_or(0, |test| test.len()), outcome })
    }

    /// What the test images said before, if it was of the same trainings; says so if it was of others.
    fn measured_before(
        &self,
        storage: &mut dyn Storage,
        outcome: &Outcome,
        name: &str,
    ) -> Result<Option<Vec<f64>>, Failure> {
        let study = storage.study(&self.opened.name)?.map(|(_, study)| study);
        let Some(before) = study.and_then(|study| study.system.get(attributes::FINAL).cloned()) else {
            return Ok(None);
        };
        let Ok(last) = serde_json::from_value::<Outcome>(before["outcome"].clone()) else { return Ok(None) };
        // A last step that the time cut off may have had another winner, or fewer of its seeds.
        let runs = |outcome: &Outcome| outcome.finalists.first().map(|winner| (winner.number, winner.runs.clone()));
        if before["name"] == json!(name) && runs(&last) == runs(outcome) {
            return Ok(Some(last.test));
        }
        if let (Some(winner), false) = (last.finalists.first(), last.test.is_empty()) {
            self.output.note(&format!(
                "the test images were looked at before, when trial {} won the last step: what they say of trial {} now is \
                 no reason to prefer either",
                winner.number,
                outcome.winner().number
            ));
        }
        Ok(None)
    }
}

fn final_name(setup: &Setup<'_>, opened: &Opened, numbers: &[u64], seeds: u64) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let epochs = setup.arguments.final_epochs.map_or_else(String::new, |epochs| format!(", {epochs} epochs"));
    format!("{} last step: {} × {seeds}{epochs}", opened.name, words.join(", "))
}

/// The spec of a trial that another program added, made again from its draws; `None` where they are not of this space.
pub(super) fn made_again(setup: &Setup<'_>, opened: &Opened, trial: &Trial) -> Result<Option<String>, Failure> {
    let settings = |train: &Map<String, Value>| setup.settings(train);
    let latency = |network: &Network| setup.latency_ms(network);
    let space = setup.model_space(&settings, &latency)?;
    let (seed, extended) = (setup.config.settings.seed, opened.extended);
    let proposals = Sampled { space: &space, sampler: &*setup.sampler.by, seed, extended };
    Ok(proposal_of(&proposals, trial).ok().map(|proposal| proposal.config))
}

/// What a finalist is, with the epochs of the last step.
fn again(setup: &Setup<'_>, proposals: &Sampled<'_>, trials: &[Trial], number: u64) -> Result<Proposal, Failure> {
    let gone = || Failure::new(Kind::Failed, format!("trial {number} is gone"));
    let trial = trials.iter().find(|trial| trial.number == number).ok_or_else(gone)?;
    let unlike =
        |rejection| Failure::new(Kind::Failed, format!("trial {number} cannot be trained again: {rejection:?}"));
    let mut proposal = proposal_of(proposals, trial).map_err(unlike)?;
    if let (Some(model), Some(epochs)) = (&mut proposal.model, setup.arguments.final_epochs) {
        model.settings.epochs = epochs as usize;
    }
    Ok(proposal)
}

fn proposal_of(proposals: &Sampled<'_>, trial: &Trial) -> Result<Proposal, Rejection> {
    let given = attributes::config(trial).filter(|_| trial.user.contains_key(attributes::GIVEN));
    match given {
        Some(text) => proposals.given(text),
        None => {
            let draws = trial.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
            proposals.again(&draws, trial.number)
        }
    }
}

/// Of the processes that share `folder` one at a time finishes the last step; what it finds out the others read.
fn turn(folder: &Path) -> Result<File, Failure> {
    let path = folder.join(".lock");
    let failed = |error: io::Error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.lock() {
        // Without locks each finds out the same by itself.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(failed(error)),
        _ => Ok(file),
    }
}

/// After a cross-validation the winner learns from all images. Its validation images are among them, so its
/// measures on them say nothing of others.
fn on_all_images(trainer: &Trainer<'_>, proposal: &Proposal, folder: &Path) -> Result<PathBuf, Failure> {
    struct Nobody;
    impl Audience for Nobody {
        fn told(&self, _: u64, _: f64) -> Order {
            Order::Continue
        }
        fn halt(&self) -> bool {
            false
        }
    }
    let folder = folder.join("on-all-images");
    let assignment = Assignment { number: 0, proposal, folder: &folder };
    let failed =
        |problem: String| Failure::new(Kind::Failed, format!("the winner cannot learn from all images: {problem}"));
    let network =
        proposal.model.as_ref().map(|model| &model.network).ok_or_else(|| failed("there is no network".into()))?;
    let all = trainer.pictures.all(network)?;
    match trainer.train_on(&assignment, &all, &Nobody) {
        Ok(Ending::Scored(_)) => {}
        Ok(Ending::Halted) => return Err(failed("it was stopped".into())),
        Err(Fault { message, .. }) => return Err(failed(message)),
    }
    Ok(folder)
}

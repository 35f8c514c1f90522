//! The workers of this process, first on the search, then on its last step.

use super::{
    board::{Board, by_number},
    setup::{Opened, Setup},
    trainer::{Trainer, weights_folder},
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        interrupt::Interrupt,
        output::Output,
    },
    network::Network,
    search::{
        Assignment, Audience, Driver, End, Ending, Evaluator, Extent, Fault, FaultKind, Heart, Keep, Order, Outcome,
        Proposal, Proposals, Retraining, Sampled, Scorer, SearchError, Shared, Tally, attributes, finalists,
        trial_folder,
    },
};
use nasgen_search::{Objective, Pruner, Rejection, Trial, pruner};
use nasgen_storage::{Storage, Study, connect};
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How often the board is drawn when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// The share of the time that the last step may have set aside for it.
const LAST_STEP_SHARE: f64 = 0.5;
/// System attributes of a study that begin so: what became of the draws of one process.
pub(super) const TALLY: &str = "nasgen:tally";

/// What came of the last step, and where its files are.
pub(super) struct Finale {
    pub(super) outcome: Outcome,
    /// The folder of the winner's weights that should be used; `None` where another machine has them.
    pub(super) weights: Option<PathBuf>,
    /// Images that the test scores are of.
    pub(super) test_images: usize,
}

/// What all workers of one study do.
struct Crew<'a> {
    setup: &'a Setup<'a>,
    url: &'a str,
    study: i64,
    name: &'a str,
    folder: &'a Path,
    proposals: &'a dyn Proposals,
    pruner: &'a dyn Pruner,
    at_most: Option<u64>,
    complete_at_least: usize,
    until: Option<f64>,
    keep: Keep,
    whole_runs: bool,
    board: &'a Board<'a>,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Crew<'_> {
    fn work(&self) -> Result<End, Failure> {
        let heart = Heart::default();
        let driver = Driver {
            study: self.study,
            name: self.name,
            proposals: self.proposals,
            pruner: self.pruner,
            folder: self.folder,
            at_most: self.at_most,
            complete_at_least: self.complete_at_least,
            until: self.until,
            lease: self.setup.arguments.lease,
            keep: self.keep,
            stop: self.stop,
            watcher: self.board,
            heart: &heart,
            shared: Shared::default(),
        };
        let mut pulse = connect(self.url)?;
        let storages = (0..self.setup.jobs).map(|_| connect(self.url)).collect::<Result<Vec<_>, _>>()?;
        let scorers = (0..self.setup.jobs).map(|_| self.scorer()).collect::<Result<Vec<_>, _>>()?;
        self.board.seed(connect(self.url)?.trials(self.study)?);
        let results = thread::scope(|scope| {
            let beat = scope.spawn(|| heart.beat(&mut *pulse, self.setup.arguments.lease / 4));
            let workers: Vec<_> = storages
                .into_iter()
                .zip(scorers)
                .enumerate()
                .map(|(index, (mut storage, mut scorer))| {
                    let (driver, name) = (&driver, worker_name(index));
                    scope.spawn(move || driver.work(&name, &mut *storage, &mut *scorer))
                })
                .collect();
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                self.board.draw();
                thread::sleep(TICK);
            }
            heart.end();
            let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            // It ends without a result; a panic in it is one of the storage's, which workers meet too.
            let _ = beat.join();
            results
        });
        self.board.finish();
        for result in results {
            match result {
                Ok(result) => result?,
                Err(_) => {
                    return Err(Failure::new(
                        Kind::Failed,
                        "a worker panicked; its trial goes on with the same command",
                    ));
                }
            }
        }
        Ok(driver.end())
    }

    fn scorer(&self) -> Result<Box<dyn Scorer + '_>, Failure> {
        if let Some(command) = &self.setup.arguments.evaluator {
            let objective = &self.setup.objectives[0].name;
            return Ok(Box::new(Evaluator::new(command, self.setup.arguments.silence, objective, &write_module)));
        }
        match &self.setup.pictures {
            None => Err(Failure::usage("there is nothing that scores a trial")),
            Some(_) => Ok(Box::new(trainer(self.setup, self.whole_runs)?)),
        }
    }
}

fn trainer<'a>(setup: &'a Setup<'a>, whole_runs: bool) -> Result<Trainer<'a>, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(setup.threads).build();
    let pool =
        pool.map_err(|error| Failure::new(Kind::Failed, format!("cannot start {} threads: {error}", setup.threads)))?;
    let none = || Failure::usage("there are no images");
    Ok(Trainer { pictures: setup.pictures.as_ref().ok_or_else(none)?, config: &setup.config, pool, whole_runs })
}

fn write_module(assignment: &Assignment<'_>, path: &Path) -> Result<(), String> {
    let Some(model) = &assignment.proposal.model else { return Ok(()) };
    let text = crate::export::pytorch_module(&model.network, "the network of this trial")?;
    crate::files::write_whole(path, text.as_bytes()).map_err(|error| error.to_string())
}

/// The time that a search may take, from the moment the command began.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) began: Instant,
    /// `None` without a limit.
    pub(super) time: Option<Duration>,
}

impl Clock {
    /// Seconds that are left.
    fn left(self) -> Option<f64> {
        Some(self.time?.saturating_sub(self.began.elapsed()).as_secs_f64())
    }
}

/// How long the last step takes more than its trainings took before: the test images, and what cannot be foreseen.
const MARGIN: f64 = 1.15;

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
    setup.config.kfold.map_or(0.0, |folds| each / (folds as f64 - 1.0))
}

/// Trials until the time or their number is used up, or the user stops.
pub(super) fn search(
    setup: &Setup<'_>,
    opened: &Opened,
    clock: Clock,
    interrupt: &Interrupt,
) -> Result<(End, Option<f64>), Failure> {
    let settings = |train: &Map<String, Value>| setup.settings(train);
    let latency = |network: &Network| setup.latency_ms(network);
    let space = setup.model_space(&settings, &latency)?;
    let seed = setup.config.settings.seed;
    let proposals = Sampled { space: &space, sampler: &*setup.sampler, seed, extended: opened.extended };
    let board = Board::new(&setup.objectives, "search", setup.config.kfold, &by_number);
    let last_step = whole_last_step(setup);
    // What the last step will take, as far as it is known.
    let deadline = || {
        let time = clock.time?;
        let each = board.training_seconds(last_step.finalists).filter(|_| setup.pictures.is_some());
        let needed = each.map_or(0.0, |each| {
            let each = last_training_seconds(setup, each);
            last_step.seconds(setup.jobs, each) + afterwards(setup, each)
        });
        let needed = Duration::from_secs_f64(needed.min(time.as_secs_f64() * LAST_STEP_SHARE));
        Some(clock.began + time.saturating_sub(needed))
    };
    board.set_deadline(deadline());
    let stop = || interrupt.asked() || deadline().is_some_and(|deadline| Instant::now() >= deadline);
    let searched = Crew {
        setup,
        url: &opened.url,
        study: opened.id,
        name: &opened.name,
        folder: &opened.folder,
        proposals: &proposals,
        pruner: &*setup.pruner,
        at_most: setup.arguments.trials,
        complete_at_least: setup.arguments.finalists.max(1),
        until: setup.until,
        keep: setup.keep(),
        whole_runs: false,
        board: &board,
        stop: &stop,
    }
    .work();
    let tally = space.tally();
    if tally != Tally::default() {
        // Each process has its own: nobody overwrites what another counted.
        let name = format!("{TALLY}:{}:{}", worker_name(0), began_at());
        connect(&opened.url)?.set_study_attribute(opened.id, true, &name, &json!(tally))?;
    }
    Ok((searched?, board.training_seconds(last_step.finalists)))
}

/// Microseconds since 1970: with the process's number it names a search.
fn began_at() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// As much of the last step as the time that is left holds, if a training of a trial takes `each` seconds; says so
/// where that is not all of it.
fn affordable(setup: &Setup<'_>, clock: Clock, whole: Extent, each: Option<f64>, output: &Output) -> Option<Extent> {
    let Some(left) = clock.left() else { return Some(whole) };
    let each = each.map(|each| last_training_seconds(setup, each));
    let extent = each.and_then(|each| whole.within(left - afterwards(setup, each), setup.jobs, each));
    let needed = each.map_or_else(String::new, |each| {
        format!(" of about {:.0} s", whole.seconds(setup.jobs, each) + afterwards(setup, each))
    });
    match extent {
        Some(extent) if extent == whole => {}
        Some(Extent { finalists, seeds }) => output.note(&format!(
            "the last step{needed} is shortened to {finalists} of the best with {} of {} seeds: {left:.0} s of --time are \
             left",
            seeds, whole.seeds
        )),
        None => output.note(&format!(
            "no last step{needed}: {left:.0} s of --time are left. The best values of the search stand, which flatter \
             what they chose"
        )),
    }
    extent
}

/// The best few with other seeds, then the winner on the test images, once.
pub(super) fn finale(
    setup: &Setup<'_>,
    opened: &Opened,
    clock: Clock,
    each: Option<f64>,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<Option<Finale>, Failure> {
    let mut storage = connect(&opened.url)?;
    let trials = storage.trials(opened.id)?.to_vec();
    let numbers = finalists(&trials, &setup.objectives, setup.arguments.finalists);
    if setup.pictures.is_none() || numbers.is_empty() {
        return Ok(None);
    }
    let whole = Extent { finalists: numbers.len(), ..whole_last_step(setup) };
    let Some(extent) = affordable(setup, clock, whole, each, output) else { return Ok(None) };
    let numbers = numbers[..extent.finalists].to_vec();
    let settings = |train: &Map<String, Value>| setup.settings(train);
    let latency = |network: &Network| setup.latency_ms(network);
    let space = setup.model_space(&settings, &latency)?;
    let (seed, extended) = (setup.config.settings.seed, opened.extended);
    let proposals = Sampled { space: &space, sampler: &*setup.sampler, seed, extended };
    let finalists = numbers.iter().map(|number| Ok((*number, again(setup, &proposals, &trials, *number)?)));
    let retraining = Retraining {
        finalists: finalists.collect::<Result<_, Failure>>()?,
        seeds: extent.seeds,
        seed: setup.config.settings.seed,
        objective: &setup.objectives[..1],
    };
    let name = final_name(setup, opened, &numbers, extent.seeds);
    let folder = opened.folder.join("final").join(crate::search::hash(&name));
    let study = Study {
        name: name.clone(),
        objectives: setup.objectives[..1].to_vec(),
        user: Default::default(),
        system: [(attributes::LAST_STEP_OF.to_owned(), json!(opened.name))].into(),
    };
    let (id, _) = storage.open(&study)?;
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let (trials_word, seeds_word) = (plural(numbers.len() as u64, "trial"), plural(extent.seeds, "seed"));
    output.message(&format!("last step: {trials_word} {} with {} {seeds_word} each", words.join(", "), extent.seeds));
    let none = pruner("none", &Map::new()).map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
    let naming = |run: u64| format!("trial {:>5}, seed {}", numbers[retraining.finalist(run)], retraining.seed_of(run));
    let board = Board::new(&setup.objectives[..1], "last step", setup.config.kfold, &naming);
    let is_late = || clock.left().is_some_and(|left| left <= 0.0);
    Crew {
        setup,
        url: &opened.url,
        study: id,
        name: &name,
        folder: &folder,
        proposals: &retraining,
        pruner: &*none,
        at_most: Some(retraining.len()),
        complete_at_least: 0,
        until: None,
        keep: Keep { best: usize::MAX, bytes: u64::MAX },
        whole_runs: true,
        board: &board,
        stop: &|| interrupt.asked() || is_late(),
    }
    .work()?;
    if interrupt.asked() {
        return Ok(None);
    }
    let done = storage.trials(id)?.to_vec();
    let objective = &setup.objectives[0];
    let seeds = Outcome::whole_seeds(&done, numbers.len()).min(extent.seeds);
    if seeds < extent.seeds {
        output.note(&format!("the time was up in the last step: {seeds} of {} seeds count", extent.seeds));
    }
    let Some(outcome) = Outcome::of(&done, &numbers, objective, seeds).filter(|_| seeds > 0) else { return Ok(None) };
    if seeds == extent.seeds {
        storage.close(id)?;
    }
    measured(setup, opened, &mut *storage, &retraining, outcome, &name, &folder).map(Some)
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
    let proposals = Sampled { space: &space, sampler: &*setup.sampler, seed, extended };
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

/// The winner on the test images. What was measured before is taken from the study: they are looked at once.
fn measured(
    setup: &Setup<'_>,
    opened: &Opened,
    storage: &mut dyn Storage,
    retraining: &Retraining<'_>,
    mut outcome: Outcome,
    name: &str,
    folder: &Path,
) -> Result<Finale, Failure> {
    let objective = &setup.objectives[0];
    let place = retraining.finalists.iter().position(|(number, _)| *number == outcome.winner().number).unwrap_or(0);
    let proposal = &retraining.finalists[place].1;
    let trainer = trainer(setup, true)?;
    let Some(model) = &proposal.model else {
        return Ok(Finale { outcome, weights: None, test_images: 0 });
    };
    let before = storage.study(&opened.name)?.and_then(|(_, study)| study.system.get(attributes::FINAL).cloned());
    let before = before.filter(|before| before["name"] == json!(name));
    let before: Option<Outcome> = before.and_then(|before| serde_json::from_value(before["outcome"].clone()).ok());
    // A last step that the time cut off may have had another winner, or fewer of its seeds.
    let before = before.filter(|before| {
        let runs = |outcome: &Outcome| outcome.finalists.first().map(|winner| (winner.number, winner.runs.clone()));
        runs(before) == runs(&outcome)
    });
    let parts = trainer.pictures.parts(&model.network)?;
    let test = parts[0].test.clone();
    let folders: Vec<(u64, PathBuf)> = match trainer.pictures.folds() {
        1 => outcome.winner().runs.iter().filter_map(|run| Some((*run, weights_folder(folder, *run)?))).collect(),
        _ => vec![(0, on_all_images(&trainer, proposal, folder)?)],
    };
    match (before, &test) {
        (Some(before), _) => outcome.test = before.test,
        (None, Some(test)) if !test.is_empty() => {
            let value = |(_, folder): &(u64, PathBuf)| {
                let metrics = trainer.measure(&model.network, folder, &parts[0], test)?;
                Ok(super::trainer::metric_value(setup.config.settings.metric, &metrics))
            };
            outcome.test = folders.iter().map(value).collect::<Result<_, Failure>>()?;
        }
        (None, _) => {}
    }
    storage.set_study_attribute(opened.id, true, attributes::FINAL, &json!({ "name": name, "outcome": outcome }))?;
    let best = outcome.winner().best_run(objective);
    let weights = folders.iter().find(|(run, _)| trainer.pictures.folds() > 1 || Some(*run) == best);
    let weights = weights.map(|(_, folder)| folder.clone());
    Ok(Finale { weights, test_images: test.map_or(0, |test| test.len()), outcome })
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

pub(super) fn plural(count: u64, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Who this is, in the study.
fn worker_name(index: usize) -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{host}:{}:{index}", std::process::id())
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        let kind = match &error {
            SearchError::NothingFits { .. } => Kind::NothingFits,
            SearchError::InvalidSpace(_) => Kind::Usage,
            SearchError::Fault(Fault { kind: FaultKind::OutOfMemory, .. }) => Kind::OutOfMemory,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Where a trial's spec is, written there if it is not yet.
pub(super) fn config_file(opened: &Opened, trial: &Trial) -> Result<Option<PathBuf>, Failure> {
    let path = trial_folder(&opened.folder, trial.number).join("model.yaml");
    if !path.is_file() {
        let Some(text) = crate::search::attributes::config(trial) else { return Ok(None) };
        let written = std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))
            .and_then(|()| crate::files::write_whole(&path, text.as_bytes()));
        written.map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(Some(path))
}

/// The objective whose name is what a person compares.
pub(super) fn percent(objective: &Objective, value: f64) -> String {
    match objective.name.as_str() {
        "accuracy" | "macro_f1" => format!("{:.1} %", value * 100.0),
        _ => format!("{value:.4}"),
    }
}

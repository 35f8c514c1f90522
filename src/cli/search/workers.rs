//! The workers of this process.

use super::{
    board::{Board, by_number},
    last_step,
    setup::Setup,
    study::Opened,
    trainer::Trainer,
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        interrupt::Interrupt,
    },
    network::Network,
    search::{
        Assignment, Driver, End, Evaluator, Fault, FaultKind, Heart, Keep, Proposals, Sampled, Scorer, SearchError,
        Shared, Tally, trial_folder,
    },
};
use nasgen_search::{Objective, Pruner, Trial};
use nasgen_storage::connect;
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How often the board is drawn when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// System attributes of a study that begin so: what became of the draws of one process.
pub(super) const TALLY: &str = "nasgen:tally";

/// What all workers of one study do.
pub(super) struct Crew<'a> {
    pub(super) setup: &'a Setup<'a>,
    pub(super) url: &'a str,
    pub(super) study: i64,
    pub(super) name: &'a str,
    pub(super) folder: &'a Path,
    pub(super) proposals: &'a dyn Proposals,
    pub(super) pruner: &'a dyn Pruner,
    pub(super) at_most: Option<u64>,
    pub(super) complete_at_least: usize,
    pub(super) until: Option<f64>,
    pub(super) keep: Keep,
    pub(super) whole_runs: bool,
    pub(super) board: &'a Board<'a>,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Crew<'_> {
    pub(super) fn work(&self) -> Result<End, Failure> {
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

pub(super) fn trainer<'a>(setup: &'a Setup<'a>, whole_runs: bool) -> Result<Trainer<'a>, Failure> {
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
    pub(super) fn left(self) -> Option<f64> {
        Some(self.time?.saturating_sub(self.began.elapsed()).as_secs_f64())
    }
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
    let board = Board::new(&setup.objectives, "search", setup.config.kfold, &by_number);
    // A training of the last step takes as long as those of trials, as far as that is known.
    let each = || board.training_seconds(setup.arguments.finalists).filter(|_| setup.pictures.is_some());
    let deadline = || {
        let time = clock.time?;
        Some(clock.began + time.saturating_sub(last_step::set_aside(setup, time, each())))
    };
    board.set_deadline(deadline());
    let stop = || interrupt.asked() || deadline().is_some_and(|deadline| Instant::now() >= deadline);
    let mut space = setup.model_space(&settings, &latency)?;
    space.stop = &stop;
    let seed = setup.config.settings.seed;
    let proposals = Sampled { space: &space, sampler: &*setup.sampler.by, seed, extended: opened.extended };
    let searched = Crew {
        setup,
        url: &opened.url,
        study: opened.id,
        name: &opened.name,
        folder: &opened.folder,
        proposals: &proposals,
        pruner: &*setup.pruner.by,
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
    Ok((searched?, each()))
}

/// Microseconds since 1970: with the process's number it names a search.
fn began_at() -> i64 {
    jiff::Timestamp::now().as_microsecond()
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

//! Studies in Optuna's database schema (version 12, revision v3.2.0.a), so that Optuna and its dashboard open
//! them, with leases for many workers. What Optuna has no place for stands in tables `nasgen_*`.

mod error;

pub use error::{Error, Result};

use nasgen_search::{Attributes, Objective, Param, State, Trial};
use serde_json::Value;
use std::time::Duration;

/// One study.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Unique in its storage.
    pub name: String,
    /// One or more.
    pub objectives: Vec<Objective>,
    /// For users and other programs.
    pub user: Attributes,
    /// For samplers, pruners and nasgen: among others what the study searches and with which settings.
    pub system: Attributes,
}

/// The right to write one trial: held by one worker at a time, and lost when it was silent for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The study's id in the storage.
    pub study: i64,
    /// The trial's id in the storage.
    pub trial: i64,
    /// The trial's number in the study.
    pub number: u64,
    /// Changes hands with the trial: writes under an older token are refused.
    pub token: i64,
}

/// What a worker that is free should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A new trial: its params are not known yet.
    New(Lease),
    /// A trial from the queue, with the params or the `fixed_params` that it was given.
    Queued(Lease, Box<Trial>),
    /// A trial whose worker died; its last checkpoint may be reachable.
    Abandoned(Lease, Box<Trial>),
}

/// Where studies are kept. Every method is one transaction; any number of workers may call at the same time.
///
/// Writes under a [`Lease`] whose token is no longer the trial's fail with [`Error::LeaseLost`] and change nothing.
pub trait Storage: Send {
    /// The study called `study.name`, created if there is none; then `false`. An existing study is left as it is.
    fn open(&mut self, study: &Study) -> Result<(i64, bool)>;
    /// Names, in order of creation.
    fn studies(&mut self) -> Result<Vec<String>>;
    /// The study called `name` with its id.
    fn study(&mut self, name: &str) -> Result<Option<(i64, Study)>>;
    /// Removes a study with all its trials.
    fn delete(&mut self, study: i64) -> Result<()>;
    /// Sets one attribute of a study.
    fn set_study_attribute(&mut self, study: i64, system: bool, key: &str, value: &Value) -> Result<()>;
    /// All trials by number. What was finished before is not read again.
    fn trials(&mut self, study: i64) -> Result<&[Trial]>;

    /// Work for a free worker: an abandoned trial, else one from the queue, else a new one if fewer than
    /// `at_most` exist; `None` then. The lease ends `lease` after the last sign of life.
    fn begin(&mut self, study: i64, worker: &str, lease: Duration, at_most: Option<u64>) -> Result<Option<Work>>;
    /// Puts a trial with these params into the queue.
    fn enqueue(&mut self, study: i64, fixed: &Attributes, user: &Attributes) -> Result<u64>;
    /// Says what a new trial is: its params and attributes.
    fn describe(&mut self, lease: &Lease, params: &[Param], user: &Attributes, system: &Attributes) -> Result<()>;
    /// A sign of life.
    fn heartbeat(&mut self, lease: &Lease) -> Result<()>;
    /// Reports `(step, value)` pairs, and is a sign of life.
    fn report(&mut self, lease: &Lease, reports: &[(u64, f64)], system: &Attributes) -> Result<()>;
    /// Ends a trial: `Complete` with one value for each objective, `Pruned` or `Fail` with what there is.
    fn finish(&mut self, lease: &Lease, state: State, values: &[f64], user: &Attributes) -> Result<()>;
    /// Sets a trial aside: it stays running without a worker until [`Self::take_up`] or [`Self::close`].
    fn pause(&mut self, lease: &Lease) -> Result<()>;
    /// Takes a paused trial up again; `None` when another worker was faster.
    fn take_up(&mut self, study: i64, number: u64, worker: &str, lease: Duration) -> Result<Option<Lease>>;
    /// Ends the study for now: paused trials become pruned, and the file is left as other programs can read it.
    fn close(&mut self, study: i64) -> Result<()>;
}

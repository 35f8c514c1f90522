//! Studies in Optuna's database schema (version 12, revision v3.2.0.a), so that Optuna and its dashboard open
//! them, with leases for many workers. What Optuna has no place for stands in tables `nasgen_*`.
//!
//! | What | Where it stands |
//! |---|---|
//! | a study's objectives | `study_directions`; their names in the system attribute `study:metric_names`; whether they are known before training in `nasgen_objectives` |
//! | a param | one row of `trial_params`, in the order of drawing; a list or a map among the choices is its JSON text, and `nasgen_choices` says which texts are such |
//! | a report | `trial_intermediate_values`; of pruned trials of several objectives `nasgen_curves`, because Optuna's TPE fails on them |
//! | a value that is infinite or not a number | no number, and `INF_POS`, `INF_NEG` or `NAN` beside it |
//! | a queue | trials in state `WAITING` with the system attribute `fixed_params`, as Optuna's `enqueue_trial` makes them |
//! | who trains a trial | `nasgen_leases` with a token; its last sign of life also in `trial_heartbeats` |
//! | a paused trial | state `RUNNING`, listed in `nasgen_paused`, without a heartbeat; `PRUNED` when the study is closed |
//! | when a trial began and ended | UTC, as Optuna 5; Optuna 4 and older wrote and shows local time |
//!
//! A lease ends by the database's clock, never by a worker's. What a worker writes it writes under its lease's
//! token: once another one has the trial, nothing that the first one still sends is taken.
//!
//! SQLite is written with a write-ahead log and without waiting for the disk at every commit: a process that is
//! killed loses nothing, a power cut perhaps the last seconds. Whoever closes a file last leaves it as one
//! file. It must not lie on a network file system: workers on several machines share PostgreSQL or MySQL, which
//! are reached again, with growing pauses, when they are away for up to a minute.

mod address;
mod dialect;
mod distribution;
mod driver;
mod error;
#[cfg(feature = "mysql")]
mod mariadb;
mod number;
mod postgresql;
mod reading;
mod schema;
mod sqlite;
mod store;
mod transaction;

pub use address::{connect, connect_existing};
pub use error::{Error, Result, Trouble};

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
    /// How often the trial was begun: 1 for its first worker, one more for each that took it over after a death.
    /// A trial that kills its workers (by the memory it wants) is known by this number.
    pub attempt: u64,
}

/// What a worker that is free should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A new trial: its params are not known yet.
    New(Lease),
    /// A trial from the queue, with the params or the `fixed_params` that it was given.
    Queued(Lease, Box<Trial>),
    /// A trial whose worker died; its last checkpoint may be reachable. It has no params where the worker died
    /// before it described them.
    Abandoned(Lease, Box<Trial>),
    /// Nothing now, but others are still at work: one of them may die and leave its trial. Ask again later.
    Later,
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
    /// `at_most` exist (finished or not). `None` when nothing is left that a worker could ever do. The lease ends
    /// `lease` after the last sign of life.
    fn begin(&mut self, study: i64, worker: &str, lease: Duration, at_most: Option<u64>) -> Result<Option<Work>>;
    /// Puts a trial with these params into the queue.
    fn enqueue(&mut self, study: i64, fixed: &Attributes, user: &Attributes) -> Result<u64>;
    /// Says what a trial is: its params, in place of those it had, and attributes.
    fn describe(&mut self, lease: &Lease, params: &[Param], user: &Attributes, system: &Attributes) -> Result<()>;
    /// A sign of life.
    fn heartbeat(&mut self, lease: &Lease) -> Result<()>;
    /// Reports `(step, value)` pairs, and is a sign of life. A step that was reported before is reported anew.
    fn report(&mut self, lease: &Lease, reports: &[(u64, f64)], system: &Attributes) -> Result<()>;
    /// Ends a trial: `Complete` with one value for each objective, `Pruned` or `Fail` with as many or none. As in
    /// Optuna, a `Complete` with a value that is not a number becomes a `Fail` without values, and a `Pruned`
    /// one of a single objective has its last report for a value.
    fn finish(&mut self, lease: &Lease, state: State, values: &[f64], user: &Attributes) -> Result<()>;
    /// Sets a trial aside: it stays running without a worker until [`Self::take_up`] or [`Self::close`].
    fn pause(&mut self, lease: &Lease) -> Result<()>;
    /// Takes a paused trial up again; `None` when another worker was faster.
    fn take_up(&mut self, study: i64, number: u64, worker: &str, lease: Duration) -> Result<Option<Lease>>;
    /// Ends the study for now. Unless another worker is alive in it, paused trials become pruned and trials of
    /// dead workers fail. A file is left as other programs can read it; so it is when the storage is dropped,
    /// which leaves paused trials paused.
    fn close(&mut self, study: i64) -> Result<()>;
}

//! Who finds out how good a candidate is: the only door from a search to training.

use super::Proposal;
use nasgen_search::Attributes;
use std::{collections::BTreeMap, fmt, path::Path};

/// What is to be scored.
pub struct Assignment<'a> {
    /// The trial's number.
    pub number: u64,
    /// The network with its settings, or the named values.
    pub proposal: &'a Proposal,
    /// Where checkpoints are kept. What is there already is gone on from.
    pub folder: &'a Path,
}

/// What becomes of a training after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Train on.
    Continue,
    /// Save where it is, and end.
    Halt,
}

/// Is told how a training goes, and asked whether it goes on.
pub trait Audience: Send + Sync {
    /// After each step that can be compared with other trials' (an epoch, a fold), from 1: the first objective's
    /// value. What was told before is told again when a training goes on.
    fn told(&self, step: u64, value: f64) -> Order;
    /// Between two reports: whether to save and end at once.
    fn halt(&self) -> bool;
}

/// How a scoring ended without a fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Done, with what was measured.
    Scored(Score),
    /// It was told to halt, and has saved where it was if it can.
    Halted,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// By name; the objectives that are not known before training are among them.
    pub values: BTreeMap<String, f64>,
    /// For people: best epoch, seconds, where the weights are.
    pub remarks: Attributes,
}

/// What kind of mishap ended a scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Something became NaN or infinite. It would again.
    Diverged,
    /// The memory does not hold it.
    OutOfMemory,
    /// The evaluator was silent for too long.
    Hung,
    /// The evaluator ended.
    Crashed,
    /// The evaluator said what it must not say.
    Rubbish,
    /// Any other.
    Failed,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "diverged",
            Self::OutOfMemory => "out of memory",
            Self::Hung => "hung",
            Self::Crashed => "crashed",
            Self::Rubbish => "rubbish",
            Self::Failed => "failed",
        })
    }
}

/// A scoring that ended without a score.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of mishap.
    pub kind: FaultKind,
    /// Complete.
    pub message: String,
    /// The last lines of an evaluator.
    pub lines: Vec<String>,
    /// Whether every other trial would end the same: a full disk, data that is gone.
    pub everywhere: bool,
}

impl Fault {
    /// A mishap of one trial.
    pub fn of_trial(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), lines: Vec::new(), everywhere: false }
    }

    /// A mishap that every trial would have.
    pub fn of_all(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Failed, message: message.into(), lines: Vec::new(), everywhere: true }
    }
}

/// Scores one candidate after the other.
pub trait Scorer: Send {
    /// Trains and measures.
    ///
    /// # Errors
    /// See [`Fault`]; another assignment may be given all the same.
    fn score(&mut self, assignment: &Assignment<'_>, audience: &dyn Audience) -> Result<Ending, Fault>;

    /// Whether a scoring that was halted can go on later; else a pause is an end.
    fn can_go_on(&self) -> bool;
}

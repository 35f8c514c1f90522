//! Who stops a training early.

use crate::{History, Trial};

/// What becomes of a trial that has just reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Train on.
    Continue,
    /// Set it aside with a checkpoint: it may be taken up again.
    Pause,
    /// End it.
    Stop,
}

/// Judges trials by their reports. What it says follows from its settings and the history alone.
pub trait Pruner: Send + Sync {
    /// What becomes of `trial`, whose last report is new. `history` holds the other trials as they are now.
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict;

    /// The paused trial that a free worker should take up before a new one is begun.
    fn promote(&self, _history: History<'_>) -> Option<u64> {
        None
    }
}

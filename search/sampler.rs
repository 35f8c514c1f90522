//! Who chooses the next trial.

use crate::{Candidate, History, SearchSpace};

/// Why there is no next trial.
#[derive(Clone, Debug, PartialEq)]
pub enum NoCandidate {
    /// Everything in the space was tried (grid, or a space that is small).
    Exhausted,
    /// No draw of many was one that may be trained.
    Infeasible {
        /// Draws made.
        attempts: u64,
        /// Why the last, or the nearest to the budget, was refused.
        reason: String,
    },
    /// The space itself is wrong.
    Invalid(String),
}

/// Chooses the next trial. What it says follows from its settings, the seed in them, the history and the
/// number alone.
pub trait Sampler: Send + Sync {
    /// The candidate for trial `number`.
    ///
    /// # Errors
    /// When there is none.
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate>;
}

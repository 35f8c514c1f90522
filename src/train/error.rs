//! Why a training ended early.

use super::{ExecutorError, RunFolderError};
use crate::data::Batch;
use std::fmt;

/// A training that ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Something became NaN or infinite.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// It was asked to stop, and has saved where it was.
    #[error("stopped in epoch {epoch} after step {step} of {steps}")]
    Stopped {
        /// From 1.
        epoch: usize,
        /// Steps done of this epoch.
        step: usize,
        /// Steps in an epoch.
        steps: usize,
    },
    /// The executor failed.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A result could not be saved.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// Where a training stopped being one.
#[derive(Debug, thiserror::Error)]
#[error("{problem} in epoch {epoch}, step {step} of {steps}, at learning rate {learning_rate:.3e}")]
pub struct Divergence {
    /// What is not finite.
    pub problem: Problem,
    /// From 1.
    pub epoch: usize,
    /// From 1.
    pub step: usize,
    /// Steps in an epoch.
    pub steps: usize,
    /// Number of the step in the whole training, from 0.
    pub index: u64,
    /// Of that step.
    pub learning_rate: f64,
    /// Images that show the problem.
    pub batch: Batch,
}

/// What of a training is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Problem {
    /// The loss of a step.
    Loss(f64),
    /// The loss over the validation images.
    ValidationLoss(f64),
    /// A weight, though the loss was finite.
    Weights,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(loss) => write!(f, "the loss became {loss}"),
            Self::ValidationLoss(loss) => write!(f, "the validation loss became {loss}"),
            Self::Weights => f.write_str("a weight became NaN or infinite"),
        }
    }
}

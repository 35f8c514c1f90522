//! Training: what an executor must do, and the loop that drives one.

mod metrics;
mod run_folder;
mod schedule;
mod session;

pub use metrics::Metrics;
pub use run_folder::{RunFolder, RunFolderError};
pub use schedule::{learning_rate, steps_per_epoch};
pub use session::{EpochReport, Observer, StepReport, Summary, TrainError, TrainingData, train};

use crate::{
    data::Batch,
    spec::{Optimizer, TrainSettings},
    weights::Weights,
};

/// Runs a network: forward, backward and the optimizer's step. Executors do not know each other;
/// tests hold them to the same numbers.
pub trait Executor {
    /// What `--executor` calls it.
    fn name(&self) -> &'static str;

    /// One step on a batch. When the loss is not finite the parameters stay as they were.
    ///
    /// # Errors
    /// When the device fails or has no room.
    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<StepResult, ExecutorError>;

    /// Class scores in evaluation mode: images × classes, row by row.
    ///
    /// # Errors
    /// When the device fails or has no room.
    fn scores(&mut self, batch: &Batch) -> Result<Vec<f32>, ExecutorError>;

    /// Parameters and running statistics as they are now.
    ///
    /// # Errors
    /// When the device fails.
    fn weights(&mut self) -> Result<Weights, ExecutorError>;
}

/// An executor's own failure, in its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecutorError(pub String);

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number of the step in the whole training, from 0.
    pub index: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
}

/// What a step measured before it moved the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss over the batch.
    pub loss: f64,
    /// Images whose highest score was their label's.
    pub correct: usize,
}

/// How gradients become steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerRule {
    /// SGD with Nesterov momentum.
    Sgd {
        /// In `0.0..1.0`.
        momentum: f64,
        /// Weight decay, as part of the gradient.
        decay: f64,
    },
    /// AdamW with betas 0.9 and 0.999.
    AdamW {
        /// Weight decay, apart from the gradient.
        decay: f64,
    },
}

impl OptimizerRule {
    /// The rule that the settings ask for.
    pub fn of(settings: &TrainSettings) -> Self {
        let decay = settings.decay();
        match settings.optimizer {
            Optimizer::Sgd => Self::Sgd { momentum: settings.momentum, decay },
            Optimizer::Adamw => Self::AdamW { decay },
        }
    }

    /// Weight decay.
    pub fn decay(self) -> f64 {
        match self {
            Self::Sgd { decay, .. } | Self::AdamW { decay } => decay,
        }
    }
}

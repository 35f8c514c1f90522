//! Training: what an executor must do, and the loop that drives one.

mod checkpoint;
mod description;
mod run_config;
mod run_folder;
mod schedule;
mod session;

pub use checkpoint::{Best, Checkpoint, Progress};
pub use description::Description;
pub use run_config::{Origin, RunConfig, with_epochs};
pub use run_folder::{RunFolder, RunFolderError};
pub use schedule::{learning_rate, steps_per_epoch};
pub use session::{
    Divergence, EpochReport, Job, Observer, Problem, StepReport, Summary, TrainError, TrainingData, train,
};

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

    /// All that a training needs to go on from here.
    ///
    /// # Errors
    /// When the device fails.
    fn state(&mut self) -> Result<State, ExecutorError>;

    /// Puts everything back to where [`Executor::state`] once was: the steps from there on are
    /// the same to the bit.
    ///
    /// # Errors
    /// When the state is that of another network or optimizer, or the device fails.
    fn restore(&mut self, state: &State) -> Result<(), ExecutorError>;
}

/// Weights and what an optimizer remembers of the steps so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Parameters and running statistics.
    pub weights: Weights,
    /// `{moment}.{parameter}`, with PyTorch's names of the moments; empty before the first step.
    pub moments: Weights,
    /// Steps that the optimizer has taken.
    pub optimizer_steps: u64,
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

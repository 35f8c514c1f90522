//! Training: what an executor must do, and the loop that drives one.

mod checkpoint;
mod description;
mod error;
mod freezing;
mod job;
mod journal;
mod lr_find;
mod objective;
mod observer;
mod ranking;
mod run_config;
mod run_folder;
mod schedule;
mod session;
mod supply;

pub use checkpoint::{Best, Checkpoint, Progress};
pub use description::Description;
pub use error::{Divergence, Problem, TrainError};
pub use freezing::{Freezing, freezing_problem};
pub use job::{Job, TrainingData, augmentation};
pub use lr_find::{RATE_STEPS, RATES, RangeTest, RatePoint, range_test};
pub use objective::{Objective, ObjectiveKind};
pub use observer::{EpochReport, Observer, StepReport, Summary};
pub use run_config::{Origin, RunConfig, with_epochs};
pub use run_folder::{RunFolder, RunFolderError};
pub use schedule::{Plateau, Schedule, steps_per_epoch};
pub use session::train;
pub use supply::Supply;

use crate::{
    data::{Batch, Images, Normalisation, Part},
    spec::{Optimizer, TrainSettings},
    weights::Weights,
};

/// Runs a network: forward, backward and the optimizer's step. Executors do not know each other;
/// tests hold them to the same numbers.
pub trait Executor: Send {
    /// What `--executor` calls it.
    fn name(&self) -> &'static str;

    /// One step on a batch. When the loss is not finite the parameters stay as they were.
    ///
    /// # Errors
    /// When the device fails or has no room.
    fn train_step(&mut self, batch: &Batch, step: &Step<'_>) -> Result<StepResult, ExecutorError>;

    /// Class scores in evaluation mode: images × classes, row by row.
    ///
    /// # Errors
    /// When the device fails or has no room.
    fn scores(&mut self, batch: &Batch) -> Result<Vec<f32>, ExecutorError>;

    /// Takes the images of a part to where it computes, so that batches of them need no values
    /// ([`Batch::placed`]). `false` where it does not do that, or has no room.
    fn hold(&mut self, part: Part, images: &Images, normalisation: &Normalisation) -> bool {
        let _ = (part, images, normalisation);
        false
    }

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

    /// Says which rows do not learn from now on. Before the first call all do.
    fn freeze(&mut self, freezing: &Freezing);
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
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Number of the step in the whole training, from 0.
    pub index: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// What the scores are measured by.
    pub objective: &'a Objective,
    /// Largest norm of all gradients together; longer ones are shortened to it.
    pub clip: Option<f64>,
    /// Batches before this one whose gradients wait to be averaged with this one's.
    pub waiting: usize,
    /// Whether the optimizer moves the parameters now, or this batch waits too.
    pub update: bool,
}

impl<'a> Step<'a> {
    /// A step by itself, without a limit on gradients.
    pub fn alone(index: u64, learning_rate: f64, objective: &'a Objective) -> Self {
        Self { index, learning_rate, objective, clip: None, waiting: 0, update: true }
    }
}

/// What a step measured before it moved the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss over the batch.
    pub loss: f64,
    /// Images whose highest score was their label's.
    pub correct: usize,
}

/// How gradients become steps, each as PyTorch computes it (Lion: as timm does). `decay` is the weight
/// decay of the parameters that decay.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are PyTorch's arguments")]
pub enum OptimizerRule {
    /// SGD; decay joins the gradient.
    Sgd { momentum: f64, nesterov: bool, decay: f64 },
    /// Adam (Kingma and Ba 2015); decay joins the gradient.
    Adam { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// AdamW (Loshchilov and Hutter 2019); decay apart from the gradient.
    AdamW { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// Adamax (Kingma and Ba 2015); decay joins the gradient.
    Adamax { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// RMSprop (Hinton 2012), not centred; decay joins the gradient.
    RmsProp { alpha: f64, momentum: f64, epsilon: f64, decay: f64 },
    /// Lion (Chen et al. 2023); decay apart from the gradient.
    Lion { betas: [f64; 2], decay: f64 },
}

impl OptimizerRule {
    /// Steps against the gradient and nothing else: what updates show then is the gradient.
    pub const PLAIN: Self = Self::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

    /// The rule that the settings ask for.
    pub fn of(settings: &TrainSettings) -> Self {
        let (decay, momentum, epsilon) = (settings.decay(), settings.effective_momentum(), settings.epsilon);
        let betas = [settings.beta1, settings.effective_beta2()];
        match settings.optimizer {
            Optimizer::Sgd => Self::Sgd { momentum, nesterov: settings.nesterov, decay },
            Optimizer::Adam => Self::Adam { betas, epsilon, decay },
            Optimizer::Adamw => Self::AdamW { betas, epsilon, decay },
            Optimizer::Adamax => Self::Adamax { betas, epsilon, decay },
            Optimizer::Rmsprop => Self::RmsProp { alpha: betas[1], momentum, epsilon, decay },
            Optimizer::Lion => Self::Lion { betas, decay },
        }
    }

    /// Weight decay.
    pub fn decay(self) -> f64 {
        match self {
            Self::Sgd { decay, .. }
            | Self::Adam { decay, .. }
            | Self::AdamW { decay, .. }
            | Self::Adamax { decay, .. }
            | Self::RmsProp { decay, .. }
            | Self::Lion { decay, .. } => decay,
        }
    }

    /// What PyTorch calls the moments that the rule keeps.
    pub fn moments(self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::Adam { .. } | Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Adamax { .. } => &["exp_avg", "exp_inf"],
            Self::RmsProp { momentum: 0.0, .. } => &["square_avg"],
            Self::RmsProp { .. } => &["square_avg", "momentum_buffer"],
            Self::Lion { .. } => &["exp_avg"],
        }
    }
}

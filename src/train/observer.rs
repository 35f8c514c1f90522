//! How a training goes, for those who watch it.

use super::Best;
use crate::evaluation::Metrics;

/// Is told how a training goes.
pub trait Observer: Send {
    /// After each step.
    fn step(&mut self, report: &StepReport);
    /// After each epoch.
    fn epoch(&mut self, report: &EpochReport);
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// From 1.
    pub epoch: usize,
    /// From 1, within the epoch.
    pub step: usize,
    /// Steps in an epoch.
    pub steps: usize,
    /// Mean loss since the epoch began.
    pub loss: f64,
    /// Of this step alone.
    pub step_loss: f64,
    /// Share of right answers since the epoch began, as they were given.
    pub accuracy: f64,
    /// Of this step.
    pub learning_rate: f64,
    /// Training images per second since the epoch began.
    pub images_per_second: f64,
}

/// One epoch.
#[derive(Clone, Copy, Debug)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Since the training began.
    pub seconds: f64,
    /// Mean over the epoch's steps.
    pub train_loss: f64,
    /// Share of right answers over the epoch's steps, as they were given.
    pub train_accuracy: f64,
    /// Measures on the validation images.
    pub validation: Metrics,
    /// At the epoch's last step.
    pub learning_rate: f64,
    /// Training images per second, validation not counted.
    pub images_per_second: f64,
    /// Whether this is the best epoch so far.
    pub is_best: bool,
    /// Rows, from the first on, that did not learn.
    pub frozen_rows: usize,
}

/// What a training came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The best epoch.
    pub best: Best,
    /// Epochs done.
    pub epochs: usize,
    /// Training images per second over all epochs, validation not counted.
    pub images_per_second: f64,
    /// Wall time, interruptions not counted.
    pub seconds: f64,
}

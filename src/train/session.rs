//! The loop: epochs of steps, a validation after each, the best and the last weights kept.

use super::{Executor, ExecutorError, Metrics, RunFolder, RunFolderError, Step, learning_rate, steps_per_epoch};
use crate::{
    data::{Augmentation, Images, Normalisation, evaluation_batch, permutation, training_batch},
    spec::TrainSettings,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is learnt from and measured on.
pub struct TrainingData<'a> {
    /// Images to learn from.
    pub train: &'a Images,
    /// Images that are only measured.
    pub validation: &'a Images,
    /// Number of classes.
    pub classes: usize,
    /// Mean and deviation of the training images.
    pub normalisation: Normalisation,
}

/// Is told how a training goes.
pub trait Observer {
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
}

/// What a training came to.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The best epoch.
    pub best: EpochReport,
    /// Epochs done.
    pub epochs: usize,
    /// Training images per second over all epochs, validation not counted.
    pub images_per_second: f64,
    /// Wall time.
    pub seconds: f64,
}

/// A training that ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss became NaN or infinite.
    #[error("the loss became {loss} in epoch {epoch}, step {step} of {steps}, at learning rate {learning_rate:.3e}")]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
        /// Steps in an epoch.
        steps: usize,
        /// The loss.
        loss: f64,
        /// Of that step.
        learning_rate: f64,
    },
    /// The executor failed.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A result could not be saved.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
}

/// Trains for all epochs that the settings ask for. `metadata` goes into the weights files.
///
/// # Errors
/// See [`TrainError`]; what was saved before stays whole.
pub fn train(
    executor: &mut dyn Executor,
    data: &TrainingData<'_>,
    settings: &TrainSettings,
    folder: &RunFolder,
    metadata: &Value,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut session = Session { data, settings, began: Instant::now(), stepping: Duration::ZERO, best: None };
    let images = session.images_per_epoch();
    for epoch in 1..=settings.epochs {
        let report = session.epoch(executor, epoch, observer)?;
        if !report.validation.loss.is_finite() {
            let (loss, learning_rate) = (report.validation.loss, report.learning_rate);
            let steps = session.steps();
            return Err(TrainError::Diverged { epoch, step: steps, steps, loss, learning_rate });
        }
        folder.append(&report)?;
        let metadata = with_epoch(metadata, &report);
        let weights = executor.weights()?;
        if report.is_best {
            session.best = Some(report);
            folder.save_weights("best.safetensors", &weights, &metadata)?;
        }
        folder.save_weights("last.safetensors", &weights, &metadata)?;
        observer.epoch(&report);
    }
    let best = session.best.expect("the settings ask for at least one epoch, and the first is the best so far");
    Ok(Summary {
        best,
        epochs: settings.epochs,
        images_per_second: (images * settings.epochs) as f64 / session.stepping.as_secs_f64(),
        seconds: session.began.elapsed().as_secs_f64(),
    })
}

fn with_epoch(metadata: &Value, report: &EpochReport) -> Value {
    let mut metadata = metadata.clone();
    metadata["epoch"] = json!(report.epoch);
    metadata["val_accuracy"] = json!(report.validation.accuracy);
    metadata
}

struct Session<'a> {
    data: &'a TrainingData<'a>,
    settings: &'a TrainSettings,
    began: Instant,
    /// Time in training steps alone.
    stepping: Duration,
    best: Option<EpochReport>,
}

impl Session<'_> {
    fn steps(&self) -> usize {
        steps_per_epoch(self.data.train.len(), self.settings.batch)
    }

    fn images_per_epoch(&self) -> usize {
        (self.steps() * self.settings.batch).min(self.data.train.len())
    }

    fn epoch(
        &mut self,
        executor: &mut dyn Executor,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<EpochReport, TrainError> {
        let began = Instant::now();
        let (images, steps) = (self.images_per_epoch(), self.steps());
        let order = permutation(self.data.train.len(), self.settings.seed, epoch as u64);
        let (mut loss, mut correct) = (0.0, 0);
        for (step, indices) in order.chunks(self.settings.batch).take(steps).enumerate() {
            let result = self.step(executor, epoch, step, indices)?;
            loss += result.loss;
            correct += result.correct;
            let seen = ((step + 1) * self.settings.batch).min(images);
            observer.step(&StepReport {
                epoch,
                step: step + 1,
                steps,
                loss: loss / (step + 1) as f64,
                images_per_second: seen as f64 / began.elapsed().as_secs_f64(),
            });
        }
        let stepping = began.elapsed();
        self.stepping += stepping;
        let validation = evaluate(executor, self.data.validation, self.data, self.settings.batch)?;
        Ok(EpochReport {
            epoch,
            epochs: self.settings.epochs,
            seconds: self.began.elapsed().as_secs_f64(),
            train_loss: loss / steps as f64,
            train_accuracy: correct as f64 / images as f64,
            validation,
            learning_rate: self.learning_rate(epoch, steps - 1),
            images_per_second: images as f64 / stepping.as_secs_f64(),
            is_best: self.best.is_none_or(|best| is_better(&validation, &best.validation)),
        })
    }

    fn step(
        &self,
        executor: &mut dyn Executor,
        epoch: usize,
        step: usize,
        indices: &[usize],
    ) -> Result<super::StepResult, TrainError> {
        let TrainSettings { flip, crop, seed, smoothing, .. } = *self.settings;
        let augmentation = Augmentation { flip, crop_padding: crop };
        let batch =
            training_batch(self.data.train, indices, &self.data.normalisation, augmentation, seed, epoch as u64);
        let learning_rate = self.learning_rate(epoch, step);
        let index = ((epoch - 1) * self.steps() + step) as u64;
        let result = executor.train_step(&batch, &Step { index, learning_rate, smoothing })?;
        if !result.loss.is_finite() {
            let (step, steps) = (step + 1, self.steps());
            return Err(TrainError::Diverged { epoch, step, steps, loss: result.loss, learning_rate });
        }
        Ok(result)
    }

    fn learning_rate(&self, epoch: usize, step: usize) -> f64 {
        let index = ((epoch - 1) * self.steps() + step) as u64;
        let steps = (self.settings.epochs * self.steps()) as u64;
        learning_rate(self.settings.learning_rate(), self.settings.warmup, index, steps)
    }
}

/// Higher accuracy, or the same with lower loss.
fn is_better(one: &Metrics, other: &Metrics) -> bool {
    one.accuracy > other.accuracy || one.accuracy == other.accuracy && one.loss < other.loss
}

/// Measures the network on `images`, in evaluation mode.
fn evaluate(
    executor: &mut dyn Executor,
    images: &Images,
    data: &TrainingData<'_>,
    batch: usize,
) -> Result<Metrics, ExecutorError> {
    let mut scores = Vec::with_capacity(images.len() * data.classes);
    for start in (0..images.len()).step_by(batch) {
        let range = start..(start + batch).min(images.len());
        scores.extend(executor.scores(&evaluation_batch(images, range, &data.normalisation))?);
    }
    Ok(Metrics::of(&scores, &images.labels, data.classes))
}

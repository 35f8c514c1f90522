//! What a training is given.

use super::{RunFolder, steps_per_epoch};
use crate::{
    data::{Augmentation, Images, Normalisation, augment::Policy},
    spec::TrainSettings,
};
use nasgen_modules::Layers;
use serde_json::Value;

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

/// What is to be trained, on what, and where the results go.
pub struct Job<'a> {
    /// The images.
    pub data: &'a TrainingData<'a>,
    /// How.
    pub settings: &'a TrainSettings,
    /// The network's, for what is frozen.
    pub layers: &'a Layers,
    /// Where the results go.
    pub folder: &'a RunFolder,
    /// What the weights files say about themselves.
    pub metadata: &'a Value,
    /// The program and the kind of machine, for [`Checkpoint::build`](super::Checkpoint::build).
    pub build: &'a str,
    /// Asked after each step: whether to save and stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Seconds since 1970, for the events' times.
    pub now: &'a (dyn Fn() -> f64 + Sync),
}

/// How the settings vary training images.
pub fn augmentation(settings: &TrainSettings) -> Augmentation {
    // The settings were checked when they were read.
    let policy = Policy::parse(&settings.augment).unwrap_or_default();
    Augmentation { flip: settings.flip, crop_padding: settings.crop, policy }
}

pub(super) fn images_per_epoch(job: &Job<'_>) -> usize {
    let images = job.data.train.len();
    (steps_per_epoch(images, job.settings.batch) * job.settings.batch).min(images)
}

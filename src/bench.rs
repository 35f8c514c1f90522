//! How fast an executor runs a network.

use crate::{
    data::{
        Augmentation, Batch, Images, Normalisation, Part, Placed, ahead, permutation, placed_batch, placements,
        training_batch,
    },
    spec::TrainSettings,
    train::{Executor, ExecutorError, Objective, Step, Supply, TrainingData, augmentation},
};
use nasgen_modules::{Layers, randomness::Stream};
use std::time::{Duration, Instant};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A whole training step: forward, loss, backward, optimizer.
    Train,
    /// Class scores in evaluation mode.
    Infer,
}

/// Times of single steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// In the order in which they were measured, milliseconds.
    pub step_ms: Vec<f64>,
}

impl Timing {
    /// The median step, in milliseconds.
    pub fn median_ms(&self) -> f64 {
        let mut sorted = self.step_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
    }

    /// The fastest step, in milliseconds.
    pub fn min_ms(&self) -> f64 {
        self.step_ms.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// A batch of noise that fits `layers`; what an image shows does not change how long it takes.
pub fn noise(layers: &Layers, images: usize, seed: u64) -> Batch {
    let stream = Stream::new(seed, "bench");
    let input = layers.inputs()[0];
    let [height, width] = input.size().unwrap_or([1, 1]);
    let shape = [images, input.channels(), height, width];
    Batch {
        images: (0..shape.iter().product::<usize>() as u64).map(|index| stream.normal(index) as f32).collect(),
        labels: (0..images).map(|image| (image % layers.output().channels()) as u32).collect(),
        partners: Vec::new(),
        placed: None,
        shape,
    }
}

/// The batch itself, or for an executor that holds images one of as many that it holds: nothing is then copied before a
/// step, as in a training.
pub fn at_hand(executor: &mut dyn Executor, batch: Batch) -> Batch {
    let [images, channels, height, width] = batch.shape;
    let stream = Stream::new(0, "bytes");
    let bytes = (0..images * channels * height * width).map(|index| (stream.uniform(index as u64) * 256.0) as u8);
    let held = Images::in_memory([channels, height, width], bytes.collect(), batch.labels.clone(), Vec::new());
    match executor.hold(Part::Validation, &held, &Normalisation::of(&held)) {
        true => placed_batch(&held, Part::Validation, Placed::all(0..images)),
        false => batch,
    }
}

/// Times steps for `duration` and at least 3 of them, after a fifth as long that does not count.
///
/// # Errors
/// When the executor fails.
pub fn measure(
    executor: &mut dyn Executor,
    batch: &Batch,
    classes: usize,
    mode: Mode,
    duration: Duration,
) -> Result<Timing, ExecutorError> {
    let mut index = 0;
    let objective = Objective::cross_entropy(classes, 0.0);
    let mut steps = |duration: Duration, least: usize| -> Result<Vec<f64>, ExecutorError> {
        let (began, mut step_ms) = (Instant::now(), Vec::new());
        while step_ms.len() < least || began.elapsed() < duration {
            let step = Instant::now();
            match mode {
                // Small enough for the weights to stay finite, whatever the network.
                Mode::Train => {
                    executor.train_step(batch, &Step::alone(index, 1e-4, &objective)).map(|_| ())?;
                }
                Mode::Infer => executor.scores(batch).map(|_| ())?,
            }
            step_ms.push(step.elapsed().as_secs_f64() * 1e3);
            index += 1;
        }
        Ok(step_ms)
    };
    steps(duration / 5, 1)?;
    Ok(Timing { step_ms: steps(duration, 3)? })
}

/// How long an epoch takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochTiming {
    /// Training and validation, seconds.
    pub seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// How many steps were measured.
    pub steps: usize,
}

/// Times some steps of the first epoch of a training, and a batch of validation.
///
/// # Errors
/// When the executor fails.
pub fn measure_epoch(
    executor: &mut dyn Executor,
    data: &TrainingData<'_>,
    settings: &TrainSettings,
    duration: Duration,
) -> Result<EpochTiming, ExecutorError> {
    let augmentation = augmentation(settings);
    let objective = Objective::of(settings, &data.train.class_counts(data.classes));
    let order = permutation(data.train.len(), settings.seed, 1);
    let size = settings.batch.min(order.len());
    let batches: Vec<&[usize]> = order.chunks_exact(size).collect();
    let supply = Supply::of(executor, data, &augmentation);
    let make = |step: usize| {
        let indices = batches[step % batches.len()];
        supply.training(data, indices, &augmentation, settings.seed, 1)
    };
    // The first steps make room and do not count.
    let (mut steps, mut began) = (0, Instant::now());
    const UNCOUNTED: usize = 2;
    ahead(0..usize::MAX, make, |next| -> Result<(), ExecutorError> {
        while steps < UNCOUNTED + 2 || began.elapsed() < duration {
            let Some(batch) = next() else { break };
            executor.train_step(&batch, &Step::alone(steps as u64, 1e-4, &objective))?;
            steps += 1;
            if steps == UNCOUNTED {
                began = Instant::now();
            }
        }
        Ok(())
    })?;
    let steps = steps - UNCOUNTED;
    let images_per_second = (steps * size) as f64 / began.elapsed().as_secs_f64();
    let count = size.min(data.validation.len());
    let mut score = || {
        let batch = supply.evaluation(data, 0..count);
        let began = Instant::now();
        executor.scores(&batch).map(|_| began.elapsed().as_secs_f64())
    };
    let validation =
        if count == 0 { 0.0 } else { score()?.min(score()?) / count as f64 * data.validation.len() as f64 };
    Ok(EpochTiming { seconds: order.len() as f64 / images_per_second + validation, images_per_second, steps })
}

/// Training from images beside training on one batch of noise, measured in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataTiming {
    /// Images per second where a batch of noise is there already.
    pub synthetic: f64,
    /// Images per second where each batch is augmented and normalised before it is learnt from.
    pub data: f64,
}

impl DataTiming {
    /// How many of the images per second the data cost: 0.15 for 15 %. Below 0 where chance decides.
    pub fn loss(&self) -> f64 {
        1.0 - self.data / self.synthetic
    }
}

/// Seconds of steps before the other kind has its turn.
const TURN: f64 = 0.5;

/// Times trainings for `duration` each: in turn some steps on `batch`, and as many on batches of `images`
/// that are made as a training makes them.
///
/// # Errors
/// When the executor fails.
pub fn measure_data(
    executor: &mut dyn Executor,
    batch: &Batch,
    (images, normalisation, augmentation): (&Images, &Normalisation, &Augmentation),
    classes: usize,
    duration: Duration,
) -> Result<DataTiming, ExecutorError> {
    let size = batch.labels.len();
    let first = measure(executor, batch, classes, Mode::Train, duration / 10)?;
    let steps = ((TURN * 1e3 / first.median_ms()) as usize).max(2);
    let objective = Objective::cross_entropy(classes, 0.0);
    // Small enough for the weights to stay finite, whatever the network.
    let step = |executor: &mut dyn Executor, batch: &Batch| {
        executor.train_step(batch, &Step::alone(0, 1e-4, &objective)).map(|_| ())
    };
    let held = augmentation.policy.steps.is_empty() && executor.hold(Part::Training, images, normalisation);
    let (mut synthetic, mut data, mut turns) = (Duration::ZERO, Duration::ZERO, 0);
    while turns < 2 || data < duration {
        let began = Instant::now();
        (0..steps).try_for_each(|_| step(executor, batch))?;
        synthetic += began.elapsed();

        let began = Instant::now();
        let order = permutation(images.len(), 0, turns);
        let make = |step: usize| {
            let indices: Vec<usize> =
                (step * size..(step + 1) * size).map(|place| order[place % order.len()]).collect();
            match held {
                true => placed_batch(images, Part::Training, placements(images, &indices, augmentation, 0, turns)),
                false => training_batch(images, &indices, normalisation, augmentation, 0, turns),
            }
        };
        ahead(0..steps, make, |next| std::iter::from_fn(next).try_for_each(|batch| step(executor, &batch)))?;
        data += began.elapsed();
        turns += 1;
    }
    let rate = |time: Duration| (turns as usize * steps * size) as f64 / time.as_secs_f64();
    Ok(DataTiming { synthetic: rate(synthetic), data: rate(data) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let timing = |step_ms: &[f64]| Timing { step_ms: step_ms.to_vec() };
        assert_eq!((timing(&[3.0, 1.0, 2.0]).median_ms(), timing(&[3.0, 1.0, 2.0]).min_ms()), (2.0, 1.0));
        assert_eq!(timing(&[4.0, 1.0, 2.0, 3.0]).median_ms(), 2.5);
    }
}

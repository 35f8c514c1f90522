//! How fast an executor runs a network.

use crate::{
    data::Batch,
    train::{Executor, ExecutorError, Objective, Step},
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
        shape,
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

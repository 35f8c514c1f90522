//! Values dropped at random in training.

use super::Size;
use crate::{
    chunks,
    operation::{Forward, Gradients, Operation, Run},
};
use nasgen_modules::randomness::Stream;

/// Zeroes values with a probability and scales the others to keep the mean.
pub(crate) struct Dropout {
    pub(crate) stream: Stream,
    /// Index of the node in the network's layers, on which the random numbers depend.
    pub(crate) node: u32,
    pub(crate) probability: f64,
    pub(crate) size: Size,
}

impl Dropout {
    fn scale(&self, run: &Run, from: &[f32], to: &mut [f32]) {
        let (values, pixels, channels) = (self.size.values(), self.size.pixels(), self.size.channels);
        chunks::for_each(run.images, to, values, |first, to| {
            for (at, (to, from)) in to.iter_mut().zip(&from[first * values..]).enumerate() {
                // Elements are numbered channels first, whatever the order in memory.
                let (image, pixel, channel) = (first + at / values, at % values / channels, at % channels);
                let element = (image * values + channel * pixels + pixel) as u64;
                *to = from * kept(&self.stream, run.step, self.node, element, self.probability);
            }
        });
    }
}

/// 0 with `probability`, else the factor that keeps the mean.
pub(crate) fn kept(stream: &Stream, step: u64, node: u32, element: u64, probability: f64) -> f32 {
    let dropped = f64::from(stream.at_step(step, node, element)) < probability;
    if dropped { 0.0 } else { (1.0 / (1.0 - probability)) as f32 }
}

impl Operation for Dropout {
    fn forward(&mut self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        if run.training {
            self.scale(run, inputs[0], output);
        } else {
            let length = run.images * self.size.values();
            output[..length].copy_from_slice(&inputs[0][..length]);
        }
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        if !gradients.inputs[0].is_empty() {
            self.scale(run, gradients.output, gradients.inputs[0]);
        }
    }
}

//! Values dropped at random in training.

use super::Size;
use crate::{
    chunks,
    operation::{Forward, Gradients, Operation, Rereads, Run},
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
    /// Calls `work` with every value of `to`, its place in the batch, and the factor that it is
    /// kept by.
    fn for_each(&self, run: &Run, to: &mut [f32], work: impl Fn(&mut f32, usize, f32) + Sync + Send) {
        let (values, pixels, channels) = (self.size.values(), self.size.pixels(), self.size.channels);
        chunks::for_each(run.images, to, values, |first, to| {
            for (image, to) in to.chunks_mut(values).enumerate() {
                let start = (first + image) * values;
                // Elements are numbered channels first, whatever the order in memory.
                let factors = kept_run(&self.stream, run.step, self.node, start as u64, self.probability);
                for (element, factor) in factors.take(values).enumerate() {
                    let at = element % pixels * channels + element / pixels;
                    work(&mut to[at], start + at, factor);
                }
            }
        });
    }
}

/// 0 with `probability`, else the factor that keeps the mean.
pub(crate) fn kept(stream: &Stream, step: u64, node: u32, element: u64, probability: f64) -> f32 {
    factor(stream.at_step(step, node, element), probability)
}

fn factor(random: f32, probability: f64) -> f32 {
    if f64::from(random) < probability { 0.0 } else { (1.0 / (1.0 - probability)) as f32 }
}

/// As [`kept`], for elements from `first` on.
fn kept_run(stream: &Stream, step: u64, node: u32, first: u64, probability: f64) -> impl Iterator<Item = f32> {
    stream.run_at_step(step, node, first).map(move |random| factor(random, probability))
}

impl Operation for Dropout {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        if run.training {
            self.for_each(run, output, |to, place, factor| *to = inputs[0][place] * factor);
        } else {
            output.copy_from_slice(inputs[0]);
        }
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        self.for_each(run, gradients.inputs[0].ready_for_sums(), |to, place, factor| *to += of_output[place] * factor);
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

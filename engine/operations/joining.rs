//! Sums of values, and values times a gate.

use super::{Size, dropout::kept};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, InputGradient, Operation, Rereads, Run},
};
use nasgen_modules::randomness::Stream;

/// The sum of the inputs; in training each but the first is dropped, image by image.
pub(crate) struct Add {
    pub(crate) stream: Stream,
    /// Index of the node in the network's layers, on which the random numbers depend.
    pub(crate) node: u32,
    pub(crate) drop: f64,
    pub(crate) values: usize,
}

impl Add {
    fn factor(&self, run: &Run, input: usize, image: usize) -> f32 {
        if input == 0 || !run.training || self.drop == 0.0 {
            return 1.0;
        }
        kept(&self.stream, run.step, self.node, image as u64, self.drop)
    }
}

impl Operation for Add {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.values, |first, output| {
            for (image, output) in output.chunks_mut(self.values).enumerate() {
                let range = (first + image) * self.values..(first + image + 1) * self.values;
                output.copy_from_slice(&inputs[0][range.clone()]);
                for (index, input) in inputs.iter().enumerate().skip(1) {
                    add_scaled(&input[range.clone()], self.factor(run, index, first + image), output);
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        for (index, of_input) in gradients.inputs.iter_mut().enumerate() {
            let InputGradient { values, add } = of_input;
            chunks::for_each(run.images, values, self.values, |first, of_input| {
                for (image, of_input) in of_input.chunks_mut(self.values).enumerate() {
                    let of_output = &of_output[(first + image) * self.values..][..self.values];
                    let factor = self.factor(run, index, first + image);
                    if *add {
                        add_scaled(of_output, factor, of_input);
                    } else if factor == 1.0 {
                        of_input.copy_from_slice(of_output);
                    } else {
                        of_input.iter_mut().zip(of_output).for_each(|(to, from)| *to = from * factor);
                    }
                }
            });
        }
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

/// The first input times the second, which has one value for each channel of an image.
pub(crate) struct Scale {
    pub(crate) size: Size,
}

impl Operation for Scale {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let (values, channels) = (self.size.values(), self.size.channels);
        chunks::for_each(run.images, output, values, |first, output| {
            for (image, output) in output.chunks_mut(values).enumerate() {
                let input = &inputs[0][(first + image) * values..][..values];
                scale_channels(input, &inputs[1][(first + image) * channels..][..channels], output);
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let (values, channels) = (self.size.values(), self.size.channels);
        let of_output = &*gradients.output;
        let [of_image, of_gate] = gradients.inputs else { unreachable!("a gate has two inputs") };
        let InputGradient { values: of_image, add } = of_image;
        chunks::for_each(run.images, of_image, values, |first, of_image| {
            for (image, of_image) in of_image.chunks_mut(values).enumerate() {
                let of_output = &of_output[(first + image) * values..][..values];
                let gate = &forward.inputs[1][(first + image) * channels..][..channels];
                if *add {
                    add_scaled_channels(of_output, gate, of_image);
                } else {
                    scale_channels(of_output, gate, of_image);
                }
            }
        });
        chunks::for_each(run.images, of_gate.ready_for_sums(), channels, |first, of_gate| {
            for (image, of_gate) in of_gate.chunks_mut(channels).enumerate() {
                let range = (first + image) * values..(first + image + 1) * values;
                add_products(&forward.inputs[0][range.clone()], &of_output[range], of_gate);
            }
        });
    }
}

vectorised! {
    fn add_scaled(from: &[f32], factor: f32, to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from * factor;
        }
    }

    fn scale_channels(from: &[f32], gate: &[f32], to: &mut [f32]) {
        let channels = gate.len();
        for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                to[channel] = from[channel] * gate[channel];
            }
        }
    }

    fn add_scaled_channels(from: &[f32], gate: &[f32], to: &mut [f32]) {
        let channels = gate.len();
        for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                to[channel] += from[channel] * gate[channel];
            }
        }
    }

    fn add_products(left: &[f32], right: &[f32], sums: &mut [f32]) {
        let channels = sums.len();
        for (left, right) in left.chunks_exact(channels).zip(right.chunks_exact(channels)) {
            for channel in 0..channels {
                sums[channel] += left[channel] * right[channel];
            }
        }
    }
}

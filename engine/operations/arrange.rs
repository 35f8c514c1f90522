//! Values moved to other places: concatenation, slices, shuffles, enlargement, flattening.

use super::Size;
use crate::{
    chunks,
    operation::{Forward, Gradients, Operation, Rereads, Run},
};
use nasgen_modules::{Primitive, Shape};

/// Copies values; each value of the output comes from one place in one input.
pub(crate) struct Arrange {
    /// Values of one image, by input.
    inputs: Vec<usize>,
    /// (input, place in it) for each value of the output.
    sources: Vec<(u32, u32)>,
}

impl Arrange {
    /// The arrangement that a primitive makes; `None` for primitives that compute.
    pub(crate) fn of(primitive: &Primitive, inputs: &[Shape], output: Shape) -> Option<Self> {
        let sizes: Vec<Size> = inputs.iter().map(|shape| Size::of(*shape)).collect();
        let (first, to) = (sizes[0], Size::of(output));
        let place = |size: Size, pixel: usize, channel: usize| (pixel * size.channels + channel) as u32;
        let values = (0..to.pixels()).flat_map(|pixel| (0..to.channels).map(move |channel| (pixel, channel)));
        let sources = match *primitive {
            Primitive::Flatten => {
                // The vector is channels first, as PyTorch flattens.
                (0..first.values()).map(|at| (0, place(first, at % first.pixels(), at / first.pixels()))).collect()
            }
            Primitive::ChannelSlice { start, .. } => {
                values.map(|(pixel, channel)| (0, place(first, pixel, start + channel))).collect()
            }
            Primitive::ChannelShuffle { groups } => {
                let share = first.channels / groups;
                values
                    .map(|(pixel, channel)| (0, place(first, pixel, channel % groups * share + channel / groups)))
                    .collect()
            }
            Primitive::Upsample { factor } => {
                let source = |pixel: usize| pixel / to.width / factor * first.width + pixel % to.width / factor;
                values.map(|(pixel, channel)| (0, place(first, source(pixel), channel))).collect()
            }
            Primitive::Concat => {
                let source = |pixel: usize, channel: usize| {
                    let mut channel = channel;
                    for (input, size) in sizes.iter().enumerate() {
                        if channel < size.channels {
                            return (input as u32, place(*size, pixel, channel));
                        }
                        channel -= size.channels;
                    }
                    unreachable!("the output has as many channels as the inputs together")
                };
                values.map(|(pixel, channel)| source(pixel, channel)).collect()
            }
            _ => return None,
        };
        Some(Self { inputs: sizes.iter().map(|size| size.values()).collect(), sources })
    }
}

impl Operation for Arrange {
    fn forward(&mut self, run: &Run, _: &[f32], inputs: &[&[f32]], _: &mut [f32], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.sources.len(), |first, output| {
            for (image, output) in output.chunks_mut(self.sources.len()).enumerate() {
                for (to, (input, place)) in output.iter_mut().zip(&self.sources) {
                    let input = *input as usize;
                    *to = inputs[input][(first + image) * self.inputs[input] + *place as usize];
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        for (input, of_input) in gradients.inputs.iter_mut().enumerate() {
            chunks::for_each(run.images, of_input.ready_for_sums(), self.inputs[input], |first, of_input| {
                for (image, of_input) in of_input.chunks_mut(self.inputs[input]).enumerate() {
                    let of_output = &of_output[(first + image) * self.sources.len()..];
                    for (gradient, (source, place)) in of_output.iter().zip(&self.sources) {
                        if *source as usize == input {
                            of_input[*place as usize] += gradient;
                        }
                    }
                }
            });
        }
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

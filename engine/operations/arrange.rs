//! Values moved to other places: concatenation, slices, shuffles, enlargement, flattening.

use super::Size;
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Rereads, Run},
};
use nasgen_modules::{Primitive, Shape};

/// Copies values; each value of the output comes from one place in one input.
pub(crate) struct Arrange {
    /// Values of one image, by input.
    inputs: Vec<usize>,
    /// Values of one image of the output.
    output: usize,
    /// The pieces of the output, in order.
    pieces: Vec<Piece>,
}

/// Values that lie side by side in an input and in the output.
#[derive(Clone, Copy, Debug)]
struct Piece {
    input: u32,
    from: u32,
    to: u32,
    length: u32,
}

/// Joins neighbours. `sources` has the (input, place in it) of each value of the output.
fn pieces(sources: &[(u32, u32)]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (to, (input, from)) in sources.iter().enumerate() {
        match pieces.last_mut() {
            Some(last) if last.input == *input && last.from + last.length == *from => last.length += 1,
            _ => pieces.push(Piece { input: *input, from: *from, to: to as u32, length: 1 }),
        }
    }
    pieces
}

impl Arrange {
    /// The arrangement that a primitive makes; `None` for primitives that compute.
    pub(crate) fn of(primitive: &Primitive, inputs: &[Shape], output: Shape) -> Option<Self> {
        let sources = sources(primitive, inputs, output)?;
        let inputs = inputs.iter().map(|shape| Size::of(*shape).values()).collect();
        Some(Self { inputs, output: sources.len(), pieces: pieces(&sources) })
    }
}

/// Where each value of the output comes from, if a primitive only moves values: the input, and the place in it.
pub(crate) fn sources(primitive: &Primitive, inputs: &[Shape], output: Shape) -> Option<Vec<(u32, u32)>> {
    let sizes: Vec<Size> = inputs.iter().map(|shape| Size::of(*shape)).collect();
    let (first, to) = (sizes[0], Size::of(output));
    let place = |size: Size, pixel: usize, channel: usize| (pixel * size.channels + channel) as u32;
    let values = (0..to.pixels()).flat_map(|pixel| (0..to.channels).map(move |channel| (pixel, channel)));
    Some(match *primitive {
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
    })
}

impl Operation for Arrange {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.output, |first, output| {
            for (image, output) in output.chunks_mut(self.output).enumerate() {
                for (input, (values, length)) in inputs.iter().zip(&self.inputs).enumerate() {
                    copy_pieces(&self.pieces, input, &values[(first + image) * length..][..*length], output);
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        for (input, of_input) in gradients.inputs.iter_mut().enumerate() {
            chunks::for_each(run.images, of_input.ready_for_sums(), self.inputs[input], |first, of_input| {
                for (image, of_input) in of_input.chunks_mut(self.inputs[input]).enumerate() {
                    let of_output = &of_output[(first + image) * self.output..][..self.output];
                    add_pieces_back(&self.pieces, input, of_output, of_input);
                }
            });
        }
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

vectorised! {
    /// Copies the pieces that come from one input.
    fn copy_pieces(pieces: &[Piece], input: usize, from: &[f32], to: &mut [f32]) {
        for piece in pieces.iter().filter(|piece| piece.input as usize == input) {
            let length = piece.length as usize;
            to[piece.to as usize..][..length].copy_from_slice(&from[piece.from as usize..][..length]);
        }
    }

    /// Adds the pieces that came from one input to it.
    fn add_pieces_back(pieces: &[Piece], input: usize, from: &[f32], to: &mut [f32]) {
        for piece in pieces.iter().filter(|piece| piece.input as usize == input) {
            let length = piece.length as usize;
            let parts = from[piece.to as usize..][..length].iter();
            to[piece.from as usize..][..length].iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
    }
}

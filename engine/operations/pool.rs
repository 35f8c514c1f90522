//! Pools over windows, and over parts of an image.

use super::{Size, Taps, sums::array};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Inputs, Operation, Rereads, Run},
};
use nasgen_modules::Window;
use rayon::prelude::*;

/// The largest value that each window sees; the first of equal ones gets the gradient.
pub(crate) struct MaxPool {
    input: Size,
    output: Size,
    taps: Taps,
    /// The pixel that won, for each value of the output.
    winners: Vec<u32>,
}

impl MaxPool {
    pub(crate) fn new(window: &Window, input: Size, output: Size) -> Self {
        Self { input, output, taps: Taps::of(window, input, output), winners: Vec::new() }
    }
}

impl Operation for MaxPool {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let (from, to, channels) = (self.input.values(), self.output.values(), self.output.channels);
        chunks::for_each(run.images, output, to, |first, output| {
            for (output, input) in output.chunks_mut(to).zip(inputs[0][first * from..].chunks(from)) {
                largest(&self.taps, input, output, &mut [], channels);
            }
        });
    }

    fn forward(&mut self, run: &Run, _: &[f32], inputs: Inputs<'_>, _: &mut [f32], output: &mut [f32]) {
        let (from, to, channels) = (self.input.values(), self.output.values(), self.output.channels);
        self.winners.resize(run.images * to, 0);
        let parts = output[..run.images * to].par_chunks_mut(to).zip(self.winners.par_chunks_mut(to));
        parts.zip(inputs.values[0].par_chunks(from)).for_each(|((output, winners), input)| {
            largest(&self.taps, input, output, winners, channels);
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let (from, to, channels) = (self.output.values(), self.input.values(), self.output.channels);
        let of_output = &*gradients.output;
        chunks::for_each(run.images, gradients.inputs[0].ready_for_sums(), to, |first, of_input| {
            for (image, of_input) in of_input.chunks_mut(to).enumerate() {
                let range = (first + image) * from..(first + image + 1) * from;
                give_to_winners(&of_output[range.clone()], &self.winners[range], of_input, channels);
            }
        });
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

/// The mean of the values that each window sees.
pub(crate) struct AveragePool {
    input: Size,
    output: Size,
    taps: Taps,
    /// 1 / divisor, for each position.
    factors: Vec<f32>,
}

impl AveragePool {
    pub(crate) fn new(window: &Window, count_include_pad: bool, input: Size, output: Size) -> Self {
        let factors = average_factors(window, count_include_pad, input, output);
        Self { input, output, taps: Taps::of(window, input, output), factors }
    }
}

/// 1 / the number of pixels that count, for each position of a window.
pub(crate) fn average_factors(window: &Window, count_include_pad: bool, input: Size, output: Size) -> Vec<f32> {
    let sides = [
        (input.height, window.padding.top, window.padding.bottom),
        (input.width, window.padding.left, window.padding.right),
    ];
    // Pixels beyond the padding, where a window hangs over, never count (PyTorch's rule).
    let counted = |axis: usize, position: usize| {
        let (side, before, after) = sides[axis];
        let start = position * window.stride[axis];
        let end = (start + window.kernel[axis]).min(before + side + after);
        if count_include_pad { end - start } else { end.min(before + side) - start.max(before) }
    };
    let factor = |at: usize| 1.0 / (counted(0, at / output.width) * counted(1, at % output.width)) as f32;
    (0..output.pixels()).map(factor).collect()
}

impl Operation for AveragePool {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let channels = self.output.channels;
        chunks::for_each(run.images, output, self.output.values(), |first, output| {
            let input = &inputs[0][first * self.input.values()..];
            for (output, input) in output.chunks_mut(self.output.values()).zip(input.chunks(self.input.values())) {
                means(&self.taps, &self.factors, input, output, channels);
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let (from, to, channels) = (self.output.values(), self.input.values(), self.output.channels);
        let of_output = &*gradients.output;
        chunks::for_each(run.images, gradients.inputs[0].ready_for_sums(), to, |first, of_input| {
            for (image, of_input) in of_input.chunks_mut(to).enumerate() {
                let of_output = &of_output[(first + image) * from..][..from];
                spread(&self.taps, &self.factors, of_output, of_input, channels);
            }
        });
    }

    fn rereads(&self) -> Rereads {
        Rereads::Nothing
    }
}

/// Pools over `output × output` parts of an image, which overlap where the side is no multiple.
pub(crate) struct AdaptivePool;

impl AdaptivePool {
    pub(crate) fn average(input: Size, output: Size) -> AveragePool {
        let taps = Self::parts(input, output);
        let factors = (0..output.pixels()).map(|position| 1.0 / taps.at(position).len() as f32).collect();
        AveragePool { input, output, taps, factors }
    }

    pub(crate) fn max(input: Size, output: Size) -> MaxPool {
        MaxPool { input, output, taps: Self::parts(input, output), winners: Vec::new() }
    }

    fn parts(input: Size, output: Size) -> Taps {
        let range = |part: usize, side: usize, parts: usize| part * side / parts..((part + 1) * side).div_ceil(parts);
        let mut taps = Taps { seen: Vec::new(), starts: vec![0] };
        for position in 0..output.pixels() {
            for y in range(position / output.width, input.height, output.height) {
                for x in range(position % output.width, input.width, output.width) {
                    taps.seen.push((0, (y * input.width + x) as u32));
                }
            }
            taps.starts.push(taps.seen.len());
        }
        taps
    }
}

/// Where blocks of `width` of the `channels` begin so that they cover all of them; the last may begin within the one
/// before.
fn blocks(channels: usize, width: usize) -> impl Iterator<Item = usize> {
    (0..channels.div_ceil(width)).map(move |block| (block * width).min(channels - width))
}

/// The largest of `WIDE` channels among the pixels of `taps`, and the pixels that had them if there is room for that.
#[inline(always)]
fn largest_of<const WIDE: usize>(
    taps: &[(u32, u32)],
    input: &[f32],
    channels: usize,
    output: &mut [f32],
    winners: &mut [u32],
) {
    let mut largest = [f32::NEG_INFINITY; WIDE];
    let mut winner = [0; WIDE];
    for (_, pixel) in taps {
        let values = array::<WIDE>(&input[*pixel as usize * channels..]);
        for lane in 0..WIDE {
            // A NaN wins, as in PyTorch, so that it is seen.
            let wins = values[lane] > largest[lane] || values[lane].is_nan();
            largest[lane] = if wins { values[lane] } else { largest[lane] };
            winner[lane] = if wins { *pixel } else { winner[lane] };
        }
    }
    output[..WIDE].copy_from_slice(&largest);
    if !winners.is_empty() {
        winners[..WIDE].copy_from_slice(&winner);
    }
}

/// The same for all channels of all positions, in blocks of `WIDE`.
#[inline(always)]
fn largest_in_blocks<const WIDE: usize>(
    taps: &Taps,
    input: &[f32],
    output: &mut [f32],
    winners: &mut [u32],
    channels: usize,
) {
    for position in 0..output.len() / channels {
        for block in blocks(channels, WIDE) {
            let at = position * channels + block;
            let winners = winners.get_mut(at..).unwrap_or_default();
            largest_of::<WIDE>(taps.at(position), &input[block..], channels, &mut output[at..], winners);
        }
    }
}

vectorised! {
    /// The largest value that each position sees, and the pixel that had it unless `winners` has no room.
    fn largest(taps: &Taps, input: &[f32], output: &mut [f32], winners: &mut [u32], channels: usize) {
        match channels {
            16.. => largest_in_blocks::<16>(taps, input, output, winners, channels),
            8.. => largest_in_blocks::<8>(taps, input, output, winners, channels),
            4.. => largest_in_blocks::<4>(taps, input, output, winners, channels),
            _ => largest_in_blocks::<1>(taps, input, output, winners, channels),
        }
    }

    /// Gives each gradient to the pixel that won.
    fn give_to_winners(gradients: &[f32], winners: &[u32], of_input: &mut [f32], channels: usize) {
        for (gradients, winners) in gradients.chunks_exact(channels).zip(winners.chunks_exact(channels)) {
            for (channel, (gradient, winner)) in gradients.iter().zip(winners).enumerate() {
                of_input[*winner as usize * channels + channel] += gradient;
            }
        }
    }

    /// The sum of what each position sees, times its factor.
    fn means(taps: &Taps, factors: &[f32], input: &[f32], output: &mut [f32], channels: usize) {
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            output.fill(0.0);
            for (_, pixel) in taps.at(position) {
                let values = &input[*pixel as usize * channels..][..channels];
                output.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            output.iter_mut().for_each(|value| *value *= factors[position]);
        }
    }

    /// Adds each gradient, times its factor, to all that the position sees.
    fn spread(taps: &Taps, factors: &[f32], gradients: &[f32], of_input: &mut [f32], channels: usize) {
        for (position, gradients) in gradients.chunks_exact(channels).enumerate() {
            for (_, pixel) in taps.at(position) {
                let of_pixel = &mut of_input[*pixel as usize * channels..][..channels];
                of_pixel.iter_mut().zip(gradients).for_each(|(sum, part)| *sum = A::mul_add(*part, factors[position], *sum));
            }
        }
    }
}

//! Pools over windows, and over parts of an image.

use super::{Size, Taps};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Rereads, Run},
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
    fn forward(&mut self, run: &Run, _: &[f32], inputs: &[&[f32]], _: &mut [f32], output: &mut [f32]) {
        let (values, channels) = (self.output.values(), self.output.channels);
        self.winners.resize(run.images * values, 0);
        let parts = output[..run.images * values].par_chunks_mut(values).zip(self.winners.par_chunks_mut(values));
        parts.zip(inputs[0].par_chunks(self.input.values())).for_each(|((output, winners), input)| {
            let rows = output.chunks_mut(channels).zip(winners.chunks_mut(channels));
            for (position, (output, winners)) in rows.enumerate() {
                output.fill(f32::NEG_INFINITY);
                for (_, pixel) in self.taps.at(position) {
                    keep_larger(&input[*pixel as usize * channels..][..channels], *pixel, output, winners);
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let (from, to, channels) = (self.output.values(), self.input.values(), self.output.channels);
        let of_output = &*gradients.output;
        chunks::for_each(run.images, gradients.inputs[0].ready_for_sums(), to, |first, of_input| {
            for (image, of_input) in of_input.chunks_mut(to).enumerate() {
                let range = (first + image) * from..(first + image + 1) * from;
                for (at, (gradient, winner)) in of_output[range.clone()].iter().zip(&self.winners[range]).enumerate() {
                    of_input[*winner as usize * channels + at % channels] += gradient;
                }
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
        let taps = Taps::of(window, input, output);
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
        let factors = (0..output.pixels()).map(factor).collect();
        Self { input, output, taps, factors }
    }
}

impl Operation for AveragePool {
    fn forward(&mut self, run: &Run, _: &[f32], inputs: &[&[f32]], _: &mut [f32], output: &mut [f32]) {
        let channels = self.output.channels;
        chunks::for_each(run.images, output, self.output.values(), |first, output| {
            let input = &inputs[0][first * self.input.values()..];
            for (output, input) in output.chunks_mut(self.output.values()).zip(input.chunks(self.input.values())) {
                for (position, output) in output.chunks_mut(channels).enumerate() {
                    output.fill(0.0);
                    for (_, pixel) in self.taps.at(position) {
                        add_to(&input[*pixel as usize * channels..][..channels], 1.0, output);
                    }
                    output.iter_mut().for_each(|value| *value *= self.factors[position]);
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, _: &Forward<'_>, gradients: Gradients<'_>) {
        let (from, to, channels) = (self.output.values(), self.input.values(), self.output.channels);
        let of_output = &*gradients.output;
        chunks::for_each(run.images, gradients.inputs[0].ready_for_sums(), to, |first, of_input| {
            for (image, of_input) in of_input.chunks_mut(to).enumerate() {
                let of_output = &of_output[(first + image) * from..][..from];
                for (position, gradient) in of_output.chunks(channels).enumerate() {
                    for (_, pixel) in self.taps.at(position) {
                        let of_pixel = &mut of_input[*pixel as usize * channels..][..channels];
                        add_to(gradient, self.factors[position], of_pixel);
                    }
                }
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

vectorised! {
    fn keep_larger(values: &[f32], pixel: u32, largest: &mut [f32], winners: &mut [u32]) {
        for ((value, largest), winner) in values.iter().zip(largest).zip(winners) {
            // A NaN wins, as in PyTorch, so that it is seen.
            let wins = *value > *largest || value.is_nan();
            *largest = if wins { *value } else { *largest };
            *winner = if wins { pixel } else { *winner };
        }
    }

    fn add_to(values: &[f32], factor: f32, sums: &mut [f32]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value * factor;
        }
    }
}

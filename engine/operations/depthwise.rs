//! Convolution of each channel by itself.

use super::{Size, Taps};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Run},
};
use nasgen_modules::Window;

/// Channels that are summed in registers at a time.
const LANES: usize = 16;

/// A depthwise convolution. Parameters: taps × channels, then the bias if there is one.
pub(crate) struct Depthwise {
    input: Size,
    output: Size,
    taps: Taps,
    /// For each input pixel, the positions that see it.
    seen_by: Taps,
    weights: usize,
    bias: bool,
    partials: Vec<f32>,
}

impl Depthwise {
    pub(crate) fn new(window: &Window, input: Size, output: Size, bias: bool) -> Self {
        let taps = Taps::of(window, input, output);
        let seen_by = taps.reversed(input.pixels());
        Self { input, output, taps, seen_by, weights: window.taps() * input.channels, bias, partials: Vec::new() }
    }
}

impl Operation for Depthwise {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let (weights, bias) = parameters.split_at(self.weights);
        chunks::for_each(run.images, output, self.output.values(), |first, output| {
            let input = &inputs[0][first * self.input.values()..];
            for (output, input) in output.chunks_mut(self.output.values()).zip(input.chunks(self.input.values())) {
                filter(&self.taps, input, weights, bias, output, self.input.channels);
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let (input_size, output_size, channels) = (self.input, self.output, self.input.channels);
        let (weights, _) = forward.parameters.split_at(self.weights);
        let (of_output, input, taps) = (&*gradients.output, forward.inputs[0], &self.taps);
        chunks::sum_into(run.images, &mut self.partials, gradients.parameters, |images, sums| {
            let (of_weights, of_bias) = sums.split_at_mut(self.weights);
            for image in images {
                let input = &input[image * input_size.values()..][..input_size.values()];
                let gradient = &of_output[image * output_size.values()..][..output_size.values()];
                weight_gradient(taps, input, gradient, of_weights, channels);
                if self.bias {
                    for pixel in gradient.chunks(channels) {
                        of_bias.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                    }
                }
            }
        });
        chunks::for_each(run.images, gradients.inputs[0], input_size.values(), |first, of_input| {
            let of_output = &of_output[first * output_size.values()..];
            for (to, from) in of_input.chunks_mut(input_size.values()).zip(of_output.chunks(output_size.values())) {
                filter(&self.seen_by, from, weights, &[], to, channels);
            }
        });
    }
}

vectorised! {
    /// Each pixel of `output` is the sum over its taps of pixel times weight, plus the bias.
    fn filter(taps: &Taps, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32], channels: usize) {
        let whole = channels / LANES * LANES;
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            let seen = taps.at(position);
            for start in (0..whole).step_by(LANES) {
                let mut sums = [0f32; LANES];
                if !bias.is_empty() {
                    sums.copy_from_slice(&bias[start..start + LANES]);
                }
                for (tap, pixel) in seen {
                    let values = &input[*pixel as usize * channels + start..][..LANES];
                    let weights = &weights[*tap as usize * channels + start..][..LANES];
                    for lane in 0..LANES {
                        sums[lane] += values[lane] * weights[lane];
                    }
                }
                output[start..start + LANES].copy_from_slice(&sums);
            }
            let rest = channels - whole;
            if rest > 0 {
                let mut sums = [0f32; LANES];
                if !bias.is_empty() {
                    sums[..rest].copy_from_slice(&bias[whole..]);
                }
                for (tap, pixel) in seen {
                    let values = &input[*pixel as usize * channels + whole..][..rest];
                    let weights = &weights[*tap as usize * channels + whole..][..rest];
                    for ((sum, value), weight) in sums[..rest].iter_mut().zip(values).zip(weights) {
                        *sum += value * weight;
                    }
                }
                output[whole..].copy_from_slice(&sums[..rest]);
            }
        }
    }

    /// Adds to each weight the sum over all positions of pixel times gradient.
    fn weight_gradient(taps: &Taps, input: &[f32], gradient: &[f32], of_weights: &mut [f32], channels: usize) {
        for (position, gradient) in gradient.chunks_exact(channels).enumerate() {
            for (tap, pixel) in taps.at(position) {
                let values = &input[*pixel as usize * channels..][..channels];
                let sums = &mut of_weights[*tap as usize * channels..][..channels];
                for ((sum, value), gradient) in sums.iter_mut().zip(values).zip(gradient) {
                    *sum += value * gradient;
                }
            }
        }
    }
}

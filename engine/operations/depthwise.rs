//! Convolution of each channel by itself, or of few channels together.

use super::{Size, Taps};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Run},
};
use nasgen_modules::Convolution;

/// Channels that are summed in registers at a time.
const LANES: usize = 16;

/// The most input channels of a group for which this is faster than a matrix product.
pub(crate) const MOST_INPUTS: usize = 4;

/// A convolution in groups of few channels, as a sum of depthwise ones: the n-th takes, for each
/// output channel, the n-th input channel of its group. Parameters: inputs of a group × taps ×
/// output channels, then the bias if there is one.
pub(crate) struct Depthwise {
    input: Size,
    output: Size,
    taps: Taps,
    /// For each input pixel, the positions that see it.
    seen_by: Taps,
    /// For each of the depthwise convolutions, the input channel of each output channel.
    channels: Vec<Vec<u32>>,
    /// Parameters of one of them.
    weights: usize,
    bias: bool,
    partials: Vec<f32>,
}

impl Depthwise {
    pub(crate) fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let Convolution { window, groups, bias, .. } = *convolution;
        let taps = Taps::of(&window, input, output);
        let seen_by = taps.reversed(input.pixels());
        let (inputs, outputs) = (input.channels / groups, output.channels / groups);
        let channels_of = |nth: usize| (0..output.channels).map(|out| (out / outputs * inputs + nth) as u32).collect();
        let channels = (0..inputs).map(channels_of).collect();
        let weights = window.taps() * output.channels;
        Self { input, output, taps, seen_by, channels, weights, bias, partials: Vec::new() }
    }

    /// Whether input and output channels are the same ones.
    fn is_plain(&self) -> bool {
        self.channels.len() == 1 && self.input.channels == self.output.channels
    }

    /// The image as the `nth` depthwise convolution sees it.
    fn spread<'a>(&self, nth: usize, image: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        if self.is_plain() {
            return image;
        }
        room.resize(self.input.pixels() * self.output.channels, 0.0);
        for (from, to) in image.chunks(self.input.channels).zip(room.chunks_mut(self.output.channels)) {
            for (to, channel) in to.iter_mut().zip(&self.channels[nth]) {
                *to = from[*channel as usize];
            }
        }
        room
    }

    /// Gradient of one image.
    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_image: &mut [f32], room: &mut Vec<f32>) {
        if self.is_plain() {
            return filter(&self.seen_by, of_output, weights, &[], false, of_image, self.output.channels);
        }
        of_image.fill(0.0);
        room.resize(self.input.pixels() * self.output.channels, 0.0);
        for (nth, channels) in self.channels.iter().enumerate() {
            let weights = &weights[nth * self.weights..][..self.weights];
            filter(&self.seen_by, of_output, weights, &[], false, room, self.output.channels);
            for (to, from) in of_image.chunks_mut(self.input.channels).zip(room.chunks(self.output.channels)) {
                for (from, channel) in from.iter().zip(channels) {
                    to[*channel as usize] += from;
                }
            }
        }
    }
}

impl Operation for Depthwise {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let this = &*self;
        let (weights, bias) = parameters.split_at(this.weights * this.channels.len());
        chunks::for_each(run.images, output, this.output.values(), |first, output| {
            let images = inputs[0][first * this.input.values()..].chunks(this.input.values());
            let mut room = Vec::new();
            for (output, image) in output.chunks_mut(this.output.values()).zip(images) {
                for nth in 0..this.channels.len() {
                    let weights = &weights[nth * this.weights..][..this.weights];
                    let seen = this.spread(nth, image, &mut room);
                    let bias = if nth == 0 { bias } else { &[] };
                    filter(&this.taps, seen, weights, bias, nth > 0, output, this.output.channels);
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let mut partials = std::mem::take(&mut self.partials);
        let this = &*self;
        let (input_size, output_size, channels) = (this.input, this.output, this.output.channels);
        let all_weights = this.weights * this.channels.len();
        let (of_output, input) = (&*gradients.output, forward.inputs[0]);
        chunks::sum_into(run.images, &mut partials, gradients.parameters, |images, sums| {
            let (of_weights, of_bias) = sums.split_at_mut(all_weights);
            let mut room = Vec::new();
            for image in images {
                let gradient = &of_output[image * output_size.values()..][..output_size.values()];
                let image = &input[image * input_size.values()..][..input_size.values()];
                for nth in 0..this.channels.len() {
                    let of_weights = &mut of_weights[nth * this.weights..][..this.weights];
                    weight_gradient(&this.taps, this.spread(nth, image, &mut room), gradient, of_weights, channels);
                }
                if this.bias {
                    for pixel in gradient.chunks(channels) {
                        of_bias.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                    }
                }
            }
        });
        let weights = &forward.parameters[..all_weights];
        chunks::for_each(run.images, gradients.inputs[0], input_size.values(), |first, of_input| {
            let of_output = of_output[first * output_size.values()..].chunks(output_size.values());
            let mut room = Vec::new();
            for (of_image, of_output) in of_input.chunks_mut(input_size.values()).zip(of_output) {
                this.input_gradient(weights, of_output, of_image, &mut room);
            }
        });
        self.partials = partials;
    }
}

vectorised! {
    /// Each pixel of `output` is the sum over its taps of pixel times weight, plus the bias, plus what
    /// it was if `add`.
    fn filter(
        taps: &Taps, input: &[f32], weights: &[f32], bias: &[f32], add: bool, output: &mut [f32], channels: usize,
    ) {
        let whole = channels / LANES * LANES;
        for (position, output) in output.chunks_exact_mut(channels).enumerate() {
            let seen = taps.at(position);
            for start in (0..whole).step_by(LANES) {
                let mut sums = [0f32; LANES];
                if !bias.is_empty() {
                    sums.copy_from_slice(&bias[start..start + LANES]);
                } else if add {
                    sums.copy_from_slice(&output[start..start + LANES]);
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
                } else if add {
                    sums[..rest].copy_from_slice(&output[whole..]);
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

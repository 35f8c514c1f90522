//! Batch normalisation and the activation after it.

use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Run},
};
use nasgen_modules::{Activation, Norm};

/// Rows that are summed in f32 before they join the sum in f64.
const ROWS: usize = 64;

/// Normalises each channel, scales and shifts it, and applies an activation. Parameters: scale,
/// then shift.
pub(crate) struct Normalise {
    norm: Norm,
    activation: Option<Activation>,
    channels: usize,
    pixels: usize,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    /// Of the batch, from forward to backward.
    mean: Vec<f32>,
    inverse_deviation: Vec<f32>,
    partials: Vec<f64>,
    sums: Vec<f32>,
    sum_partials: Vec<f32>,
}

impl Normalise {
    pub(crate) fn new(norm: Norm, activation: Option<Activation>, channels: usize, pixels: usize) -> Self {
        Self {
            norm,
            activation,
            channels,
            pixels,
            running_mean: vec![0.0; channels],
            running_var: vec![1.0; channels],
            mean: vec![0.0; channels],
            inverse_deviation: vec![0.0; channels],
            partials: Vec::new(),
            sums: vec![0.0; 2 * channels],
            sum_partials: Vec::new(),
        }
    }

    /// Mean and variance of the batch, each chunk's sums taken about the batch's first pixel so
    /// that large means cost no digits.
    fn measure(&mut self, run: &Run, input: &[f32]) {
        use rayon::prelude::*;
        let (channels, per_image) = (self.channels, self.channels * self.pixels);
        let chunk = chunks::images_per_chunk(run.images);
        let input = &input[..run.images * per_image];
        let origin = &input[..channels];
        self.partials.clear();
        self.partials.resize(run.images.div_ceil(chunk) * 2 * channels, 0.0);
        self.partials.par_chunks_mut(2 * channels).zip(input.par_chunks(chunk * per_image)).for_each(|(sums, part)| {
            for rows in part.chunks(ROWS * channels) {
                let mut block = vec![0f32; 2 * channels];
                sum_and_square(rows, origin, &mut block);
                sums.iter_mut().zip(&block).for_each(|(sum, part)| *sum += f64::from(*part));
            }
        });
        let count = (run.images * self.pixels) as f64;
        for channel in 0..channels {
            let total = |at: usize| self.partials.chunks(2 * channels).map(|part| part[at]).sum::<f64>() / count;
            let (offset, square) = (total(channel), total(channels + channel));
            let variance = (square - offset * offset).max(0.0);
            let mean = f64::from(origin[channel]) + offset;
            self.mean[channel] = mean as f32;
            self.inverse_deviation[channel] = (1.0 / (variance + self.norm.eps).sqrt()) as f32;
            let unbiased = variance * count / (count - 1.0);
            let blend =
                |old: f32, new: f64| (f64::from(old) * (1.0 - self.norm.momentum) + new * self.norm.momentum) as f32;
            self.running_mean[channel] = blend(self.running_mean[channel], mean);
            self.running_var[channel] = blend(self.running_var[channel], unbiased);
        }
    }

    fn recall(&mut self) {
        self.mean.copy_from_slice(&self.running_mean);
        for (inverse, variance) in self.inverse_deviation.iter_mut().zip(&self.running_var) {
            *inverse = 1.0 / (variance + self.norm.eps as f32).sqrt();
        }
    }

    /// `input · scale + shift` is the normalised value before the activation.
    fn line(&self, parameters: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (weight, bias) = parameters.split_at(self.channels);
        let scale: Vec<f32> = weight.iter().zip(&self.inverse_deviation).map(|(w, inverse)| w * inverse).collect();
        let shift = bias.iter().zip(&self.mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale).collect();
        (scale, shift)
    }
}

impl Operation for Normalise {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        if run.training {
            self.measure(run, inputs[0]);
        } else {
            self.recall();
        }
        let (scale, shift) = self.line(parameters);
        let per_image = self.channels * self.pixels;
        chunks::for_each(run.images, output, per_image, |first, output| {
            let input = &inputs[0][first * per_image..][..output.len()];
            with_curve!(self.activation, curve => apply(curve, input, &scale, &shift, output));
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let (channels, per_image) = (self.channels, self.channels * self.pixels);
        let (scale, shift) = self.line(forward.parameters);
        let (input, of_output) = (forward.inputs[0], &*gradients.output);
        let (mean, inverse, activation) = (&self.mean, &self.inverse_deviation, self.activation);
        self.sums.fill(0.0);
        chunks::sum_into(run.images, &mut self.sum_partials, &mut self.sums, |images, sums| {
            let range = images.start * per_image..images.end * per_image;
            for (rows, gradient) in
                input[range.clone()].chunks(ROWS * channels).zip(of_output[range.clone()].chunks(ROWS * channels))
            {
                let mut block = vec![0f32; 2 * channels];
                with_curve!(activation, curve => gradient_sums(curve, rows, gradient, &scale, &shift, mean, &mut block));
                sums.iter_mut().zip(&block).for_each(|(sum, part)| *sum += part);
            }
        });
        let (of_bias, of_weight) = self.sums.split_at_mut(channels);
        // So far the second half holds Σ gradient · (x − mean).
        of_weight.iter_mut().zip(inverse).for_each(|(sum, inverse)| *sum *= inverse);
        let (to_weight, to_bias) = gradients.parameters.split_at_mut(channels);
        to_weight.iter_mut().zip(&*of_weight).for_each(|(to, from)| *to += from);
        to_bias.iter_mut().zip(&*of_bias).for_each(|(to, from)| *to += from);

        // dx = scale · (g − mean(g) − x̂ · mean(g · x̂)) = scale · g + slope · x + offset
        let count = (run.images * self.pixels) as f32;
        let slope: Vec<f32> =
            (0..channels).map(|channel| -scale[channel] * of_weight[channel] / count * inverse[channel]).collect();
        let offset: Vec<f32> = (0..channels)
            .map(|channel| -scale[channel] * of_bias[channel] / count - slope[channel] * mean[channel])
            .collect();
        chunks::for_each(run.images, gradients.inputs[0], per_image, |first, of_input| {
            let range = first * per_image..first * per_image + of_input.len();
            let (input, of_output) = (&input[range.clone()], &of_output[range]);
            let lines = Lines { scale: &scale, shift: &shift, slope: &slope, offset: &offset };
            with_curve!(activation, curve => input_gradient(curve, input, of_output, &lines, of_input));
        });
    }

    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("running_mean", &mut self.running_mean), ("running_var", &mut self.running_var)]
    }
}

/// Per channel: the line before the activation, and that of the gradient's correction.
pub(crate) struct Lines<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    slope: &'a [f32],
    offset: &'a [f32],
}

vectorised! {
    fn sum_and_square(rows: &[f32], origin: &[f32], sums: &mut [f32]) {
        let channels = origin.len();
        let (sum, square) = sums.split_at_mut(channels);
        let (sum, square) = (&mut sum[..channels], &mut square[..channels]);
        for row in rows.chunks_exact(channels) {
            for channel in 0..channels {
                let value = row[channel] - origin[channel];
                sum[channel] += value;
                square[channel] += value * value;
            }
        }
    }

    fn apply<C: Curve>(curve: C, input: &[f32], scale: &[f32], shift: &[f32], output: &mut [f32]) {
        let channels = scale.len();
        let shift = &shift[..channels];
        for (from, to) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                to[channel] = curve.value(from[channel] * scale[channel] + shift[channel]);
            }
        }
    }

    fn gradient_sums<C: Curve>(
        curve: C, rows: &[f32], gradient: &[f32], scale: &[f32], shift: &[f32], mean: &[f32], sums: &mut [f32],
    ) {
        let channels = scale.len();
        let (shift, mean) = (&shift[..channels], &mean[..channels]);
        let (sum, moment) = sums.split_at_mut(channels);
        let (sum, moment) = (&mut sum[..channels], &mut moment[..channels]);
        for (row, gradient) in rows.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            for channel in 0..channels {
                let x = row[channel];
                let g = gradient[channel] * curve.slope(x * scale[channel] + shift[channel]);
                sum[channel] += g;
                moment[channel] += g * (x - mean[channel]);
            }
        }
    }

    fn input_gradient<C: Curve>(curve: C, input: &[f32], gradient: &[f32], lines: &Lines<'_>, of_input: &mut [f32]) {
        let channels = lines.scale.len();
        let (scale, shift) = (&lines.scale[..channels], &lines.shift[..channels]);
        let (slope, offset) = (&lines.slope[..channels], &lines.offset[..channels]);
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for ((row, gradient), to) in rows.zip(of_input.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let x = row[channel];
                let g = gradient[channel] * curve.slope(x * scale[channel] + shift[channel]);
                to[channel] = scale[channel] * g + slope[channel] * x + offset[channel];
            }
        }
    }
}

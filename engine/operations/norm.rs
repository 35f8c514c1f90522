//! Batch normalisation and the activation after it.

use super::sums::{gradient_sums, sum_and_square};
use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Inputs, Operation, Run},
};
use nasgen_modules::{Activation, Norm};

/// Rows that are summed in f32 before they join the sum in f64.
const ROWS: usize = 64;

/// Normalises each channel, scales and shifts it, and applies an activation: what other operations
/// do it with. Parameters: scale, then shift.
pub(crate) struct Normaliser {
    norm: Norm,
    activation: Option<Activation>,
    channels: usize,
    running_mean: Vec<f32>,
    running_var: Vec<f32>,
    mean: Vec<f32>,
    inverse_deviation: Vec<f32>,
    lines: Lines,
    /// Whether the lines are those of the running statistics and the parameters as they are.
    is_recalled: bool,
    chunks: Vec<ChunkSums>,
    /// Sums that a reader has taken for [`Self::settle_gradient`].
    measured: Option<Vec<ChunkSums>>,
}

/// Per channel: `x · scale + shift` is the value before the activation; `slope` and `offset` correct
/// its gradient for what the statistics owe to x.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    slope: Vec<f32>,
    offset: Vec<f32>,
}

/// Sums over the rows of one chunk.
#[derive(Default)]
pub(crate) struct ChunkSums {
    rows: usize,
    /// What is subtracted from each value first, so that large means cost no digits.
    origin: Vec<f32>,
    /// Two sums per channel.
    sums: Vec<f64>,
    block: Vec<f32>,
}

impl ChunkSums {
    fn clear(&mut self, channels: usize) {
        self.rows = 0;
        self.origin.clear();
        self.sums.clear();
        self.sums.resize(2 * channels, 0.0);
    }

    /// Adds what `work` sums over up to 64 rows in f32.
    fn add(&mut self, channels: usize, work: impl FnOnce(&[f32], &mut [f32])) {
        self.block.clear();
        self.block.resize(2 * channels, 0.0);
        work(&self.origin, &mut self.block);
        self.sums.iter_mut().zip(&self.block).for_each(|(sum, part)| *sum += f64::from(*part));
    }
}

impl Normaliser {
    pub(crate) fn new(norm: Norm, activation: Option<Activation>, channels: usize) -> Self {
        Self {
            norm,
            activation,
            channels,
            running_mean: vec![0.0; channels],
            running_var: vec![1.0; channels],
            mean: vec![0.0; channels],
            inverse_deviation: vec![0.0; channels],
            lines: Lines::default(),
            is_recalled: false,
            chunks: Vec::new(),
            measured: None,
        }
    }

    /// Empty sums for `count` chunks, to be filled by [`Self::measure`] or
    /// [`Self::measure_gradient`].
    pub(crate) fn take_chunks(&mut self, count: usize) -> Vec<ChunkSums> {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.resize_with(count, ChunkSums::default);
        chunks.iter_mut().for_each(|chunk| chunk.clear(self.channels));
        chunks
    }

    /// Adds pixels of a chunk to its statistics.
    pub(crate) fn measure(&self, pixels: &[f32], chunk: &mut ChunkSums) {
        if chunk.origin.is_empty() {
            chunk.origin.extend_from_slice(&pixels[..self.channels]);
        }
        for rows in pixels.chunks(ROWS * self.channels) {
            chunk.rows += rows.len() / self.channels;
            chunk.add(self.channels, |origin, sums| sum_and_square(rows, origin, sums));
        }
    }

    /// Mean and variance from the statistics of all chunks (joined as Chan et al. 1983).
    pub(crate) fn settle(&mut self, chunks: Vec<ChunkSums>, parameters: &[f32]) {
        self.forget();
        let count: usize = chunks.iter().map(|chunk| chunk.rows).sum();
        for channel in 0..self.channels {
            let (mut rows, mut mean, mut squares) = (0.0, 0.0, 0.0);
            for chunk in chunks.iter().filter(|chunk| chunk.rows > 0) {
                let n = chunk.rows as f64;
                let offset = chunk.sums[channel] / n;
                let distance = f64::from(chunk.origin[channel]) + offset - mean;
                squares += chunk.sums[self.channels + channel] - offset * offset * n
                    + distance * distance * rows * n / (rows + n);
                mean += distance * n / (rows + n);
                rows += n;
            }
            let variance = (squares / rows).max(0.0);
            self.mean[channel] = mean as f32;
            self.inverse_deviation[channel] = (1.0 / (variance + self.norm.eps).sqrt()) as f32;
            let unbiased = variance * rows / (rows - 1.0);
            let blend =
                |old: f32, new: f64| (f64::from(old) * (1.0 - self.norm.momentum) + new * self.norm.momentum) as f32;
            self.running_mean[channel] = blend(self.running_mean[channel], mean);
            self.running_var[channel] = blend(self.running_var[channel], unbiased);
        }
        debug_assert!(count > 0, "a batch has images");
        self.chunks = chunks;
        self.draw_lines(parameters);
    }

    /// Uses the running statistics.
    pub(crate) fn recall(&mut self, parameters: &[f32]) {
        if std::mem::replace(&mut self.is_recalled, true) {
            return;
        }
        self.mean.copy_from_slice(&self.running_mean);
        for (inverse, variance) in self.inverse_deviation.iter_mut().zip(&self.running_var) {
            *inverse = 1.0 / (variance + self.norm.eps as f32).sqrt();
        }
        self.draw_lines(parameters);
    }

    /// The weights, whose last dimension is that of the channels, and the biases, one for each channel, of a filter that
    /// has this norm in it: from those of the filter before it, which may have no `bias`.
    pub(crate) fn fold(&mut self, parameters: &[f32], weights: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
        self.recall(parameters);
        let Lines { scale, shift, .. } = &self.lines;
        let weights = weights.chunks_exact(self.channels).flat_map(|row| row.iter().zip(scale).map(|(w, s)| w * s));
        let bias = bias.iter().copied().chain(std::iter::repeat(0.0)).zip(scale.iter().zip(shift));
        (weights.collect(), bias.map(|(bias, (scale, shift))| bias * scale + shift).collect())
    }

    pub(crate) fn activation(&self) -> Option<Activation> {
        self.activation
    }

    /// The parameters or the running statistics are not what they were any more.
    pub(crate) fn forget(&mut self) {
        self.is_recalled = false;
    }

    fn draw_lines(&mut self, parameters: &[f32]) {
        let (weight, bias) = parameters.split_at(self.channels);
        let Lines { scale, shift, .. } = &mut self.lines;
        scale.clear();
        scale.extend(weight.iter().zip(&self.inverse_deviation).map(|(weight, inverse)| weight * inverse));
        shift.clear();
        shift.extend(bias.iter().zip(&self.mean).zip(&*scale).map(|((bias, mean), scale)| bias - mean * scale));
    }

    pub(crate) fn apply(&self, input: &[f32], output: &mut [f32]) {
        let Lines { scale, shift, .. } = &self.lines;
        with_curve!(self.activation, curve => apply(curve, input, scale, shift, output));
    }

    /// As [`Self::apply`], times `factor`, and added to `other`.
    pub(crate) fn apply_and_add(&self, input: &[f32], factor: f32, other: &[f32], output: &mut [f32]) {
        with_curve!(self.activation, curve => apply_and_add(curve, input, &self.lines, factor, other, output));
    }

    /// Adds pixels and gradients of a chunk to the sums that [`Self::settle_gradient`] needs. May
    /// change the gradients; [`Self::correct`] knows how.
    pub(crate) fn measure_gradient(&self, pixels: &[f32], gradients: &mut [f32], chunk: &mut ChunkSums) {
        let rows = ROWS * self.channels;
        for (rows, gradients) in pixels.chunks(rows).zip(gradients.chunks_mut(rows)) {
            chunk.add(self.channels, |_, sums| {
                with_curve!(self.activation, curve => {
                    gradient_sums(curve, rows, gradients, &self.lines, &self.mean, sums);
                });
            });
        }
    }

    /// Keeps what a reader of the output has measured of its gradients.
    pub(crate) fn keep_measured(&mut self, sums: Vec<ChunkSums>) {
        self.measured = Some(sums);
    }

    /// What [`Self::keep_measured`] was given in this step.
    pub(crate) fn take_measured(&mut self) -> Option<Vec<ChunkSums>> {
        self.measured.take()
    }

    /// Whether to normalise costs so much that it should be done once.
    pub(crate) fn is_costly(&self) -> bool {
        with_curve!(self.activation, curve => is_costly(curve))
    }

    /// Gives the gradients of the parameters, and prepares [`Self::correct`]. `count` is the
    /// number of pixels in the batch.
    pub(crate) fn settle_gradient(&mut self, chunks: Vec<ChunkSums>, count: usize, of_parameters: &mut [f32]) {
        let (of_weights, of_biases) = of_parameters.split_at_mut(self.channels);
        let Lines { scale, slope, offset, .. } = &mut self.lines;
        slope.resize(self.channels, 0.0);
        offset.resize(self.channels, 0.0);
        for channel in 0..self.channels {
            let total = |at: usize| chunks.iter().map(|chunk| chunk.sums[at]).sum::<f64>();
            let inverse = f64::from(self.inverse_deviation[channel]);
            let (of_bias, of_weight) = (total(channel), total(self.channels + channel) * inverse);
            of_biases[channel] = of_bias as f32;
            of_weights[channel] = of_weight as f32;
            // scale · (g − Σg / n − x̂ · Σ(g · x̂) / n), with x̂ = (x − mean) · inverse.
            let scale = f64::from(scale[channel]) / count as f64;
            let rise = -scale * of_weight * inverse;
            slope[channel] = rise as f32;
            offset[channel] = (-scale * of_bias - rise * f64::from(self.mean[channel])) as f32;
        }
        self.chunks = chunks;
    }

    /// Turns gradients after the activation, which [`Self::measure_gradient`] has seen, into those
    /// before the norm.
    pub(crate) fn correct(&self, pixels: &[f32], gradients: &mut [f32]) {
        with_curve!(self.activation, curve => correct(curve, pixels, &self.lines, gradients));
    }

    pub(crate) fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("running_mean", &mut self.running_mean), ("running_var", &mut self.running_var)]
    }
}

fn is_costly<C: Curve>(_: C) -> bool {
    C::COSTLY
}

/// A norm that does not follow a convolution.
pub(crate) struct Normalise {
    pub(crate) normaliser: Normaliser,
    /// Values of an image.
    pub(crate) values: usize,
}

impl Operation for Normalise {
    fn prepare(&mut self, _: &Run, parameters: &[f32]) {
        self.normaliser.recall(parameters);
    }

    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.values, |first, output| {
            self.normaliser.apply(&inputs[0][first * self.values..][..output.len()], output);
        });
    }

    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: Inputs<'_>, _: &mut [f32], output: &mut [f32]) {
        let inputs = inputs.values;
        let values = self.values;
        let ranges = chunks::ranges(run.images);
        let mut sums = self.normaliser.take_chunks(ranges.len());
        let tasks = sums.iter_mut().zip(ranges).collect();
        let normaliser = &self.normaliser;
        chunks::run(tasks, run.images * values, |(sums, images)| {
            normaliser.measure(&inputs[0][images.start * values..images.end * values], sums);
        });
        self.normaliser.settle(sums, parameters);
        self.apply(run, parameters, inputs, output);
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let (values, input) = (self.values, forward.inputs[0]);
        let ranges = chunks::ranges(run.images);
        let mut sums = self.normaliser.take_chunks(ranges.len());
        let parts = gradients.output.chunks_mut(chunks::images_per_chunk(run.images) * values);
        let tasks = sums.iter_mut().zip(ranges).zip(parts).collect();
        let normaliser = &self.normaliser;
        chunks::run(tasks, run.images * values, |((sums, images), of_output)| {
            normaliser.measure_gradient(&input[images.start * values..images.end * values], of_output, sums);
        });
        let pixels = run.images * values / self.normaliser.channels;
        self.normaliser.settle_gradient(sums, pixels, gradients.parameters);
        let normaliser = &self.normaliser;
        chunks::for_each(run.images, gradients.output, values, |first, of_output| {
            normaliser.correct(&input[first * values..][..of_output.len()], of_output);
        });
        gradients.inputs[0].take(run.images, values, gradients.output);
    }

    fn parameters_changed(&mut self) {
        self.normaliser.forget();
    }

    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        self.normaliser.statistics()
    }
}

vectorised! {
    fn apply<C: Curve>(curve: C, input: &[f32], scale: &[f32], shift: &[f32], output: &mut [f32]) {
        let channels = scale.len();
        let shift = &shift[..channels];
        for (from, to) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                to[channel] = curve.value::<A>(A::mul_add(from[channel], scale[channel], shift[channel]));
            }
        }
    }

    fn apply_and_add<C: Curve>(curve: C, input: &[f32], lines: &Lines, factor: f32, others: &[f32], output: &mut [f32]) {
        let channels = lines.scale.len();
        let (scale, shift) = (&lines.scale[..channels], &lines.shift[..channels]);
        let rows = input.chunks_exact(channels).zip(others.chunks_exact(channels));
        for ((from, other), to) in rows.zip(output.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let value = curve.value::<A>(A::mul_add(from[channel], scale[channel], shift[channel]));
                to[channel] = A::mul_add(value, factor, other[channel]);
            }
        }
    }

    fn correct<C: Curve>(curve: C, input: &[f32], lines: &Lines, gradients: &mut [f32]) {
        let channels = lines.scale.len();
        let (scale, shift) = (&lines.scale[..channels], &lines.shift[..channels]);
        let (slope, offset) = (&lines.slope[..channels], &lines.offset[..channels]);
        for (row, gradient) in input.chunks_exact(channels).zip(gradients.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let x = row[channel];
                let g = if C::COSTLY {
                    gradient[channel]
                } else {
                    gradient[channel] * curve.slope::<A>(A::mul_add(x, scale[channel], shift[channel]))
                };
                gradient[channel] = A::mul_add(scale[channel], g, A::mul_add(slope[channel], x, offset[channel]));
            }
        }
    }
}

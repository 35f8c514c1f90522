//! The gradients of a filter and of what follows it.

use super::{Filter, Filtered, Normaliser, block_at, normalised};
use crate::operations::norm::ChunkSums;
use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
    kernels::announce,
    operation::{Forward, Gradients, Run},
};

/// What all parts of a backward pass read.
struct Pass<'a> {
    norm: Option<&'a Normaliser>,
    weights: &'a [f32],
    images: &'a [f32],
    saved: &'a [f32],
    add: bool,
}

/// Some images, and what becomes of them.
struct Chunk<'a> {
    /// Their first value among all outputs.
    first: usize,
    images: &'a [f32],
    of_output: &'a mut [f32],
    /// Empty where nobody needs it.
    of_input: &'a mut [f32],
    of_weights: &'a mut [f32],
    of_bias: &'a mut [f32],
    /// The norm that the images lack, and what it wants to know of them.
    norm: Option<(&'a Normaliser, &'a mut ChunkSums)>,
}

impl<F: Filter> Filtered<F> {
    /// [`crate::operation::Operation::backward`].
    pub(super) fn propagate(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let to = self.filter.output();
        if let (Some(residual), [_, of_other]) = (&self.residual, &mut *gradients.inputs) {
            of_other.take(run.images, to.values(), gradients.output);
            if residual.drop > 0.0 {
                chunks::for_each(run.images, gradients.output, to.values(), |first, part| {
                    for (image, part) in part.chunks_mut(to.values()).enumerate() {
                        let factor = residual.factor(run, first + image);
                        part.iter_mut().for_each(|gradient| *gradient *= factor);
                    }
                });
            }
        }
        let mut norm = self.norm.take();
        let (weights, bias, _) = self.split(forward.parameters);
        let (of_filter, of_norm) = gradients.parameters.split_at_mut(weights.len() + bias.len());
        if let Some(norm) = &mut norm {
            let sums = norm.take_measured().unwrap_or_else(|| {
                let ranges = chunks::ranges(run.images);
                let mut sums = norm.take_chunks(ranges.len());
                let parts = gradients.output.chunks_mut(chunks::images_per_chunk(run.images) * to.values());
                let tasks = sums.iter_mut().zip(ranges).zip(parts).collect();
                let (this, saved) = (&*norm, forward.saved);
                chunks::run(tasks, run.images * to.values(), |((sums, images), of_output)| {
                    let seen = images.start * to.values()..images.end * to.values();
                    this.measure_gradient(&saved[seen], of_output, sums);
                });
                sums
            });
            norm.settle_gradient(sums, run.images * to.pixels(), of_norm);
        }
        let weights = &forward.parameters[..self.filter.weights()];
        let of_input = &mut gradients.inputs[0];
        let pass =
            Pass { norm: norm.as_ref(), weights, images: forward.inputs[0], saved: forward.saved, add: of_input.add };
        if self.filter.is_heavy() {
            self.backward_of_all(run, &pass, gradients.output, of_input.values, of_filter);
        } else {
            self.filter.prepare_backward(weights);
            self.backward_by_chunks(run, &pass, gradients.output, (of_input.values, gradients.norm), of_filter);
        }
        self.norm = norm;
    }

    /// Each chunk of images from end to end, with its own sums for the weights. Inputs may lack a norm.
    fn backward_by_chunks(
        &mut self,
        run: &Run,
        pass: &Pass<'_>,
        of_output: &mut [f32],
        (of_input, mut norm): (&mut [f32], Option<&mut Normaliser>),
        of_filter: &mut [f32],
    ) {
        let mut partials = std::mem::take(&mut self.partials);
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        let ranges = chunks::ranges(run.images);
        let (chunk, count) = (chunks::images_per_chunk(run.images), ranges.len());
        // Nobody may need the gradient of the input: then each part is empty.
        let mut of_inputs: Vec<&mut [f32]> = of_input.chunks_mut(chunk * from).collect();
        of_inputs.resize_with(count, Default::default);
        let sums = chunks::zeroed(&mut partials, count, of_filter.len());
        let mut of_norm = norm.as_mut().map_or_else(Vec::new, |norm| norm.take_chunks(count));
        let before = norm.as_deref();
        let mut measured: Vec<_> = of_norm.iter_mut().map(|sums| before.map(|norm| (norm, sums))).collect();
        measured.resize_with(count, Default::default);
        let parts = of_output.chunks_mut(chunk * to).zip(of_inputs).zip(sums).zip(measured);
        let mut tasks = Vec::with_capacity(count);
        for (range, (((of_output, of_input), sums), norm)) in ranges.into_iter().zip(parts) {
            let (of_weights, of_bias) = sums.split_at_mut(pass.weights.len());
            let images = &pass.images[range.start * from..range.end * from];
            tasks.push(Chunk { first: range.start * to, images, of_output, of_input, of_weights, of_bias, norm });
        }
        chunks::run(tasks, run.images * to, |chunk| self.backward_by_blocks(pass, chunk));
        chunks::total(&partials, of_filter);
        self.partials = partials;
        if let Some(norm) = norm {
            norm.keep_measured(of_norm);
        }
    }

    /// A chunk, as many images or pixels at a time as stay in a cache.
    fn backward_by_blocks(&self, pass: &Pass<'_>, chunk: Chunk<'_>) {
        let Chunk { first, images, of_output, of_input, of_weights, of_bias, mut norm } = chunk;
        let [from, to] = self.block();
        let seen = pass.saved.get(first..first + of_output.len()).unwrap_or_default();
        for (index, images) in images.chunks(from).enumerate() {
            let rest = &mut of_output[index * to..];
            let (of_output, rest) = rest.split_at_mut(to.min(rest.len()));
            announce([images, &[]]);
            self.correct(pass, first + index * to, of_output);
            if !of_input.is_empty() {
                let of_input = &mut of_input[index * from..][..images.len()];
                self.filter.input_gradient(pass.weights, of_output, of_input, pass.add);
                if let Some((norm, sums)) = &mut norm {
                    norm.measure_gradient(images, of_input, sums);
                }
            }
            announce([&rest[..to.min(rest.len())], block_at(seen, index + 1, to)]);
            let norm = norm.as_ref().map(|(norm, _)| *norm);
            normalised(images, norm, |images| self.filter.weight_gradient(images, of_output, of_weights));
            add_rows(of_output, of_bias);
        }
    }

    /// One kind of work after the other, each cut in its own way.
    fn backward_of_all(
        &mut self,
        run: &Run,
        pass: &Pass<'_>,
        of_output: &mut [f32],
        of_input: &mut [f32],
        of_filter: &mut [f32],
    ) {
        let to = self.filter.output().values();
        let this = &*self;
        chunks::for_each(run.images, of_output, to, |first, part| this.correct(pass, first * to, part));
        let of_output = &*of_output;
        let (of_weights, of_bias) = of_filter.split_at_mut(pass.weights.len());
        of_bias.fill(0.0);
        add_rows(of_output, of_bias);
        if !of_input.is_empty() {
            self.filter.input_gradient_of_all(pass.weights, of_output, of_input, pass.add);
        }
        self.filter.weight_gradient_of_all(pass.images, of_output, of_weights);
    }

    /// Gradients before the norm, if there is one, from those after the activation; the values from `first` on.
    fn correct(&self, pass: &Pass<'_>, first: usize, of_output: &mut [f32]) {
        if let Some(norm) = pass.norm {
            norm.correct(&pass.saved[first..][..of_output.len()], of_output);
        } else if self.activation.is_some() {
            let saved = &pass.saved[first..][..of_output.len()];
            with_curve!(self.activation, curve => steepen(curve, saved, of_output));
        }
    }
}

vectorised! {
    /// Gradients before the curve from those after it; `values` are what the curve saw.
    fn steepen<C: Curve>(curve: C, values: &[f32], gradients: &mut [f32]) {
        gradients.iter_mut().zip(values).for_each(|(gradient, value)| *gradient *= curve.slope::<A>(*value));
    }

    /// Adds all rows of `values` to `sums`.
    fn add_rows(values: &[f32], sums: &mut [f32]) {
        if !sums.is_empty() {
            for row in values.chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

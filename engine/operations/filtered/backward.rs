//! The gradients of a filter and of what follows it.

use super::{Filter, Filtered, Normaliser};
use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
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
            let ranges = chunks::ranges(run.images);
            let mut sums = norm.take_chunks(ranges.len());
            let parts = gradients.output.chunks_mut(chunks::images_per_chunk(run.images) * to.values());
            let tasks = sums.iter_mut().zip(ranges).zip(parts).collect();
            let (this, saved) = (&*norm, forward.saved);
            chunks::run(tasks, run.images * to.values(), |((sums, images), of_output)| {
                this.measure_gradient(&saved[images.start * to.values()..images.end * to.values()], of_output, sums);
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
            self.backward_by_chunks(run, &pass, gradients.output, of_input.values, of_filter);
        }
        self.norm = norm;
    }

    /// Each chunk of images from end to end, with its own sums for the weights.
    fn backward_by_chunks(
        &mut self,
        run: &Run,
        pass: &Pass<'_>,
        of_output: &mut [f32],
        of_input: &mut [f32],
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
        let tasks: Vec<_> = ranges.into_iter().zip(of_output.chunks_mut(chunk * to)).zip(of_inputs).zip(sums).collect();
        let [from_block, to_block] = self.block();
        chunks::run(tasks, run.images * to, |(((range, of_output), of_input), sums)| {
            let images = &pass.images[range.start * from..range.end * from];
            let blocks = images.chunks(from_block).zip(of_output.chunks_mut(to_block));
            for (index, (images, of_output)) in blocks.enumerate() {
                self.correct(pass, range.start * to + index * to_block, of_output);
                if !of_input.is_empty() {
                    let of_input = &mut of_input[index * from_block..][..images.len()];
                    self.filter.input_gradient(pass.weights, of_output, of_input, pass.add);
                }
                let (of_weights, of_bias) = sums.split_at_mut(pass.weights.len());
                self.filter.weight_gradient(images, of_output, of_weights);
                add_rows(of_output, of_bias);
            }
        });
        chunks::total(&partials, of_filter);
        self.partials = partials;
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

//! Convolutions of every kind, with what follows them: bias, norm, activation.

use super::{Size, dropout::kept, norm::Normaliser};
use crate::{
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, Operation, Rereads, Run},
};
use nasgen_modules::randomness::Stream;

/// Values of an output that are computed before the next operation looks at them: they stay in the
/// second cache.
const BLOCK: usize = 48 * 1024;

/// Values of inputs and outputs together that are worked on at a time where they may end at any pixel: with what
/// else is read they stay in the second cache.
const PIXEL_BLOCK: usize = 32 * 1024;

/// A linear map from images to images, the same for each image.
pub(crate) trait Filter: Send + Sync + Sized {
    /// Of the images that go in.
    fn input(&self) -> Size;
    /// Of the images that come out.
    fn output(&self) -> Size;
    /// Number of weights.
    fn weights(&self) -> usize;
    /// Images that are best computed at a time, or a multiple of them.
    fn images_at_a_time(&self) -> usize {
        1
    }
    /// Whether each pixel of the output depends on its own pixel of the input alone.
    fn is_pointwise(&self) -> bool {
        false
    }
    /// Whether the weights are so many that no thread should have its own sums for them.
    fn is_heavy(&self) -> bool {
        false
    }
    /// Gets ready for [`Self::apply`] with these weights.
    fn prepare_forward(&mut self, _weights: &[f32]) {}
    /// Applies the filter to some images.
    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32]);
    /// Gets ready for [`Self::input_gradient`].
    fn prepare_backward(&mut self, _weights: &[f32]) {}
    /// Gradients of some images from those of their outputs; added if `add`.
    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool);
    /// Adds the gradient of the weights from some images.
    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]);

    /// Applies the filter to all images, on all threads.
    fn apply_to_all(&mut self, weights: &[f32], images: &[f32], output: &mut [f32]) {
        apply_in_shares(self, weights, images, output);
    }

    /// Gradients of all images, on all threads.
    fn input_gradient_of_all(&mut self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        self.prepare_backward(weights);
        input_gradient_in_shares(self, weights, of_output, of_input, add);
    }

    /// The gradient of the weights from all images, on all threads. Called if [`Self::is_heavy`].
    fn weight_gradient_of_all(&mut self, _images: &[f32], _of_output: &[f32], _of_weights: &mut [f32]) {
        unreachable!("a filter that is heavy has its own");
    }
}

/// Applies a filter to all images, the same number on each thread.
pub(crate) fn apply_in_shares(filter: &impl Filter, weights: &[f32], images: &[f32], output: &mut [f32]) {
    let (from, to) = (filter.input().values(), filter.output().values());
    chunks::for_each_share(output.len() / to, output, to, |first, part| {
        filter.apply(weights, &images[first * from..][..part.len() / to * from], part);
    });
}

/// Gradients of all images, the same number on each thread.
pub(crate) fn input_gradient_in_shares(
    filter: &impl Filter,
    weights: &[f32],
    of_output: &[f32],
    of_input: &mut [f32],
    add: bool,
) {
    let (from, to) = (filter.input().values(), filter.output().values());
    chunks::for_each_share(of_input.len() / from, of_input, from, |first, part| {
        filter.input_gradient(weights, &of_output[first * to..][..part.len() / from * to], part, add);
    });
}

/// What is computed together with a filter.
#[derive(Default)]
pub(crate) struct Followers {
    /// A norm with its activation.
    pub(crate) norm: Option<Normaliser>,
    /// After a norm: the sum with a second input.
    pub(crate) residual: Option<Residual>,
}

/// A sum of which what came before it is dropped in training, image by image.
pub(crate) struct Residual {
    pub(crate) stream: Stream,
    /// Index of the sum in the network's layers, on which the random numbers depend.
    pub(crate) node: u32,
    pub(crate) drop: f64,
}

impl Residual {
    fn factor(&self, run: &Run, image: usize) -> f32 {
        if !run.training || self.drop == 0.0 {
            return 1.0;
        }
        kept(&self.stream, run.step, self.node, image as u64, self.drop)
    }
}

/// A filter with what follows it. Parameters: weights, then the bias if there is one, then the
/// norm's.
pub(crate) struct Filtered<F> {
    filter: F,
    bias: bool,
    norm: Option<Normaliser>,
    residual: Option<Residual>,
    partials: Vec<f32>,
    /// Whether the filter knows the weights as they are now.
    is_prepared: bool,
}

impl<F: Filter> Filtered<F> {
    pub(crate) fn new(filter: F, bias: bool, Followers { norm, residual }: Followers) -> Self {
        Self { filter, bias, norm, residual, partials: Vec::new(), is_prepared: false }
    }

    /// Adds the second input, if there is one, to the images from `first` on.
    fn add_residual(&self, run: &Run, inputs: &[&[f32]], first: usize, part: &mut [f32]) {
        let Some(residual) = &self.residual else { return };
        let length = self.filter.output().values();
        for (image, part) in part.chunks_mut(length).enumerate() {
            let other = &inputs[1][(first + image) * length..][..length];
            scale_and_add(part, residual.factor(run, first + image), other);
        }
    }

    /// Weights, bias (empty if there is none) and the norm's parameters.
    fn split<'a>(&self, parameters: &'a [f32]) -> (&'a [f32], &'a [f32], &'a [f32]) {
        let (weights, rest) = parameters.split_at(self.filter.weights());
        let (bias, norm) = rest.split_at(if self.bias { self.filter.output().channels } else { 0 });
        (weights, bias, norm)
    }

    /// Values of inputs and of their outputs that are worked on at a time.
    fn block(&self) -> [usize; 2] {
        let (from, to) = (self.filter.input(), self.filter.output());
        if self.filter.is_pointwise() {
            let pixels = (PIXEL_BLOCK / (from.channels + to.channels)).next_multiple_of(64);
            return [from.channels, to.channels].map(|channels| pixels * channels);
        }
        let images = (BLOCK / to.values()).max(1).next_multiple_of(self.filter.images_at_a_time());
        [from.values(), to.values()].map(|values| images * values)
    }

    /// Computes some images before the norm; `look` sees each piece while it is in the cache.
    fn compute(&self, parameters: &[f32], images: &[f32], output: &mut [f32], mut look: impl FnMut(&mut [f32])) {
        let (weights, bias, _) = self.split(parameters);
        let [from, to] = self.block();
        for (images, output) in images.chunks(from).zip(output.chunks_mut(to)) {
            self.filter.apply(weights, images, output);
            if !bias.is_empty() {
                add_to_rows(bias, output);
            }
            look(output);
        }
    }

    /// Computes all images before the norm, in a way that reads the weights once.
    fn compute_all(&mut self, parameters: &[f32], images: &[f32], output: &mut [f32]) {
        let (weights, bias) = (&parameters[..self.filter.weights()], self.split(parameters).1);
        self.filter.apply_to_all(weights, images, output);
        if !bias.is_empty() {
            add_to_rows(bias, output);
        }
    }

    fn forward_in_training(
        &mut self,
        run: &Run,
        parameters: &[f32],
        inputs: &[&[f32]],
        saved: &mut [f32],
        output: &mut [f32],
    ) {
        let input = inputs[0];
        let Some(mut norm) = self.norm.take() else { unreachable!("only a norm differs in training") };
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        let ranges = chunks::ranges(run.images);
        let mut sums = norm.take_chunks(ranges.len());
        if self.filter.is_heavy() {
            self.compute_all(parameters, input, saved);
        }
        let parts = saved.chunks_mut(chunks::images_per_chunk(run.images) * to);
        let tasks: Vec<_> = ranges.into_iter().zip(parts).zip(&mut sums).collect();
        chunks::run(tasks, run.images * to, |((images, part), sums)| {
            if self.filter.is_heavy() {
                return norm.measure(part, sums);
            }
            let images = &input[images.start * from..images.end * from];
            self.compute(parameters, images, part, |block| norm.measure(block, sums));
        });
        norm.settle(sums, self.split(parameters).2);
        let this = &*self;
        chunks::for_each(run.images, output, to, |first, part| {
            for (image, part) in part.chunks_mut(to).enumerate() {
                norm.apply(&saved[(first + image) * to..][..to], part);
                this.add_residual(run, inputs, first + image, part);
            }
        });
        self.norm = Some(norm);
    }
}

impl<F: Filter> Operation for Filtered<F> {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], saved: &mut [f32], output: &mut [f32]) {
        if !std::mem::replace(&mut self.is_prepared, true) {
            self.filter.prepare_forward(&parameters[..self.filter.weights()]);
        }
        if run.training && self.norm.is_some() {
            return self.forward_in_training(run, parameters, inputs, saved, output);
        }
        if let Some(mut norm) = self.norm.take() {
            norm.recall(self.split(parameters).2);
            self.norm = Some(norm);
        }
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        if self.filter.is_heavy() {
            self.compute_all(parameters, inputs[0], output);
            if let Some(norm) = &self.norm {
                chunks::for_each(run.images, output, to, |first, part| {
                    norm.apply_in_place(part);
                    self.add_residual(run, inputs, first, part);
                });
            }
            return;
        }
        let this = &*self;
        chunks::for_each(run.images, output, to, |first, part| {
            let images = &inputs[0][first * from..][..part.len() / to * from];
            this.compute(parameters, images, part, |block| {
                if let Some(norm) = &this.norm {
                    norm.apply_in_place(block);
                }
            });
            this.add_residual(run, inputs, first, part);
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
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

    fn parameters_changed(&mut self) {
        self.is_prepared = false;
        self.norm.iter_mut().for_each(Normaliser::forget);
    }

    fn saves(&self) -> bool {
        self.norm.is_some()
    }

    fn rereads(&self) -> Rereads {
        Rereads::FirstInput
    }

    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        self.norm.as_mut().map_or_else(Vec::new, Normaliser::statistics)
    }
}

/// What all parts of a backward pass read.
struct Pass<'a> {
    norm: Option<&'a Normaliser>,
    weights: &'a [f32],
    images: &'a [f32],
    saved: &'a [f32],
    add: bool,
}

impl<F: Filter> Filtered<F> {
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

    /// Gradients before the norm from those after the activation; the values from `first` on.
    fn correct(&self, pass: &Pass<'_>, first: usize, of_output: &mut [f32]) {
        if let Some(norm) = pass.norm {
            norm.correct(&pass.saved[first..][..of_output.len()], of_output);
        }
    }
}

vectorised! {
    /// `values · factor + other`, in place.
    fn scale_and_add(values: &mut [f32], factor: f32, other: &[f32]) {
        values.iter_mut().zip(other).for_each(|(value, other)| *value = A::mul_add(*value, factor, *other));
    }

    /// Adds `row` to each row of `values`.
    fn add_to_rows(row: &[f32], values: &mut [f32]) {
        for values in values.chunks_exact_mut(row.len()) {
            values.iter_mut().zip(row).for_each(|(value, part)| *value += part);
        }
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

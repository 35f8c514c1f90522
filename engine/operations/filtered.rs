//! Convolutions of every kind, with what follows them: bias, norm, activation, residual sum.

mod backward;

use super::{
    Size,
    bands::{Band, bands},
    dropout::kept,
    filter::Filter,
    norm::Normaliser,
};
use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
    kernels::{Bend, Finish, announce},
    operation::{Forward, Gradients, Inputs, Operation, Rereads, Run},
};
use nasgen_modules::{Activation, Convolution, randomness::Stream};

/// Values of an output that are computed before the next operation looks at them: they stay in the
/// second cache.
const BLOCK: usize = 48 * 1024;

/// Values of inputs and outputs together that are worked on at a time where they may end at any pixel: with what
/// else is read they stay in the second cache.
const PIXEL_BLOCK: usize = 32 * 1024;

/// Multiply-adds of an image that are worth another thread: about 2 µs of one.
const BANDED: usize = 100_000;

/// What is computed together with a filter.
#[derive(Default)]
pub(crate) struct Followers {
    /// A norm with its activation.
    pub(crate) norm: Option<Normaliser>,
    /// Without a norm: an activation.
    pub(crate) activation: Option<Activation>,
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
    /// What it computes; `None` for a fully connected layer.
    convolution: Option<Convolution>,
    /// The filter for parts of an image: made when a batch has fewer images than there are threads.
    bands: Vec<Band<F>>,
    /// How many of them were wanted; there may be fewer.
    bands_cut: usize,
    bias: bool,
    norm: Option<Normaliser>,
    activation: Option<Activation>,
    residual: Option<Residual>,
    partials: Vec<f32>,
    /// The weights that the filter is prepared for.
    prepared: Option<Weights>,
    /// Whether those of the bands are prepared for what they score with.
    are_bands_prepared: bool,
    folded: Folded,
}

/// Weights that a filter can be prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weights {
    /// Those that learn.
    Own,
    /// Those with the norm in them.
    Folded,
}

/// Weights and bias with the norm in them: what scores are computed with.
#[derive(Default)]
struct Folded {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl<F: Filter> Filtered<F> {
    /// A convolution with what follows it.
    pub(crate) fn new(convolution: &Convolution, input: Size, output: Size, followers: Followers) -> Self {
        let filter = F::new(convolution, input, output);
        Self { convolution: Some(*convolution), ..Self::of(filter, convolution.bias, followers) }
    }

    /// A filter with what follows it.
    pub(crate) fn of(filter: F, bias: bool, Followers { norm, activation, residual }: Followers) -> Self {
        let (convolution, bands, partials) = (None, Vec::new(), Vec::new());
        Self {
            filter,
            convolution,
            bands,
            bands_cut: 0,
            bias,
            norm,
            activation,
            residual,
            partials,
            prepared: None,
            are_bands_prepared: false,
            folded: Folded::default(),
        }
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

    /// Computes all images, if that is what suits the filter; whether it did.
    fn compute_heavy(&self, weights: &[f32], finish: Finish<'_>, images: &[f32], output: &mut [f32]) -> bool {
        let is_heavy = self.filter.is_heavy();
        if is_heavy {
            self.filter.apply_to_all(weights, images, output, finish);
        }
        is_heavy
    }

    /// Computes some images, which lack a `norm` if there is one; `look` sees each piece while it is in the cache.
    fn compute(
        &self,
        weights: &[f32],
        finish: Finish<'_>,
        (images, norm): (&[f32], Option<&Normaliser>),
        output: &mut [f32],
        mut look: impl FnMut(&mut [f32]),
    ) {
        let [from, to] = self.block();
        for (index, (block, output)) in images.chunks(from).zip(output.chunks_mut(to)).enumerate() {
            if norm.is_some() {
                announce([block_at(images, index + 1, from), &[]]);
            }
            normalised(block, norm, |images| self.filter.apply(weights, images, output, finish));
            look(output);
        }
    }

    /// Prepares the filter for the weights that learn.
    fn prepare_to_learn(&mut self, weights: &[f32]) {
        if self.prepared.replace(Weights::Own) != Some(Weights::Own) {
            self.filter.prepare_forward(weights);
        }
    }

    /// Prepares the filter for what scores are computed with.
    fn prepare_to_score(&mut self, parameters: &[f32]) {
        if self.prepared.replace(Weights::Folded) == Some(Weights::Folded) {
            return;
        }
        self.are_bands_prepared = false;
        let (weights, bias, of_norm) = self.split(parameters);
        if let Some(norm) = &mut self.norm {
            (self.folded.weights, self.folded.bias) = norm.fold(of_norm, weights, bias);
        }
        self.filter.prepare_forward(if self.norm.is_some() { &self.folded.weights } else { weights });
    }

    /// Weights and bias that scores are computed with, after [`Self::prepare_to_score`].
    fn scoring<'a>(&'a self, parameters: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        if self.norm.is_some() {
            return (&self.folded.weights, &self.folded.bias);
        }
        let (weights, bias, _) = self.split(parameters);
        (weights, bias)
    }

    /// What follows each sum.
    fn activation(&self) -> Option<Activation> {
        self.norm.as_ref().map_or(self.activation, Normaliser::activation)
    }

    /// Forward with a norm; `saved` keeps what it sees.
    fn normalise_in_training(
        &mut self,
        mut norm: Normaliser,
        run: &Run,
        parameters: &[f32],
        inputs: Inputs<'_>,
        saved: &mut [f32],
        output: &mut [f32],
    ) -> Normaliser {
        let input = inputs.values[0];
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        let ranges = chunks::ranges(run.images);
        let mut sums = norm.take_chunks(ranges.len());
        let (weights, bias, of_norm) = self.split(parameters);
        let finish = Finish::on(bias, Bend::Straight);
        self.prepare_to_learn(weights);
        let is_computed = self.compute_heavy(weights, finish, input, saved);
        let parts = saved.chunks_mut(chunks::images_per_chunk(run.images) * to);
        let tasks: Vec<_> = ranges.into_iter().zip(parts).zip(&mut sums).collect();
        chunks::run(tasks, run.images * to, |((images, part), sums)| {
            let images = &input[images.start * from..images.end * from];
            if is_computed {
                norm.measure(part, sums);
            } else {
                self.compute(weights, finish, (images, inputs.norm), part, |block| norm.measure(block, sums));
            }
        });
        norm.settle(sums, of_norm);
        let this = &*self;
        chunks::for_each(run.images, output, to, |first, part| {
            let seen = first * to..first * to + part.len();
            let Some(residual) = &this.residual else { return norm.apply(&saved[seen], part) };
            let images = saved[seen.clone()].chunks(to).zip(inputs.values[1][seen].chunks(to)).zip(part.chunks_mut(to));
            for (image, ((saved, other), part)) in images.enumerate() {
                norm.apply_and_add(saved, residual.factor(run, first + image), other, part);
            }
        });
        norm
    }

    /// Bands of each image that this thread and the others compute at a time: more than one where there are more
    /// threads than images, and enough to do.
    fn bands_wanted(&self, run: &Run) -> usize {
        let output = self.filter.output();
        let wanted = chunks::threads().div_ceil(run.images);
        let work = output.pixels() * self.filter.weights();
        if wanted == 1 || work < BANDED || self.convolution.is_none() || self.filter.shares_one_product(run.images) {
            return 1;
        }
        wanted.max(output.values() / BLOCK)
    }

    /// Makes the bands that are wanted.
    fn prepare_bands(&mut self, run: &Run, parameters: &[f32]) {
        let wanted = self.bands_wanted(run);
        let Some(convolution) = self.convolution.filter(|_| wanted > 1) else { return };
        if std::mem::replace(&mut self.bands_cut, wanted) != wanted {
            self.bands = bands(&convolution, self.filter.input(), self.filter.output(), wanted);
            self.are_bands_prepared = false;
        }
        if !std::mem::replace(&mut self.are_bands_prepared, true) {
            let mut bands = std::mem::take(&mut self.bands);
            let weights = self.scoring(parameters).0;
            bands.iter_mut().for_each(|band| band.filter.prepare_forward(weights));
            self.bands = bands;
        }
    }

    /// Several threads for each image; `compute` computes a band of one.
    fn apply_in_bands(
        &self,
        run: &Run,
        inputs: &[&[f32]],
        mut output: &mut [f32],
        compute: impl Fn(&Band<F>, &[f32], &mut [f32]) + Sync,
    ) {
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        let mut tasks = Vec::with_capacity(run.images * self.bands.len());
        for image in 0..run.images {
            for band in &self.bands {
                let (part, rest) = output.split_at_mut(band.output.len());
                output = rest;
                tasks.push((image, band, part));
            }
        }
        chunks::run(tasks, usize::MAX, |(image, band, part)| {
            compute(band, &inputs[0][image * from..][band.input.clone()], part);
            if let Some(residual) = &self.residual {
                let other = &inputs[1][image * to..][band.output.clone()];
                scale_and_add(part, residual.factor(run, image), other);
            }
        });
    }

    /// Forward with an activation and no norm; `saved` keeps what the activation sees.
    fn bend_in_training(
        &mut self,
        run: &Run,
        parameters: &[f32],
        inputs: Inputs<'_>,
        saved: &mut [f32],
        output: &mut [f32],
    ) {
        let input = inputs.values[0];
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        let (weights, bias, _) = self.split(parameters);
        let finish = Finish::on(bias, Bend::Straight);
        self.prepare_to_learn(weights);
        let is_computed = self.compute_heavy(weights, finish, input, saved);
        let chunk = chunks::images_per_chunk(run.images) * to;
        let tasks = saved.chunks_mut(chunk).zip(output.chunks_mut(chunk)).enumerate().collect();
        chunks::run(tasks, run.images * to, |(index, (saved, mut output))| {
            let images = &input[index * chunk / to * from..][..saved.len() / to * from];
            let mut bend_next = |block: &mut [f32]| {
                let (part, rest) = std::mem::take(&mut output).split_at_mut(block.len());
                output = rest;
                with_curve!(self.activation, curve => bend(curve, block, part));
            };
            if is_computed {
                bend_next(saved);
            } else {
                self.compute(weights, finish, (images, inputs.norm), saved, bend_next);
            }
        });
    }
}

/// The block at `index`, which may be beyond the last.
fn block_at(values: &[f32], index: usize, length: usize) -> &[f32] {
    values.chunks(length).nth(index).unwrap_or_default()
}

/// Calls `work` with images as they are, or as they are once a `norm` has seen them.
fn normalised(images: &[f32], norm: Option<&Normaliser>, work: impl FnOnce(&[f32])) {
    let Some(norm) = norm else { return work(images) };
    chunks::with_room(images.len(), |room| {
        norm.apply(images, room);
        work(room);
    });
}

impl<F: Filter> Operation for Filtered<F> {
    fn prepare(&mut self, run: &Run, parameters: &[f32]) {
        self.prepare_to_score(parameters);
        self.prepare_bands(run, parameters);
    }

    fn apply(&self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let (weights, bias) = self.scoring(parameters);
        let activation = self.activation();
        let finish = Finish::on(bias, Bend::of(activation).unwrap_or(Bend::Straight));
        // What kernels do not do.
        let bend = |values: &mut [f32]| {
            if Bend::of(activation).is_none() {
                with_curve!(activation, curve => bend_in_place(curve, values));
            }
        };
        if self.bands_wanted(run) > 1 && self.bands.len() > 1 {
            return self.apply_in_bands(run, inputs, output, |band, images, part| {
                band.filter.apply(weights, images, part, finish);
                bend(part);
            });
        }
        let (from, to) = (self.filter.input().values(), self.filter.output().values());
        // One thread has all weights to itself, and puts no columns together.
        let is_computed = chunks::threads() > 1 && self.compute_heavy(weights, finish, inputs[0], output);
        chunks::for_each_share(run.images, output, to, |first, part| {
            if is_computed {
                bend(part);
            } else {
                let images = &inputs[0][first * from..][..part.len() / to * from];
                self.compute(weights, finish, (images, None), part, bend);
            }
            self.add_residual(run, inputs, first, part);
        });
    }

    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: Inputs<'_>, saved: &mut [f32], output: &mut [f32]) {
        if let Some(norm) = self.norm.take() {
            self.norm = Some(self.normalise_in_training(norm, run, parameters, inputs, saved, output));
        } else if self.activation.is_some() {
            self.bend_in_training(run, parameters, inputs, saved, output);
        } else {
            self.prepare(run, parameters);
            self.apply(run, parameters, inputs.values, output);
        }
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        self.propagate(run, forward, gradients);
    }

    fn parameters_changed(&mut self) {
        self.prepared = None;
        self.norm.iter_mut().for_each(Normaliser::forget);
    }

    fn norm(&mut self) -> Option<&mut Normaliser> {
        let is_left = |norm: &&mut Normaliser| self.residual.is_none() && !norm.is_costly();
        self.norm.as_mut().filter(is_left)
    }

    fn normalises(&self) -> bool {
        self.saves() && !self.filter.is_heavy()
    }

    fn pixels(&self) -> Option<usize> {
        Some(self.filter.output().pixels())
    }

    fn saves(&self) -> bool {
        self.norm.is_some() || self.activation.is_some()
    }

    fn rereads(&self) -> Rereads {
        Rereads::FirstInput
    }

    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        self.norm.as_mut().map_or_else(Vec::new, Normaliser::statistics)
    }
}

vectorised! {
    /// `values · factor + other`, in place.
    fn scale_and_add(values: &mut [f32], factor: f32, other: &[f32]) {
        values.iter_mut().zip(other).for_each(|(value, other)| *value = A::mul_add(*value, factor, *other));
    }

    /// The curve's values.
    fn bend<C: Curve>(curve: C, values: &[f32], output: &mut [f32]) {
        values.iter().zip(output).for_each(|(value, to)| *to = curve.value::<A>(*value));
    }

    fn bend_in_place<C: Curve>(curve: C, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = curve.value::<A>(*value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Convolve;
    use nasgen_modules::Window;

    /// Three bands of eight rows are two, because rows go in pairs.
    #[test]
    fn bands_are_made_once() {
        let size = Size { height: 8, width: 8, channels: 48 };
        let convolution = Convolution::new(48, Window::centered(3, 1));
        let mut filtered = Filtered::<Convolve>::new(&convolution, size, size, Followers::default());
        let parameters = vec![0.1; filtered.filter.weights()];
        let (image, run) = (vec![1.0; size.values()], Run { images: 1, training: false, step: 0 });
        let mut forward = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut output = vec![0.0; size.values()];
            pool.install(|| {
                filtered.prepare(&run, &parameters);
                filtered.apply(&run, &parameters, &[&image], &mut output);
            });
            (output, filtered.bands.len(), filtered.bands.as_ptr() as usize)
        };
        let (one, three) = (forward(1), forward(3));
        assert_eq!((one.1, three.1), (0, 2));
        assert_eq!(forward(3), three, "they are made again");
        assert_eq!(one.0, three.0);
    }
}

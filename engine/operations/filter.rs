//! What all convolutions share: a linear map from images to images.

use super::Size;
use crate::{
    chunks,
    kernels::{Finish, transpose},
};
use nasgen_modules::Convolution;

/// A linear map from images to images, the same for each image.
pub(crate) trait Filter: Send + Sync + Sized {
    /// What computes `convolution` from images of the size `input` to images of the size `output`.
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self;
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
    /// Whether [`Self::apply_to_all`] cuts even a single image into parts for all threads.
    fn shares_one_product(&self, _images: usize) -> bool {
        false
    }
    /// Gets ready for [`Self::apply`] with these weights.
    fn prepare_forward(&mut self, _weights: &[f32]) {}
    /// Applies the filter to some images.
    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>);
    /// Gets ready for [`Self::input_gradient`].
    fn prepare_backward(&mut self, _weights: &[f32]) {}
    /// Gradients of some images from those of their outputs; added if `add`.
    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool);
    /// Adds the gradient of the weights from some images.
    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]);

    /// Applies the filter to all images, on all threads.
    fn apply_to_all(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        apply_in_shares(self, weights, images, output, finish);
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

/// The weights of the convolution at stride 1 that turns gradients of outputs into those of inputs: taps in the opposite
/// order, each with its `pairs` of input and output channels exchanged; `outputs` of the latter.
pub(crate) fn turn(weights: &[f32], pairs: usize, outputs: usize, turned: &mut Vec<f32>) {
    turned.resize(weights.len(), 0.0);
    let taps = weights.chunks_exact(pairs).rev().zip(turned.chunks_exact_mut(pairs)).collect();
    chunks::run(taps, weights.len(), |(tap, turned)| transpose(tap, outputs, turned));
}

/// Applies a filter to all images, the same number on each thread.
pub(crate) fn apply_in_shares(
    filter: &impl Filter,
    weights: &[f32],
    images: &[f32],
    output: &mut [f32],
    finish: Finish<'_>,
) {
    let (from, to) = (filter.input().values(), filter.output().values());
    chunks::for_each_share(output.len() / to, output, to, |first, part| {
        filter.apply(weights, &images[first * from..][..part.len() / to * from], part, finish);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{kernels::Bend, operations::Convolve};
    use nasgen_modules::randomness::Stream;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let stream = Stream::new(seed, "filters");
        (0..count as u64).map(|index| stream.uniform(index) * 2.0 - 1.0).collect()
    }

    #[track_caller]
    fn close(actual: &[f32], expected: &[f32], what: &str) {
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((actual - expected).abs() <= 2e-5 * expected.abs().max(1.0), "{what}: {actual} for {expected}");
        }
    }

    /// That a filter whose weights lie as those of [`Convolve`] computes what that does: outputs and both gradients.
    #[track_caller]
    pub(crate) fn check_against_direct<F: Filter>(convolution: &Convolution, input: Size, output: Size) {
        let what = format!("{:?} from {input:?} to {output:?}", convolution.window);
        let mut direct = Convolve::new(convolution, input, output);
        let mut filter = F::new(convolution, input, output);
        assert_eq!(filter.weights(), direct.weights(), "{what}");
        let images = 3;
        let weights = numbers(direct.weights(), 1);
        let (seen, of_output) = (numbers(images * input.values(), 2), numbers(images * output.values(), 3));
        let both = |length: usize| [numbers(length, 4), numbers(length, 4)];

        filter.prepare_forward(&weights);
        let bias = numbers(output.channels, 5);
        for finish in [Finish::STORE, Finish::on(&bias, Bend::Hardswish)] {
            let [mut expected, mut actual] = both(of_output.len());
            direct.apply(&weights, &seen, &mut expected, finish);
            filter.apply(&weights, &seen, &mut actual, finish);
            close(&actual, &expected, &what);
        }

        direct.prepare_backward(&weights);
        filter.prepare_backward(&weights);
        for add in [false, true] {
            let [mut expected, mut actual] = both(seen.len());
            direct.input_gradient(&weights, &of_output, &mut expected, add);
            filter.input_gradient(&weights, &of_output, &mut actual, add);
            close(&actual, &expected, &format!("input gradient, {what}"));
        }

        let [mut expected, mut actual] = both(weights.len());
        direct.weight_gradient(&seen, &of_output, &mut expected);
        filter.weight_gradient(&seen, &of_output, &mut actual);
        close(&actual, &expected, &format!("weight gradient, {what}"));
    }
}

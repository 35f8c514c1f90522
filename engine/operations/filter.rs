//! What all convolutions share: a linear map from images to images.

use super::Size;
use crate::{chunks, kernels::Finish};
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

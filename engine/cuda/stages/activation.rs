//! Activations that follow neither a norm nor a convolution, softmax, and convolution over channels.

use super::{Backward, Scene, Stage, Target};
use crate::cuda::{
    geometry::THREADS,
    tape::{Place, arguments},
};

/// An elementwise activation.
pub(crate) struct Activate {
    pub(crate) activation: i32,
    pub(crate) values: usize,
}

impl Stage for Activate {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        let count = scene.images * self.values;
        scene.writer.for_each("activate", count, arguments![inputs[0], output, self.activation, count]);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Some(Target { place, add }) = backward.of_inputs[0] else { return };
        let count = scene.images * self.values;
        let arguments = arguments![backward.of_output, backward.inputs[0], place, self.activation, add, count];
        scene.writer.for_each("activate_gradient", count, arguments);
    }
}

/// Softmax over the channels of each pixel.
pub(crate) struct Softmax {
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
}

impl Stage for Softmax {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        let pixels = scene.images * self.pixels;
        scene.writer.for_each("softmax", pixels, arguments![inputs[0], output, pixels, self.channels]);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Some(Target { place, add }) = backward.of_inputs[0] else { return };
        let pixels = scene.images * self.pixels;
        let arguments = arguments![backward.of_output, backward.output, place, add, pixels, self.channels];
        scene.writer.for_each("softmax_gradient", pixels, arguments);
    }
}

/// One odd kernel over the channels of a pixel.
pub(crate) struct ChannelConvolve {
    pub(crate) weights: Place,
    pub(crate) of_weights: Place,
    pub(crate) kernel: usize,
    pub(crate) channels: usize,
}

impl ChannelConvolve {
    fn convolve(&self, scene: &mut Scene<'_>, from: Place, to: Place, is_gradient: bool, add: bool) {
        let Self { weights, kernel, channels, .. } = *self;
        let arguments = arguments![from, weights, to, is_gradient, add, kernel, channels, scene.images];
        scene.writer.for_each("channel_convolve", scene.images * channels, arguments);
    }
}

impl Stage for ChannelConvolve {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        self.convolve(scene, inputs[0], output, false, false);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        if let Some(Target { place, add }) = backward.of_inputs[0] {
            self.convolve(scene, backward.of_output, place, true, add);
        }
        let arguments = arguments![
            backward.inputs[0],
            backward.of_output,
            self.of_weights,
            self.kernel,
            self.channels,
            scene.images
        ];
        scene.writer.launch("channel_convolve_weights", [self.kernel, 1, 1], THREADS, arguments);
    }
}

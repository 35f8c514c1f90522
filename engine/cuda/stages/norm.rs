//! Batch normalisation and the activation after it.

use super::{Backward, Chance, Scene, Stage, Target, width};
use crate::{
    cuda::{
        geometry::{Parts, THREADS},
        tape::{Place, arguments},
    },
    operations::Size,
};

/// A norm, with its activation.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) size: Size,
    /// Scale and shift, learnt, and their gradients.
    pub(crate) weight: [Place; 2],
    pub(crate) bias: [Place; 2],
    /// Running mean, then running variance.
    pub(crate) statistics: Place,
    /// Scale, shift, mean and 1 / deviation of each channel: what a pass works with.
    pub(crate) lines: Place,
    pub(crate) epsilon: f32,
    pub(crate) momentum: f32,
    pub(crate) activation: i32,
}

impl Norm {
    /// Where the lines have what a value is multiplied by and what is added to it.
    pub(crate) fn scale_and_shift(&self) -> [Place; 2] {
        [self.lines, self.lines.plus(self.size.channels)]
    }

    /// Normalises `input`, in a training by its own statistics, and adds the residual.
    pub(crate) fn forward(
        &self,
        scene: &mut Scene<'_>,
        input: Place,
        residual: Option<Place>,
        chance: Chance,
        output: Place,
    ) {
        let Size { channels, .. } = self.size;
        let pixels = scene.images * self.size.pixels();
        if scene.training {
            let Parts { lanes, slabs, parts } = Parts::of(pixels, channels);
            let partials = scene.writer.buffer(2 * parts * channels);
            let (mean, variance) = (self.statistics, self.statistics.plus(channels));
            let arguments = arguments![
                input,
                self.weight[0],
                self.bias[0],
                mean,
                variance,
                self.lines,
                partials,
                scene.counters,
                pixels,
                channels,
                lanes,
                self.epsilon,
                self.momentum
            ];
            scene.writer.launch("norm_measure", [slabs, parts, 1], THREADS, arguments);
        }
        let arguments = arguments![
            input,
            self.lines,
            residual,
            output,
            self.activation,
            self.size.values(),
            channels,
            chance.words(scene),
            scene.step,
            scene.images
        ];
        let kernel = format!("norm_apply_{}", width(channels));
        scene.writer.for_each(kernel, pixels * channels.div_ceil(4), arguments);
    }

    /// The gradients of scale, shift and input.
    pub(crate) fn backward(
        &self,
        scene: &mut Scene<'_>,
        of_output: Place,
        input: Place,
        chance: Chance,
        Target { place, add }: Target,
    ) {
        let Size { channels, .. } = self.size;
        let pixels = scene.images * self.size.pixels();
        let Parts { lanes, slabs, parts } = Parts::of(pixels, channels);
        let (turns, partials) = (scene.writer.buffer(2 * channels), scene.writer.buffer(2 * parts * channels));
        let arguments = arguments![
            of_output,
            input,
            self.lines,
            self.weight[1],
            self.bias[1],
            turns,
            partials,
            scene.counters,
            self.activation,
            pixels,
            channels,
            lanes,
            self.size.pixels(),
            chance.words(scene),
            scene.step
        ];
        scene.writer.launch("norm_gradient", [slabs, parts, 1], THREADS, arguments);
        let arguments = arguments![
            of_output,
            input,
            self.lines,
            turns,
            place,
            self.activation,
            self.size.values(),
            channels,
            chance.words(scene),
            scene.step,
            scene.images,
            add
        ];
        let kernel = format!("norm_correct_{}", width(channels));
        scene.writer.for_each(kernel, pixels * channels.div_ceil(4), arguments);
    }
}

/// A norm that does not follow a convolution.
pub(crate) struct Normalise(pub(crate) Norm);

impl Stage for Normalise {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        self.0.forward(scene, inputs[0], None, Chance::NEVER, output);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Backward { inputs, of_output, of_inputs, .. } = *backward;
        // The gradients of scale and shift are wanted even where that of the input is not.
        let place = of_inputs[0].unwrap_or_else(|| {
            let place = scene.writer.buffer(scene.images * self.0.size.values());
            Target { place, add: false }
        });
        self.0.backward(scene, of_output, inputs[0], Chance::NEVER, place);
    }
}

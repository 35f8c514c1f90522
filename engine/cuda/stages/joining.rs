//! Sums of values, and values times a gate.

use super::{Backward, Chance, Scene, Stage, Target};
use crate::{
    cuda::{
        geometry::{Parts, THREADS},
        tape::{Place, arguments},
    },
    operations::Size,
};

/// Takes over or adds `values` of each image, dropped image by image.
pub(super) fn give(scene: &mut Scene<'_>, from: Place, Target { place, add }: Target, chance: Chance, values: usize) {
    let arguments = arguments![from, place, add, chance.words(scene), scene.step, values, scene.images];
    scene.writer.for_each("give", scene.images * values, arguments);
}

/// The sum of the inputs; in training each but the first is dropped, image by image.
pub(crate) struct Add {
    pub(crate) chance: Chance,
    pub(crate) values: usize,
}

impl Add {
    fn chance(&self, input: usize) -> Chance {
        if input == 0 { Chance::NEVER } else { self.chance }
    }
}

impl Stage for Add {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        for (index, input) in inputs.iter().enumerate() {
            give(scene, *input, Target { place: output, add: index > 0 }, self.chance(index), self.values);
        }
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        for (index, target) in backward.of_inputs.iter().enumerate() {
            if let Some(target) = target {
                give(scene, backward.of_output, *target, self.chance(index), self.values);
            }
        }
    }
}

/// The first input times the second, which has one value for each channel of an image.
pub(crate) struct Scale {
    pub(crate) size: Size,
}

impl Scale {
    fn scale(&self, scene: &mut Scene<'_>, image: Place, gate: Place, Target { place, add }: Target) {
        let arguments = arguments![image, gate, place, add, self.size.pixels(), self.size.channels, scene.images];
        scene.writer.for_each("scale", scene.images * self.size.values(), arguments);
    }
}

impl Stage for Scale {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        self.scale(scene, inputs[0], inputs[1], Target { place: output, add: false });
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Backward { inputs, of_output, of_inputs, .. } = *backward;
        if let Some(target) = of_inputs[0] {
            self.scale(scene, of_output, inputs[1], target);
        }
        if let Some(Target { place, add }) = of_inputs[1] {
            let (pixels, channels) = (self.size.pixels(), self.size.channels);
            let Parts { lanes, slabs, .. } = Parts::of(pixels, channels);
            let arguments = arguments![of_output, inputs[0], place, add, pixels, channels, lanes];
            scene.writer.launch("scale_gradient", [slabs, scene.images, 1], THREADS, arguments);
        }
    }
}

//! Values dropped at random in training.

use super::{Backward, Chance, Scene, Stage, Target};
use crate::{
    cuda::tape::{Place, arguments},
    operations::Size,
};

/// Zeroes values with a probability and scales the others to keep the mean.
pub(crate) struct Dropout {
    pub(crate) chance: Chance,
    pub(crate) size: Size,
}

impl Dropout {
    fn drop(&self, scene: &mut Scene<'_>, from: Place, Target { place, add }: Target) {
        let (pixels, channels) = (self.size.pixels(), self.size.channels);
        let arguments =
            arguments![from, place, add, self.chance.words(scene), scene.step, pixels, channels, scene.images];
        scene.writer.for_each("drop", scene.images * self.size.values(), arguments);
    }
}

impl Stage for Dropout {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        self.drop(scene, inputs[0], Target { place: output, add: false });
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        if let Some(target) = backward.of_inputs[0] {
            self.drop(scene, backward.of_output, target);
        }
    }
}

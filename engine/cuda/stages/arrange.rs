//! Values moved to other places: concatenation, slices, shuffles, enlargement, flattening.

use super::{Backward, Scene, Stage, Target};
use crate::cuda::tape::{Place, arguments};

/// Copies values; each value of the output comes from one place in one input.
pub(crate) struct Arrange {
    /// Of each input.
    pub(crate) ways: Vec<Way>,
    /// Values of one image of the output.
    pub(crate) values: usize,
}

/// Where the values of one input go.
pub(crate) struct Way {
    /// Values of one image.
    pub(crate) values: usize,
    /// For each value of the output its place in this input, or -1.
    pub(crate) sources: Place,
    /// For each value of the input where its places in the output begin in `places`, and their end.
    pub(crate) starts: Place,
    pub(crate) places: Place,
}

impl Stage for Arrange {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        for (input, way) in inputs.iter().zip(&self.ways) {
            let arguments = arguments![*input, output, way.sources, way.values, self.values, scene.images];
            scene.writer.for_each("arrange", scene.images * self.values, arguments);
        }
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        for (target, way) in backward.of_inputs.iter().zip(&self.ways) {
            let Some(Target { place, add }) = *target else { continue };
            let Way { values, starts, places, .. } = *way;
            let arguments =
                arguments![backward.of_output, place, starts, places, add, values, self.values, scene.images];
            scene.writer.for_each("arrange_gradient", scene.images * values, arguments);
        }
    }
}

//! Pools over windows, and over parts of an image.

use super::{Backward, Scene, Stage, Target};
use crate::cuda::{
    geometry::{Geometry, Parts, THREADS},
    tape::{Place, arguments},
};

/// The largest value that each window sees.
pub(crate) struct MaxPool(pub(crate) Geometry);

impl MaxPool {
    fn forward_as(kernel: &str, geometry: &Geometry, scene: &mut Scene<'_>, input: Place, output: Place) -> Vec<Place> {
        let count = scene.images * geometry.output.values();
        let winners = scene.training.then(|| scene.writer.buffer(count));
        let arguments = arguments![input, output, winners, geometry.words(scene.images)];
        scene.writer.for_each(kernel, count, arguments);
        winners.into_iter().collect()
    }
}

impl Stage for MaxPool {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        Self::forward_as("max_pool", &self.0, scene, inputs[0], output)
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Some(Target { place, add }) = backward.of_inputs[0] else { return };
        let arguments = arguments![backward.of_output, backward.saved[0], place, add, self.0.words(scene.images)];
        scene.writer.for_each("max_pool_gradient", scene.images * self.0.input.values(), arguments);
    }
}

/// The mean of the values that each window sees.
pub(crate) struct AveragePool {
    pub(crate) geometry: Geometry,
    /// 1 / divisor, for each position.
    pub(crate) factors: Place,
}

impl Stage for AveragePool {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        let arguments = arguments![inputs[0], output, self.factors, self.geometry.words(scene.images)];
        scene.writer.for_each("average_pool", scene.images * self.geometry.output.values(), arguments);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        let Some(Target { place, add }) = backward.of_inputs[0] else { return };
        let arguments = arguments![backward.of_output, self.factors, place, add, self.geometry.words(scene.images)];
        scene.writer.for_each("average_pool_gradient", scene.images * self.geometry.input.values(), arguments);
    }
}

/// The mean of each part of an image.
pub(crate) struct PartMean(pub(crate) Geometry);

impl Stage for PartMean {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        let Geometry { input, output: to, .. } = self.0;
        let Parts { lanes, slabs, .. } = Parts::of(input.pixels(), input.channels);
        let arguments = arguments![inputs[0], output, lanes, self.0.words(scene.images)];
        scene.writer.launch("part_mean", [slabs, to.pixels(), scene.images], THREADS, arguments);
        Vec::new()
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        part_gradient(&self.0, scene, backward, None);
    }
}

/// The largest value of each part of an image.
pub(crate) struct PartMax(pub(crate) Geometry);

impl Stage for PartMax {
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place> {
        MaxPool::forward_as("part_max", &self.0, scene, inputs[0], output)
    }

    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>) {
        part_gradient(&self.0, scene, backward, Some(backward.saved[0]));
    }
}

fn part_gradient(geometry: &Geometry, scene: &mut Scene<'_>, backward: &Backward<'_>, winners: Option<Place>) {
    let Some(Target { place, add }) = backward.of_inputs[0] else { return };
    let arguments = arguments![backward.of_output, winners, place, add, geometry.words(scene.images)];
    scene.writer.for_each("part_gradient", scene.images * geometry.input.values(), arguments);
}

//! What a program computes, one file for each kind of stage.

mod activation;
mod arrange;
mod convolution;
mod dropout;
mod joining;
mod norm;
mod pool;

pub(crate) use activation::{Activate, ChannelConvolve, Softmax};
pub(crate) use arrange::{Arrange, Way};
pub(crate) use convolution::Convolve;
pub(crate) use dropout::Dropout;
pub(crate) use joining::{Add, Scale};
pub(crate) use norm::{Norm, Normalise};
pub(crate) use pool::{AveragePool, MaxPool, PartMax, PartMean};

use super::tape::{Place, Writer};
use nasgen_modules::{Activation, randomness::Stream};

/// What stages write their launches with.
pub(crate) struct Scene<'a> {
    pub(crate) writer: &'a mut Writer,
    /// Images in the batch.
    pub(crate) images: usize,
    /// Whether statistics come from the batch and things are dropped at random.
    pub(crate) training: bool,
    /// Number of the step in the whole training, in two words.
    pub(crate) step: Place,
    /// Zeros, for [`COUNTERS`] groups of blocks that wait for each other.
    pub(crate) counters: Place,
}

/// Groups of blocks of one launch that may wait for each other.
pub(crate) const COUNTERS: usize = 1 << 14;

/// Where the gradient of an input goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// Whether another reader of the same value has already given its part: then this one is added.
    pub(crate) add: bool,
}

/// What the backward step of a stage reads and writes.
pub(crate) struct Backward<'a> {
    pub(crate) inputs: &'a [Place],
    pub(crate) output: Place,
    /// What the forward step saved.
    pub(crate) saved: &'a [Place],
    /// The gradient of the output.
    pub(crate) of_output: Place,
    /// `None` where nobody needs it. They are given in this order: an input that is read twice gets the second part added.
    pub(crate) of_inputs: &'a [Option<Target>],
}

/// A step of a program. Its parameters and their gradients have fixed places.
pub(crate) trait Stage: Send {
    /// Writes what computes the output. What it returns, backward sees again.
    fn forward(&self, scene: &mut Scene<'_>, inputs: &[Place], output: Place) -> Vec<Place>;

    /// Writes what computes the gradients of the inputs and of the parameters.
    fn backward(&self, scene: &mut Scene<'_>, backward: &Backward<'_>);
}

/// What is dropped at random: `Chance` in the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    key: [u32; 2],
    node: u32,
    dropped: i32,
}

impl Chance {
    /// Nothing is dropped.
    pub(crate) const NEVER: Self = Self { key: [0; 2], node: 0, dropped: 0 };

    pub(crate) fn new(stream: &Stream, node: usize, probability: f64) -> Self {
        // A random number has 24 bits: so many of them are below the probability.
        let dropped = (probability * f64::from(1 << 24)).ceil() as i32;
        Self { key: stream.key(), node: node as u32, dropped }
    }

    /// As the kernels have it; outside a training nothing is dropped.
    pub(crate) fn words(self, scene: &Scene<'_>) -> Vec<i32> {
        let Self { key, node, dropped } = if scene.training { self } else { Self::NEVER };
        vec![key[0].cast_signed(), key[1].cast_signed(), node.cast_signed(), dropped]
    }
}

/// An activation's number in the kernels, -1 for none.
pub(crate) fn number_of(activation: Option<Activation>) -> i32 {
    let place = |activation| Activation::ALL.iter().position(|other| *other == activation);
    activation.and_then(place).map_or(-1, |place| place as i32)
}

/// How many values of a pixel are loaded together: the end of a kernel's name.
pub(crate) fn width(channels: usize) -> usize {
    if channels.is_multiple_of(4) { 4 } else { 1 }
}

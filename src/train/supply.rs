//! Where the batches of a training are made.

use super::{Executor, TrainingData};
use crate::data::{Augmentation, Batch, Part, Placed, evaluation_batch, placed_batch, placements, training_batch};
use std::ops::Range;

/// Makes batches, with their values or, for an executor that holds the images, with what it makes them of.
#[derive(Clone, Copy, Debug)]
pub struct Supply {
    holds_training: bool,
    holds_validation: bool,
}

impl Supply {
    /// Offers the images to the executor. It gets none that a policy changes first: that is done by the processor.
    pub fn of(executor: &mut dyn Executor, data: &TrainingData<'_>, augmentation: &Augmentation) -> Self {
        let mut holds = |part, images| executor.hold(part, images, &data.normalisation);
        Self {
            holds_training: augmentation.policy.steps.is_empty() && holds(Part::Training, data.train),
            holds_validation: holds(Part::Validation, data.validation),
        }
    }

    /// The training images at `indices`, augmented as in [`training_batch`].
    pub fn training(
        self,
        data: &TrainingData<'_>,
        indices: &[usize],
        augmentation: &Augmentation,
        seed: u64,
        epoch: u64,
    ) -> Batch {
        if self.holds_training {
            let placed = placements(data.train, indices, augmentation, seed, epoch);
            return placed_batch(data.train, Part::Training, placed);
        }
        training_batch(data.train, indices, &data.normalisation, augmentation, seed, epoch)
    }

    /// Validation images as they are.
    pub fn evaluation(self, data: &TrainingData<'_>, range: Range<usize>) -> Batch {
        if self.holds_validation {
            return placed_batch(data.validation, Part::Validation, Placed::all(range));
        }
        evaluation_batch(data.validation, range, &data.normalisation)
    }
}

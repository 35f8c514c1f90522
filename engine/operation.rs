//! What every operation of a plan can do.

use crate::{chunks, operations::Normaliser};

/// What holds for one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Images in the batch.
    pub(crate) images: usize,
    /// Whether statistics come from the batch and things are dropped at random.
    pub(crate) training: bool,
    /// Number of the step in the whole training.
    pub(crate) step: u64,
}

/// Which values a backward step reads again, besides what the operation saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rereads {
    Nothing,
    FirstInput,
    Inputs,
    Output,
}

impl Rereads {
    /// Whether the input at `index` is among them.
    pub(crate) fn input(self, index: usize) -> bool {
        match self {
            Self::FirstInput => index == 0,
            Self::Inputs => true,
            Self::Nothing | Self::Output => false,
        }
    }
}

/// One step of a plan, with what it keeps from forward to backward. Buffers hold pixels × channels,
/// image after image.
pub(crate) trait Operation: Send + Sync {
    /// Gets ready for [`Self::apply`] in evaluation, until the parameters change or [`Self::forward`] is run.
    fn prepare(&mut self, _run: &Run, _parameters: &[f32]) {}

    /// Computes `output` from `inputs`.
    fn apply(&self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]);

    /// As [`Self::apply`], in training: remembers what backward needs. `saved`, which backward sees again, has room for
    /// as many values as the output if the operation [`Self::saves`]. An `output` without room is left to its reader,
    /// which [`Self::normalises`] it.
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: Inputs<'_>, _saved: &mut [f32], output: &mut [f32]) {
        self.apply(run, parameters, inputs.values, output);
    }

    /// Overwrites the gradients of the parameters, and gives each input its gradient. May overwrite
    /// the gradient of the output.
    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>);

    /// The norm that makes the output of what is saved, if it is so cheap that a reader should do that.
    fn norm(&mut self) -> Option<&mut Normaliser> {
        None
    }

    /// Whether training can begin with the first input as the norm before it sees it ([`Inputs::norm`]).
    fn normalises(&self) -> bool {
        false
    }

    /// Pixels of an image's output, each of which meets all of the operation's weights; `None` where weights are few.
    fn pixels(&self) -> Option<usize> {
        None
    }

    /// Whether training needs room beside the output.
    fn saves(&self) -> bool {
        false
    }

    /// What backward reads again.
    fn rereads(&self) -> Rereads {
        Rereads::Inputs
    }

    /// The parameters are not those of the last pass any more.
    fn parameters_changed(&mut self) {}

    /// Tensors beside the parameters, by name within the operation: running statistics.
    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        Vec::new()
    }
}

/// What a forward step reads in training.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) values: &'a [&'a [f32]],
    /// What the first input lacks: it is what this norm sees.
    pub(crate) norm: Option<&'a Normaliser>,
}

/// What the forward step read and wrote. Values that backward does not reread are empty.
pub(crate) struct Forward<'a> {
    pub(crate) parameters: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) saved: &'a [f32],
    pub(crate) output: &'a [f32],
}

/// What the backward step reads and writes.
pub(crate) struct Gradients<'a> {
    /// Of this operation's parameters.
    pub(crate) parameters: &'a mut [f32],
    /// Of each input.
    pub(crate) inputs: &'a mut [InputGradient<'a>],
    /// Of the output.
    pub(crate) output: &'a mut [f32],
    /// The norm that the first input lacked: it wants to know the gradients of what it gives.
    pub(crate) norm: Option<&'a mut Normaliser>,
}

/// Where the gradient of an input goes.
pub(crate) struct InputGradient<'a> {
    /// Empty where nobody needs it.
    pub(crate) values: &'a mut [f32],
    /// Whether another reader of the same value has already given its part: then this one is added.
    pub(crate) add: bool,
}

impl InputGradient<'_> {
    /// Zeros, or what the other readers gave: what sums can be added to.
    pub(crate) fn ready_for_sums(&mut self) -> &mut [f32] {
        if !self.add {
            self.values.fill(0.0);
        }
        self.values
    }

    /// Gives `gradient` as it is, `length` values for each image.
    pub(crate) fn take(&mut self, images: usize, length: usize, gradient: &[f32]) {
        let add = self.add;
        chunks::for_each(images, self.values, length, |first, values| {
            let gradient = &gradient[first * length..][..values.len()];
            if add {
                values.iter_mut().zip(gradient).for_each(|(sum, part)| *sum += part);
            } else {
                values.copy_from_slice(gradient);
            }
        });
    }
}

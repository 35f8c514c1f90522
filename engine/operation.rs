//! What every operation of a plan can do.

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

/// One step of a plan, with what it keeps from forward to backward. Buffers hold pixels × channels,
/// image after image, and may be longer than the batch needs.
pub(crate) trait Operation: Send {
    /// Computes `output` from `inputs`.
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]);

    /// Adds to the gradients of the parameters, and overwrites that of each input for which there
    /// is a buffer. May overwrite the gradient of the output.
    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>);

    /// Tensors beside the parameters, by name within the operation: running statistics.
    fn statistics(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        Vec::new()
    }
}

/// What the forward step read and wrote.
pub(crate) struct Forward<'a> {
    pub(crate) parameters: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a [f32],
}

/// What the backward step reads and writes.
pub(crate) struct Gradients<'a> {
    /// Of this operation's parameters.
    pub(crate) parameters: &'a mut [f32],
    /// Of each input; empty where nobody needs it.
    pub(crate) inputs: &'a mut [&'a mut [f32]],
    /// Of the output.
    pub(crate) output: &'a mut [f32],
}

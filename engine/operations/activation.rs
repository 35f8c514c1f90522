//! Activations that do not follow a norm.

use crate::{
    activation::{Curve, with_curve},
    chunks,
    instructions::vectorised,
    operation::{Forward, Gradients, InputGradient, Operation, Rereads, Run},
};
use nasgen_modules::Activation;

/// An elementwise activation.
pub(crate) struct Activate {
    pub(crate) activation: Activation,
    pub(crate) values: usize,
}

impl Operation for Activate {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.values, |first, output| {
            let input = &inputs[0][first * self.values..][..output.len()];
            with_curve!(Some(self.activation), curve => values(curve, input, output));
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        let InputGradient { values, add } = &mut gradients.inputs[0];
        chunks::for_each(run.images, values, self.values, |first, of_input| {
            let range = first * self.values..first * self.values + of_input.len();
            let (input, of_output) = (&forward.inputs[0][range.clone()], &of_output[range]);
            with_curve!(Some(self.activation), curve => slopes(curve, input, of_output, of_input, *add));
        });
    }
}

vectorised! {
    fn values<C: Curve>(curve: C, input: &[f32], output: &mut [f32]) {
        for (from, to) in input.iter().zip(output) {
            *to = curve.value::<A>(*from);
        }
    }

    fn slopes<C: Curve>(curve: C, input: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        let terms = input.iter().zip(of_output).zip(of_input);
        if add {
            terms.for_each(|((x, gradient), to)| *to += gradient * curve.slope::<A>(*x));
        } else {
            terms.for_each(|((x, gradient), to)| *to = gradient * curve.slope::<A>(*x));
        }
    }
}

/// Softmax over the channels of each pixel.
pub(crate) struct Softmax {
    pub(crate) channels: usize,
    pub(crate) values: usize,
}

impl Operation for Softmax {
    fn apply(&self, run: &Run, _: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.values, |first, output| {
            let input = &inputs[0][first * self.values..];
            for (to, from) in output.chunks_mut(self.channels).zip(input.chunks(self.channels)) {
                let largest = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = (from - largest).exp());
                let sum: f32 = to.iter().sum();
                to.iter_mut().for_each(|value| *value /= sum);
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let of_output = &*gradients.output;
        let of_input = gradients.inputs[0].ready_for_sums();
        chunks::for_each(run.images, of_input, self.values, |first, of_input| {
            let start = first * self.values;
            let rows = forward.output[start..].chunks(self.channels).zip(of_output[start..].chunks(self.channels));
            for (to, (share, gradient)) in of_input.chunks_mut(self.channels).zip(rows) {
                let mean: f32 = share.iter().zip(gradient).map(|(share, gradient)| share * gradient).sum();
                for ((to, share), gradient) in to.iter_mut().zip(share).zip(gradient) {
                    *to += share * (gradient - mean);
                }
            }
        });
    }

    fn rereads(&self) -> Rereads {
        Rereads::Output
    }
}

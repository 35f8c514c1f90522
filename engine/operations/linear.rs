//! A fully connected layer.

use crate::{
    chunks,
    matrix::{Layout, multiply},
    operation::{Forward, Gradients, Operation, Run},
};

/// Matrix product and bias. Parameters: outputs × inputs, then the bias.
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) partials: Vec<f32>,
}

impl Operation for Linear {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let (weights, bias) = parameters.split_at(self.inputs * self.outputs);
        let layout = Layout::rows(self.outputs, self.inputs, self.inputs);
        chunks::for_each(run.images, output, self.outputs, |first, output| {
            let images = output.len() / self.outputs;
            let input = &inputs[0][first * self.inputs..];
            multiply(
                (&mut *output, Layout::rows(images, self.outputs, self.outputs)),
                false,
                (input, Layout::rows(images, self.inputs, self.inputs)),
                (weights, layout.transposed()),
            );
            for row in output.chunks_mut(self.outputs) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (input, of_output) = (forward.inputs[0], &*gradients.output);
        let layout = Layout::rows(outputs, inputs, inputs);
        chunks::sum_into(run.images, &mut self.partials, gradients.parameters, |images, sums| {
            let (of_weights, of_bias) = sums.split_at_mut(inputs * outputs);
            let count = images.len();
            let of_output = &of_output[images.start * outputs..images.end * outputs];
            multiply(
                (of_weights, layout),
                true,
                (of_output, Layout::rows(count, outputs, outputs).transposed()),
                (&input[images.start * inputs..], Layout::rows(count, inputs, inputs)),
            );
            for row in of_output.chunks(outputs) {
                of_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        });
        chunks::for_each(run.images, gradients.inputs[0], inputs, |first, of_input| {
            let images = of_input.len() / inputs;
            multiply(
                (of_input, Layout::rows(images, inputs, inputs)),
                false,
                (&of_output[first * outputs..], Layout::rows(images, outputs, outputs)),
                (&forward.parameters[..inputs * outputs], layout),
            );
        });
    }
}

//! All parameters in one buffer, each tensor in the order of values that its operation wants.

use nasgen_modules::{Convolution, Primitive, TensorRole, TensorSpec};
use std::ops::Range;

/// Where a parameter lies, and how PyTorch's order of values maps to the engine's.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
    pub(crate) decays: bool,
    order: Order,
}

/// The engine's order of a tensor's values.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// PyTorch's.
    Same,
    /// Outputs × inputs × taps becomes outputs × taps × inputs.
    TapsBeforeInputs { inputs: usize, taps: usize },
    /// Outputs × inputs × taps becomes inputs × taps × outputs.
    OutputsLast { inputs: usize, taps: usize },
}

impl Slot {
    pub(crate) fn new(primitive: &Primitive, depthwise: bool, spec: &TensorSpec, name: String, start: usize) -> Self {
        let length = spec.shape.iter().product::<usize>();
        let order = match (primitive, spec.name.as_str()) {
            (Primitive::Convolution(Convolution { window, .. }), "weight") if depthwise => {
                Order::OutputsLast { inputs: spec.shape[1], taps: window.taps() }
            }
            (Primitive::Convolution(Convolution { window, .. }), "weight") => {
                Order::TapsBeforeInputs { inputs: spec.shape[1], taps: window.taps() }
            }
            _ => Order::Same,
        };
        let decays = spec.role == TensorRole::Parameter { decays: true };
        Self { name, shape: spec.shape.clone(), range: start..start + length, decays, order }
    }

    /// Where the engine has the value that PyTorch has at `index`.
    fn place(&self, index: usize) -> usize {
        match self.order {
            Order::Same => index,
            Order::TapsBeforeInputs { inputs, taps } => {
                let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                (output * taps + tap) * inputs + input
            }
            Order::OutputsLast { inputs, taps } => {
                let outputs = self.range.len() / (inputs * taps);
                let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                (input * taps + tap) * outputs + output
            }
        }
    }

    /// Stores values that are in PyTorch's order.
    pub(crate) fn write(&self, values: &[f32], parameters: &mut [f32]) {
        let target = &mut parameters[self.range.clone()];
        for (index, value) in values.iter().enumerate() {
            target[self.place(index)] = *value;
        }
    }

    /// The values in PyTorch's order.
    pub(crate) fn read(&self, parameters: &[f32]) -> Vec<f32> {
        let source = &parameters[self.range.clone()];
        (0..source.len()).map(|index| source[self.place(index)]).collect()
    }
}

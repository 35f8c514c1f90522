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
    /// The number of the update from which on it learns; `None` while it is frozen.
    pub(crate) learns_since: Option<u64>,
    order: Order,
}

/// The engine's order of a tensor's values.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// PyTorch's.
    Same,
    /// Outputs × inputs × taps becomes taps × inputs × outputs.
    TapsFirst { inputs: usize, taps: usize },
    /// Outputs × inputs × taps becomes inputs × taps × outputs.
    InputsFirst { inputs: usize, taps: usize },
}

impl Slot {
    pub(crate) fn new(primitive: &Primitive, depthwise: bool, spec: &TensorSpec, name: String, start: usize) -> Self {
        let length = spec.shape.iter().product::<usize>();
        let order = match (primitive, spec.name.as_str()) {
            (Primitive::Convolution(Convolution { window, .. }), "weight") if depthwise => {
                Order::InputsFirst { inputs: spec.shape[1], taps: window.taps() }
            }
            (Primitive::Convolution(Convolution { window, .. }), "weight") => {
                Order::TapsFirst { inputs: spec.shape[1], taps: window.taps() }
            }
            (Primitive::Linear { .. }, "weight") => Order::TapsFirst { inputs: spec.shape[1], taps: 1 },
            _ => Order::Same,
        };
        let decays = spec.role == TensorRole::Parameter { decays: true };
        let range = start..start + length;
        Self { name, shape: spec.shape.clone(), range, decays, learns_since: Some(0), order }
    }

    /// Where the engine has the value that PyTorch has at `index`.
    fn place(&self, index: usize) -> usize {
        match self.order {
            Order::Same => index,
            Order::TapsFirst { inputs, taps } => {
                let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                (tap * inputs + input) * self.outputs() + output
            }
            Order::InputsFirst { inputs, taps } => {
                let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                (input * taps + tap) * self.outputs() + output
            }
        }
    }

    fn outputs(&self) -> usize {
        self.shape[0]
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

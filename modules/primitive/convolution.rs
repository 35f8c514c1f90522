//! Convolution in two dimensions.

use super::{Primitive, window::Window};
use crate::{
    error::{Error, Result},
    shape::Shape,
    tensor::{Initial, TensorSpec},
};

/// `torch.nn.Conv2d`, with padding that may differ by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Output channels.
    pub out: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Groups of channels that do not see each other; divides input and output channels.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Convolution {
    /// An ungrouped convolution without bias.
    pub const fn new(out: usize, window: Window) -> Self {
        Self { out, window, groups: 1, bias: false }
    }

    /// In `groups` groups.
    #[must_use]
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// With a bias.
    #[must_use]
    pub const fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    pub(super) fn output(&self, input: Shape) -> Result<Shape> {
        let Some(size) = input.size() else {
            return Err(Error::row(format!("a convolution needs an image, got a vector of {input}")));
        };
        if self.out == 0 {
            return Err(Error::row("a convolution must have at least 1 output channel, got 0"));
        }
        let groups = self.groups;
        if groups == 0 || !input.channels().is_multiple_of(groups) || !self.out.is_multiple_of(groups) {
            return Err(Error::row(format!(
                "groups must divide the channels: {} in and {} out cannot be cut into {groups} groups",
                input.channels(),
                self.out,
            )));
        }
        let [height, width] = self.window.positions(size, false)?;
        Ok(Shape::image(self.out, height, width))
    }

    pub(super) fn macs(&self, input: Shape, output: Shape) -> u64 {
        let taps = (input.channels() / self.groups) as u64 * self.window.taps() as u64;
        output.elements().saturating_mul(taps)
    }

    /// Kaiming normal by fan-out, as torchvision initialises its networks (He et al. 2015).
    /// PyTorch's fan-out does not divide by the groups, and neither does this.
    pub(super) fn tensors(&self, input: Shape) -> Vec<TensorSpec> {
        let [height, width] = self.window.kernel;
        let fan_out = (self.out as f64) * (self.window.taps() as f64);
        let mut tensors = vec![TensorSpec::weight(
            vec![self.out, input.channels() / self.groups, height, width],
            Initial::Normal { deviation: (2.0 / fan_out).sqrt() },
        )];
        if self.bias {
            tensors.push(TensorSpec::vector("bias", self.out, Initial::Constant(0.0)));
        }
        tensors
    }
}

impl From<Convolution> for Primitive {
    fn from(convolution: Convolution) -> Self {
        Self::Convolution(convolution)
    }
}

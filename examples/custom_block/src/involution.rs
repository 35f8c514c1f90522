//! Involution (Li et al. 2021, arXiv:2103.06255, figure 1): each pixel makes its own kernel, which
//! the channels of a group share. nasgen has no such layer, so it is a custom operation.

use candle_core::Tensor;
use nasgen_modules::prelude::*;

/// Every pixel is filtered by a kernel of its own, made from the pixel by two 1×1 convolutions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Involution {
    /// Side of the kernels, odd.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Groups of channels, each with a kernel; divides the channels.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    groups: usize,
    /// Factor by which the channels are reduced before the kernels are made.
    #[serde(default = "four")]
    #[schemars(range(min = 1))]
    reduction: usize,
}

fn three() -> usize {
    3
}

fn four() -> usize {
    4
}

impl ModuleGenerator for Involution {
    const NAME: &'static str = "Involution";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let start = site.chain();
        let image = start.here();
        let reduced = (site.input().channels() / self.reduction).max(1);
        let start = start.pointwise("reduce", reduced).norm().activation(Activation::ReLU);
        let pixels = start.here();
        let involve = Involve { kernel: self.kernel, groups: self.groups };
        start.join("involve", involve.into(), &[image, pixels]).norm().activation(Activation::ReLU).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_not_reduce(Self::NAME)?;
        Ok(Self {
            kernel: trial.choice("kernel", [3, 5, 7])?,
            groups: 1,
            reduction: trial.choice("reduction", [2, 4])?,
        })
    }
}

/// Filters the first input, `C×H×W`, by kernels that a 1×1 convolution makes of the second, `R×H×W`.
#[derive(Debug)]
struct Involve {
    kernel: usize,
    groups: usize,
}

impl Involve {
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }
}

impl CustomOperation for Involve {
    fn name(&self) -> String {
        "involution".into()
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        let [image, pixels] = inputs else {
            return Err(Error::row(format!("involution needs two inputs, got {}", inputs.len())));
        };
        if image.size().is_none() || image.size() != pixels.size() {
            return Err(Error::row(format!("involution needs two images of one size, got {image} and {pixels}")));
        }
        if self.kernel.is_multiple_of(2) || !image.channels().is_multiple_of(self.groups) {
            let (kernel, groups, channels) = (self.kernel, self.groups, image.channels());
            return Err(Error::row(format!(
                "wanted an odd kernel and groups that divide {channels} channels, got kernel {kernel}, groups {groups}"
            )));
        }
        Ok(*image)
    }

    /// Making the kernels, then applying them.
    fn macs(&self, inputs: &[Shape], output: Shape) -> u64 {
        let pixels = output.elements() / output.channels().max(1) as u64;
        let making = pixels * (self.taps() * self.groups * inputs[1].channels()) as u64;
        making + output.elements() * self.taps() as u64
    }

    fn tensors(&self, inputs: &[Shape]) -> Vec<TensorSpec> {
        let (made, reduced) = (self.taps() * self.groups, inputs[1].channels());
        let initial = Initial::Normal { deviation: (1.0 / reduced as f64).sqrt() };
        vec![TensorSpec::weight(vec![made, reduced], initial), TensorSpec::vector("bias", made, Initial::Constant(0.0))]
    }

    fn forward(&self, inputs: &[Tensor], parameters: &[Tensor]) -> candle_core::Result<Tensor> {
        let (image, pixels) = (&inputs[0], &inputs[1]);
        let (batch, channels, height, width) = image.dims4()?;
        let (taps, groups) = (self.taps(), self.groups);
        let kernels = parameters[0]
            .broadcast_left(batch)?
            .matmul(&pixels.flatten_from(2)?)?
            .broadcast_add(&parameters[1].reshape((1, taps * groups, 1))?)?
            .reshape((batch, groups, taps, height, width))?;

        let margin = self.kernel / 2;
        let padded = image.pad_with_zeros(2, margin, margin)?.pad_with_zeros(3, margin, margin)?;
        let mut sum = Tensor::zeros((batch, groups, channels / groups, height, width), image.dtype(), image.device())?;
        for tap in 0..taps {
            let (row, column) = (tap / self.kernel, tap % self.kernel);
            let shifted = padded.narrow(2, row, height)?.narrow(3, column, width)?;
            let shifted = shifted.reshape((batch, groups, channels / groups, height, width))?;
            sum = (sum + shifted.broadcast_mul(&kernels.narrow(2, tap, 1)?)?)?;
        }
        sum.reshape((batch, channels, height, width))
    }
}

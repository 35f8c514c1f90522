//! Pools, with the arguments of `torch.nn.MaxPool2d` and `AvgPool2d`, and global pools.

use crate::prelude::*;

/// The largest value in each window.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct MaxPool {
    /// Side of the window.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Pixels between two windows; null is the kernel.
    #[serde(default)]
    #[schemars(range(min = 1))]
    stride: Option<usize>,
    /// Pixels added on each side, at most half the kernel; they never win.
    #[serde(default)]
    padding: usize,
    /// Pixels between two taps.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    dilation: usize,
    /// Only false: there is no second result.
    #[serde(default)]
    return_indices: bool,
    /// Whether a last window may hang over the end.
    #[serde(default)]
    ceil_mode: bool,
}

impl ModuleGenerator for MaxPool {
    const NAME: &'static str = "MaxPool";

    fn layers(&self, site: &Site) -> Result<Layers> {
        if self.return_indices {
            return Err(Error::argument("return_indices", "only false is possible, got true"));
        }
        let square = Window::square(self.kernel, self.stride.unwrap_or(self.kernel), Padding::all(self.padding));
        let window = Window { dilation: [self.dilation; 2], ..square };
        site.chain().layer("pool", Primitive::MaxPool { window, ceil_mode: self.ceil_mode }).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        let (kernel, stride, padding) = suggest_window(trial, site)?;
        Ok(Self { kernel, stride: Some(stride), padding, dilation: 1, return_indices: false, ceil_mode: false })
    }
}

/// The mean of each window.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct AvgPool {
    /// Side of the window.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Pixels between two windows; null is the kernel.
    #[serde(default)]
    #[schemars(range(min = 1))]
    stride: Option<usize>,
    /// Zeros added on each side, at most half the kernel.
    #[serde(default)]
    padding: usize,
    /// Whether a last window may hang over the end.
    #[serde(default)]
    ceil_mode: bool,
    /// Whether the added zeros count in the mean.
    #[serde(default = "yes")]
    count_include_pad: bool,
}

impl ModuleGenerator for AvgPool {
    const NAME: &'static str = "AvgPool";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let window = Window::square(self.kernel, self.stride.unwrap_or(self.kernel), Padding::all(self.padding));
        let (ceil_mode, count_include_pad) = (self.ceil_mode, self.count_include_pad);
        site.chain().layer("pool", Primitive::AveragePool { window, ceil_mode, count_include_pad }).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        let (kernel, stride, padding) = suggest_window(trial, site)?;
        Ok(Self { kernel, stride: Some(stride), padding, ceil_mode: false, count_include_pad: true })
    }
}

/// Kernel, stride, padding. As a cell a pool is `[3, stride, 1]`.
fn suggest_window(trial: &mut Trial<'_>, site: &Site) -> Result<(usize, usize, usize)> {
    let kernel = match site.cell_stride() {
        Some(_) => 3,
        None => trial.choice("kernel", [2, 3])?,
    };
    Ok((kernel, trial.stride(site)?, (kernel - 1) / 2))
}

/// The mean of each channel.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GlobalAvgPool {
    /// Height and width of the result: the image is cut into this many parts each way.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    output: usize,
}

impl ModuleGenerator for GlobalAvgPool {
    const NAME: &'static str = "GlobalAvgPool";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("pool", Primitive::AdaptiveAveragePool { output: self.output }).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { output: 1 })
    }
}

/// The largest value of each channel.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GlobalMaxPool {
    /// Height and width of the result: the image is cut into this many parts each way.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    output: usize,
}

impl ModuleGenerator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("pool", Primitive::AdaptiveMaxPool { output: self.output }).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { output: 1 })
    }
}

pub(crate) const BLOCKS: &[Block] =
    &[Block::of::<MaxPool>(), Block::of::<AvgPool>(), Block::of::<GlobalAvgPool>(), Block::of::<GlobalMaxPool>()];

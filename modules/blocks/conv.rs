//! Convolution, batch normalisation, activation: kindle's `Conv` and `DWConv`.

use crate::prelude::*;

/// What `Conv` and `FixedConv` take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ConvArguments {
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Side of the kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Stride of the last copy; the others have 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    stride: usize,
    /// Pixels added on each side; null is kernel / 2.
    #[serde(default)]
    padding: Option<usize>,
    /// Groups of channels; divides input and output channels.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    groups: usize,
    /// Activation, or null for none.
    #[serde(default = "relu")]
    activation: Option<Activation>,
    /// Whether a norm follows; without one the convolution has a bias.
    #[serde(default = "yes")]
    norm: bool,
}

impl ConvArguments {
    fn layers(&self, site: &Site, out: usize) -> Result<Layers> {
        let padding = site.padding(self.padding, self.kernel);
        let window = Window::square(self.kernel, site.stride_on_last(self.stride), padding);
        site.chain()
            .convolution("conv", Convolution::new(out, window).groups(self.groups).bias(!self.norm))
            .when(self.norm, Chain::norm)
            .activation(self.activation)
            .finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            out: trial.int("out", 16, 64, 16)?,
            kernel: trial.choice("kernel", [1, 3, 5])?,
            stride: trial.stride(site)?,
            padding: None,
            groups: 1,
            activation: suggest_activation(trial)?,
            norm: true,
        })
    }
}

fn suggest_activation(trial: &mut Trial<'_>) -> Result<Option<Activation>> {
    trial.choice("activation", [Activation::ReLU, Activation::ReLU6, Activation::Hardswish].map(Some))
}

/// kindle and the Python project test the padding for truth, so that 0 is read as absent there.
fn zero_padding_remark(padding: Option<usize>, kernel: usize, site: &Site) -> Option<String> {
    (padding == Some(0) && kernel > 1 && site.network.legacy_padding.is_none()).then(|| {
        "padding 0 adds no pixels; kindle and the Python project read it as null (kernel / 2): \
         `legacy_padding: true` in the file does too, `false` says that 0 is meant"
            .into()
    })
}

/// Convolution, batch normalisation, activation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Conv(ConvArguments);

impl ModuleGenerator for Conv {
    const NAME: &'static str = "Conv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        self.0.layers(site, site.channels(self.0.out))
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        ConvArguments::suggest(trial, site).map(Self)
    }

    fn remark(&self, site: &Site) -> Option<String> {
        zero_padding_remark(self.0.padding, self.0.kernel, site)
    }
}

/// `Conv` whose output channels are as written, whatever the width multiple: for class scores.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct FixedConv(ConvArguments);

impl ModuleGenerator for FixedConv {
    const NAME: &'static str = "FixedConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        self.0.layers(site, self.0.out)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        ConvArguments::suggest(trial, site).map(Self)
    }

    fn remark(&self, site: &Site) -> Option<String> {
        zero_padding_remark(self.0.padding, self.0.kernel, site)
    }
}

/// Convolution with as many groups as input and output channels allow, batch normalisation,
/// activation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct DWConv {
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Side of the kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Stride of the last copy; the others have 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    stride: usize,
    /// Pixels added on each side; null is kernel / 2.
    #[serde(default)]
    padding: Option<usize>,
    /// Activation, or null for none.
    #[serde(default = "relu")]
    activation: Option<Activation>,
}

impl ModuleGenerator for DWConv {
    const NAME: &'static str = "DWConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let out = site.channels(self.out);
        let groups = greatest_common_divisor(site.input().channels(), out);
        let padding = site.padding(self.padding, self.kernel);
        let window = Window::square(self.kernel, site.stride_on_last(self.stride), padding);
        site.chain()
            .convolution("conv", Convolution::new(out, window).groups(groups))
            .norm()
            .activation(self.activation)
            .finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            out: trial.int("out", 16, 64, 16)?,
            kernel: trial.choice("kernel", [3, 5])?,
            stride: trial.stride(site)?,
            padding: None,
            activation: suggest_activation(trial)?,
        })
    }

    fn remark(&self, site: &Site) -> Option<String> {
        zero_padding_remark(self.padding, self.kernel, site)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<Conv>(), Block::of::<FixedConv>(), Block::of::<DWConv>()];

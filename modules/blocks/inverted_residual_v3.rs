//! Inverted residual of MobileNetV3 (Howard et al. 2019, arXiv:1905.02244, figure 4), and the
//! same with channel attention in the place of its gate.

use crate::prelude::*;

/// Expands 1×1, filters depthwise, gates, projects 1×1; adds its input where the shape allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct InvertedResidualv3 {
    /// Side of the depthwise kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Hidden channels per input channel.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Whether there is a gate (squeeze and excite).
    squeeze_excite: Flag,
    /// Hardswish, else ReLU.
    hard_swish: Flag,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Whether the gate of an expanded block stands after the activation, as in torchvision.
    #[serde(default)]
    gate_after_activation: bool,
}

/// What the plain and the attentive block share.
struct Body {
    kernel: usize,
    expansion: f64,
    out: usize,
    hard_swish: bool,
    stride: usize,
    gate_after_activation: bool,
}

impl Body {
    fn layers(&self, site: &Site, gate: impl Fn(Chain) -> Chain) -> Result<Layers> {
        let channels = site.input().channels();
        let hidden = round8(channels as f64 * self.expansion);
        let activation = if self.hard_swish { Activation::Hardswish } else { Activation::ReLU };
        let expands = hidden != channels;

        let filtered = site
            .chain()
            .when(expands, |chain| chain.pointwise("expand", hidden).norm().activation(activation))
            .depthwise("depthwise", Window::centered(self.kernel, site.stride_on_first(self.stride)))
            .norm();
        let gated = if expands && !self.gate_after_activation {
            gate(filtered).activation(activation)
        } else {
            gate(filtered.activation(activation))
        };
        let body = gated.pointwise("project", site.channels(self.out)).norm();

        let input = site.chain().here();
        let residual = site.adds_input(site.stride_on_first(self.stride), body.shape());
        body.when(residual, |body| body.add(input, 0.0)).finish()
    }
}

fn round8(channels: f64) -> usize {
    round_channels(channels, 8, crate::Rounding::Nearest)
}

impl ModuleGenerator for InvertedResidualv3 {
    const NAME: &'static str = "InvertedResidualv3";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let body = Body {
            kernel: self.kernel,
            expansion: self.expansion,
            out: self.out,
            hard_swish: self.hard_swish.0,
            stride: self.stride,
            gate_after_activation: self.gate_after_activation,
        };
        body.layers(site, |chain| {
            let squeeze = round8((chain.shape().channels() / 4) as f64);
            chain.when(self.squeeze_excite.0, |chain| chain.gate(squeeze, Activation::ReLU, Activation::Hardsigmoid))
        })
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            kernel: trial.choice("kernel", [3, 5, 7])?,
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            out: trial.int("out", 16, 128, 16)?,
            squeeze_excite: Flag(trial.flag("squeeze_excite")?),
            hard_swish: Flag(trial.flag("hard_swish")?),
            stride: trial.stride(site)?,
            gate_after_activation: false,
        })
    }
}

/// `InvertedResidualv3`, always with efficient channel attention (Wang et al. 2020,
/// arXiv:1910.03151) where that has its gate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ECAInvertedResidualv3 {
    /// Side of the depthwise kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Hidden channels per input channel.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Channels that the attention sees at once; odd.
    #[schemars(range(min = 1))]
    attention_kernel: usize,
    /// Hardswish, else ReLU.
    hard_swish: Flag,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
}

impl ModuleGenerator for ECAInvertedResidualv3 {
    const NAME: &'static str = "ECAInvertedResidualv3";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let body = Body {
            kernel: self.kernel,
            expansion: self.expansion,
            out: self.out,
            hard_swish: self.hard_swish.0,
            stride: self.stride,
            gate_after_activation: false,
        };
        body.layers(site, |chain| chain.channel_attention(self.attention_kernel, Activation::Hardsigmoid))
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            kernel: trial.choice("kernel", [3, 5, 7])?,
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            out: trial.int("out", 16, 128, 16)?,
            attention_kernel: trial.choice("attention_kernel", [3, 5])?,
            hard_swish: Flag(trial.flag("hard_swish")?),
            stride: trial.stride(site)?,
        })
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<InvertedResidualv3>(), Block::of::<ECAInvertedResidualv3>()];

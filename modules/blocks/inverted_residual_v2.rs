//! Inverted residual of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 1), and the
//! same with channel attention.

use crate::prelude::*;

/// Expands 1×1, filters depthwise 3×3, projects 1×1; adds its input where the shape allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct InvertedResidualv2 {
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Hidden channels per input channel; at 1 there is no expanding convolution.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
}

/// The layers up to the last norm.
fn body(site: &Site, out: usize, expansion: f64, stride: usize) -> Chain {
    // Half to even, as Python rounds: the published configs rely on it.
    let hidden = (site.input().channels() as f64 * expansion).round_ties_even() as usize;
    site.chain()
        .when(expansion != 1.0, |chain| chain.pointwise("expand", hidden).norm().activation(Activation::ReLU6))
        .depthwise("depthwise", Window::centered(3, site.stride_on_first(stride)))
        .norm()
        .activation(Activation::ReLU6)
        .pointwise("project", site.channels(out))
        .norm()
}

fn add_input(site: &Site, stride: usize, body: Chain) -> Result<Layers> {
    let input = site.chain().here();
    let residual = site.adds_input(site.stride_on_first(stride), body.shape());
    body.when(residual, |body| body.add(input, 0.0)).finish()
}

impl ModuleGenerator for InvertedResidualv2 {
    const NAME: &'static str = "InvertedResidualv2";

    fn layers(&self, site: &Site) -> Result<Layers> {
        add_input(site, self.stride, body(site, self.out, self.expansion, self.stride))
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            out: trial.int("out", 16, 128, 16)?,
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            stride: trial.stride(site)?,
        })
    }
}

/// `InvertedResidualv2` with efficient channel attention (Wang et al. 2020, arXiv:1910.03151)
/// after its last norm.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ECAInvertedResidualv2 {
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Hidden channels per input channel; at 1 there is no expanding convolution.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Channels that the attention sees at once; odd.
    #[schemars(range(min = 1))]
    attention_kernel: usize,
}

impl ModuleGenerator for ECAInvertedResidualv2 {
    const NAME: &'static str = "ECAInvertedResidualv2";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let body = body(site, self.out, self.expansion, self.stride);
        add_input(site, self.stride, body.channel_attention(self.attention_kernel, Activation::Sigmoid))
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            out: trial.int("out", 16, 128, 16)?,
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            stride: trial.stride(site)?,
            attention_kernel: trial.choice("attention_kernel", [3, 5])?,
        })
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<InvertedResidualv2>(), Block::of::<ECAInvertedResidualv2>()];

//! The blocks of EfficientNet (Tan and Le 2019, arXiv:1905.11946) and EfficientNetV2 (2021,
//! arXiv:2104.00298, figure 2).

use crate::prelude::*;

/// Where a strided convolution puts its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum PaddingRule {
    // kernel / 2 on each side, as torchvision.
    Symmetric,
    // kernel − stride in all, the smaller half first, as TensorFlow and most published copies.
    Same,
}

impl PaddingRule {
    fn window(self, kernel: usize, stride: usize) -> Window {
        match self {
            Self::Symmetric => Window::centered(kernel, stride),
            Self::Same => Window::square(kernel, stride, Padding::same(kernel, stride)),
        }
    }
}

fn symmetric() -> PaddingRule {
    PaddingRule::Symmetric
}

/// Expands 1×1, filters depthwise, gates, projects 1×1; adds its input where the shape allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct MBConv {
    /// Hidden channels per input channel; at 1 there is no expanding convolution.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Side of the depthwise kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Probability that the branch is dropped for an image (stochastic depth).
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.95))]
    drop: f64,
    /// Padding at stride 2: kernel / 2 on each side, or kernel − stride in all (same).
    #[serde(default = "symmetric")]
    padding: PaddingRule,
}

/// Adds the input to the branch where the shapes are equal.
fn add_input(site: &Site, branch: Chain, drop: f64) -> Result<Layers> {
    let input = site.chain().here();
    let residual = branch.shape() == site.input();
    branch.when(residual, |branch| branch.add(input, drop)).finish()
}

fn hidden(site: &Site, expansion: f64) -> usize {
    (site.input().channels() as f64 * expansion) as usize
}

fn swapped_remark(expansion: f64, out: usize) -> Option<String> {
    (expansion > out as f64).then(|| {
        format!("expansion {expansion} is larger than out {out}: are the first two arguments in the order [expansion, out, …]?")
    })
}

impl ModuleGenerator for MBConv {
    const NAME: &'static str = "MBConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let channels = site.input().channels();
        let hidden = hidden(site, self.expansion);
        let branch = site
            .chain()
            .when(hidden != channels, |chain| chain.pointwise("expand", hidden).norm().activation(Activation::SiLU))
            .depthwise("depthwise", self.padding.window(self.kernel, site.stride_on_first(self.stride)))
            .norm()
            .activation(Activation::SiLU)
            .gate((channels / 4).max(1), Activation::SiLU, Activation::Sigmoid)
            .pointwise("project", site.channels(self.out))
            .norm();
        add_input(site, branch, self.drop)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            out: trial.int("out", 16, 128, 16)?,
            stride: trial.stride(site)?,
            kernel: trial.choice("kernel", [3, 5])?,
            drop: 0.0,
            padding: PaddingRule::Symmetric,
        })
    }

    fn remark(&self, _: &Site) -> Option<String> {
        swapped_remark(self.expansion, self.out)
    }
}

/// Expands with a dense k×k convolution, projects 1×1; adds its input where the shape allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct FusedMBConv {
    /// Hidden channels per input channel.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Side of the expanding kernel.
    #[schemars(range(min = 1))]
    kernel: usize,
    /// Probability that the branch is dropped for an image (stochastic depth).
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.95))]
    drop: f64,
    /// Padding at stride 2: kernel / 2 on each side, or kernel − stride in all (same).
    #[serde(default = "symmetric")]
    padding: PaddingRule,
}

impl ModuleGenerator for FusedMBConv {
    const NAME: &'static str = "FusedMBConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let window = self.padding.window(self.kernel, site.stride_on_first(self.stride));
        let branch = site
            .chain()
            .convolution("expand", Convolution::new(hidden(site, self.expansion), window))
            .norm()
            .activation(Activation::SiLU)
            .pointwise("project", site.channels(self.out))
            .norm();
        add_input(site, branch, self.drop)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        Ok(Self {
            expansion: trial.int("expansion", 1, 6, 1)? as f64,
            out: trial.int("out", 16, 128, 16)?,
            stride: trial.stride(site)?,
            kernel: trial.choice("kernel", [3, 5])?,
            drop: 0.0,
            padding: PaddingRule::Symmetric,
        })
    }

    fn remark(&self, _: &Site) -> Option<String> {
        swapped_remark(self.expansion, self.out)
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<MBConv>(), Block::of::<FusedMBConv>()];

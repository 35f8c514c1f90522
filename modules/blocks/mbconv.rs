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

/// What both blocks take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct MBConvArguments {
    /// Hidden channels per input channel; at 1 MBConv has no expanding convolution.
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Output channels.
    #[schemars(range(min = 1))]
    out: usize,
    /// Stride of the first copy; the others have 1.
    #[schemars(range(min = 1, max = 2))]
    stride: usize,
    /// Side of the kernel: of the depthwise convolution, fused of the expanding one.
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

impl MBConvArguments {
    fn window(&self, site: &Site) -> Window {
        self.padding.window(self.kernel, site.stride_on_first(self.stride))
    }

    fn hidden(&self, site: &Site) -> usize {
        (site.input().channels() as f64 * self.expansion) as usize
    }

    /// Projects to the output channels, and adds the input where the shapes are equal.
    fn project(&self, site: &Site, branch: Chain) -> Result<Layers> {
        let branch = branch.pointwise("project", site.channels(self.out)).norm();
        let input = site.chain().here();
        let residual = site.adds_input(site.stride_on_first(self.stride), branch.shape());
        branch.when(residual, |branch| branch.add(input, self.drop)).finish()
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

    /// Some hand-made files have other orders than the published ones.
    fn remark(&self) -> Option<String> {
        let Self { expansion, out, .. } = self;
        (*expansion > *out as f64).then(|| {
            format!("expansion {expansion} is larger than out {out}: are the first two arguments [expansion, out]?")
        })
    }
}

/// Expands 1×1, filters depthwise, gates, projects 1×1; adds its input where the shape allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct MBConv(MBConvArguments);

impl ModuleGenerator for MBConv {
    const NAME: &'static str = "MBConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let (channels, hidden) = (site.input().channels(), self.0.hidden(site));
        let branch = site
            .chain()
            .when(hidden != channels, |chain| chain.pointwise("expand", hidden).norm().activation(Activation::SiLU))
            .depthwise("depthwise", self.0.window(site))
            .norm()
            .activation(Activation::SiLU)
            .gate((channels / 4).max(1), Activation::SiLU, Activation::Sigmoid);
        self.0.project(site, branch)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        MBConvArguments::suggest(trial, site).map(Self)
    }

    fn remark(&self, _: &Site) -> Option<String> {
        self.0.remark()
    }
}

/// Expands with a dense k×k convolution, projects 1×1; adds its input where the shape allows. At
/// expansion 1 it has both convolutions, as in timm; torchvision's has one there.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct FusedMBConv(MBConvArguments);

impl ModuleGenerator for FusedMBConv {
    const NAME: &'static str = "FusedMBConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let expand = Convolution::new(self.0.hidden(site), self.0.window(site));
        let branch = site.chain().convolution("expand", expand).norm().activation(Activation::SiLU);
        self.0.project(site, branch)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        MBConvArguments::suggest(trial, site).map(Self)
    }

    fn remark(&self, _: &Site) -> Option<String> {
        self.0.remark()
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<MBConv>(), Block::of::<FusedMBConv>()];

//! Residual bottlenecks: kindle's, with two convolutions, and that of ResNet (He et al. 2016,
//! arXiv:1512.03385, figure 5), with three.

use crate::prelude::*;

/// What both bottlenecks take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BottleneckArguments {
    /// Output channels of the last copy; the others keep their input's.
    #[schemars(range(min = 1))]
    out: usize,
    /// Whether to add the input where the channels allow it.
    #[serde(default = "yes")]
    shortcut: bool,
    /// Groups of the 3×3 convolution.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    groups: usize,
    /// Hidden channels per output channel.
    #[serde(default = "half")]
    #[schemars(range(min = 0.01, max = 64))]
    expansion: f64,
    /// Activation of the 1×1 convolutions, or null for none; the 3×3 has ReLU.
    #[serde(default = "relu")]
    activation: Option<Activation>,
}

impl BottleneckArguments {
    fn out(&self, site: &Site) -> usize {
        if site.copy.is_last() { site.channels(self.out) } else { site.input().channels() }
    }

    fn hidden(&self, site: &Site) -> usize {
        (self.out(site) as f64 * self.expansion) as usize
    }

    /// 1×1 to the hidden channels, then 3×3 to `out`.
    fn squeeze_and_filter(&self, site: &Site, out: usize) -> Chain {
        site.chain()
            .pointwise("reduce", self.hidden(site))
            .norm()
            .activation(self.activation)
            .convolution("filter", Convolution::new(out, Window::centered(3, 1)).groups(self.groups))
            .norm()
            .activation(Activation::ReLU)
    }

    fn add_input(&self, site: &Site, body: Chain) -> Result<Layers> {
        let residual = self.shortcut && site.input().channels() == self.out(site);
        let input = site.chain().here();
        body.when(residual, |body| body.add(input, 0.0)).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site, block: &str) -> Result<Self> {
        site.must_not_reduce(block)?;
        Ok(Self {
            out: trial.int("out", 16, 128, 16)?,
            shortcut: trial.flag("shortcut")?,
            groups: 1,
            expansion: trial.choice("expansion", [0.25, 0.5, 0.75, 1.0])?,
            activation: trial
                .choice("activation", [Activation::ReLU, Activation::ReLU6, Activation::Hardswish].map(Some))?,
        })
    }
}

/// 1×1 to `expansion` of the output channels, 3×3 to the output channels, plus the input.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Bottleneck(BottleneckArguments);

impl ModuleGenerator for Bottleneck {
    const NAME: &'static str = "Bottleneck";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let body = self.0.squeeze_and_filter(site, self.0.out(site));
        self.0.add_input(site, body)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        BottleneckArguments::suggest(trial, site, Self::NAME).map(Self)
    }
}

/// ResNet's bottleneck: 1×1 to `expansion` of the output channels, 3×3, 1×1 to the output
/// channels, plus the input.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct ResBottleneck(BottleneckArguments);

impl ModuleGenerator for ResBottleneck {
    const NAME: &'static str = "ResBottleneck";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let body = self
            .0
            .squeeze_and_filter(site, self.0.hidden(site))
            .pointwise("expand", self.0.out(site))
            .norm()
            .activation(self.0.activation);
        self.0.add_input(site, body)
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        BottleneckArguments::suggest(trial, site, Self::NAME).map(Self)
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<Bottleneck>(), Block::of::<ResBottleneck>()];

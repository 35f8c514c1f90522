//! The block of GhostNet (Han et al. 2020, arXiv:1911.11907, figure 2).

use nasgen_modules::prelude::*;

/// Half of the channels from a 1×1 convolution, the other half from a cheap depthwise one over it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GhostConv {
    /// Output channels, even.
    #[schemars(range(min = 2))]
    out: usize,
    /// Side of the depthwise kernel.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    kernel: usize,
}

fn three() -> usize {
    3
}

impl ModuleGenerator for GhostConv {
    const NAME: &'static str = "GhostConv";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let primary =
            site.chain().pointwise("primary", site.channels(self.out) / 2).norm().activation(Activation::ReLU);
        let first = primary.here();
        let cheap = primary.depthwise("cheap", Window::centered(self.kernel, 1)).norm().activation(Activation::ReLU);
        let second = cheap.here();
        cheap.concat(&[first, second]).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_not_reduce(Self::NAME)?;
        Ok(Self { out: trial.int("out", 16, 64, 16)?, kernel: trial.choice("kernel", [3, 5])? })
    }
}

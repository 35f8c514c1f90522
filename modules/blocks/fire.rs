//! The fire module of SqueezeNet (Iandola et al. 2016, arXiv:1602.07360, figure 1).

use crate::prelude::*;

/// 1×1 to few channels, then 1×1 and 3×3 side by side, concatenated; biases, no norm.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fire {
    /// Channels after the first 1×1 convolution.
    #[schemars(range(min = 1))]
    squeeze: usize,
    /// Output channels of the 1×1 branch.
    #[schemars(range(min = 1))]
    expand_1x1: usize,
    /// Output channels of the 3×3 branch.
    #[schemars(range(min = 1))]
    expand_3x3: usize,
}

impl ModuleGenerator for Fire {
    const NAME: &'static str = "Fire";

    fn layers(&self, site: &Site) -> Result<Layers> {
        let with_bias = |out, kernel| Convolution::new(out, Window::centered(kernel, 1)).bias(true);
        let squeezed = site.chain().convolution("squeeze", with_bias(self.squeeze, 1)).activation(Activation::ReLU);
        let fork = squeezed.here();
        let left = squeezed.convolution("expand_1x1", with_bias(self.expand_1x1, 1)).activation(Activation::ReLU);
        let one = left.here();
        let right =
            left.from(fork).convolution("expand_3x3", with_bias(self.expand_3x3, 3)).activation(Activation::ReLU);
        let three = right.here();
        right.concat(&[one, three]).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_not_reduce(Self::NAME)?;
        Ok(Self {
            squeeze: trial.int("squeeze", 8, 32, 8)?,
            expand_1x1: trial.int("expand_1x1", 16, 64, 16)?,
            expand_3x3: trial.int("expand_3x3", 16, 64, 16)?,
        })
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<Fire>()];

//! A program with all of nasgen's commands and one block more.
//!
//! ```text
//! cargo run -p custom-block -- modules GhostConv
//! cargo run -p custom-block -- train examples/custom_block/ghost.yml
//! ```

use nasgen_modules::{Block, prelude::*};
use std::process::ExitCode;

/// Half of the channels from a 1×1 convolution, the other half from a cheap depthwise one over the
/// first (Han et al. 2020, GhostNet, arXiv:1911.11907, figure 2).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GhostConv {
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
        let half = site.channels(self.out) / 2;
        let primary = site.chain().pointwise("primary", half).norm().activation(Activation::ReLU);
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

const BLOCKS: &[Block] = &[Block::of::<GhostConv>()];

fn main() -> ExitCode {
    nasgen::cli::main_with(BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 8·8 weights, 8·9 depthwise, two norms of 2·8.
    #[test]
    fn counts_by_hand() {
        let blocks = Blocks::with(BLOCKS).unwrap();
        let block = blocks.get("GhostConv").unwrap().parse(&[16.into()], &Default::default()).unwrap();
        let layers = block.layers(&Site::row(Shape::image(8, 4, 4))).unwrap();
        assert_eq!((layers.output(), layers.params()), (Shape::image(16, 4, 4), 64 + 72 + 32));
        assert_eq!(layers.macs(), (64 + 72) * 16);
    }
}

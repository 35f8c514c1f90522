//! What a nasgen model spec can name.
//!
//! A *block* ([`ModuleGenerator`]) says which *layers* ([`Primitive`]) it is made of; everything
//! else is derived from that. One file in `blocks/` is one block:
//!
//! ```
//! use nasgen_modules::prelude::*;
//!
//! /// Depthwise, then pointwise convolution (Howard et al. 2017, MobileNet).
//! #[derive(Debug, Serialize, Deserialize, JsonSchema)]
//! pub struct Separable {
//!     /// Output channels, before the width multiple.
//!     #[schemars(range(min = 1))]
//!     out: usize,
//!     /// Side of the depthwise kernel.
//!     #[serde(default = "three")]
//!     #[schemars(range(min = 1))]
//!     kernel: usize,
//! }
//!
//! fn three() -> usize {
//!     3
//! }
//!
//! impl ModuleGenerator for Separable {
//!     const NAME: &'static str = "Separable";
//!
//!     fn layers(&self, site: &Site) -> Result<Layers> {
//!         site.chain()
//!             .depthwise("depthwise", Window::centered(self.kernel, 1))
//!             .norm()
//!             .activation(Activation::ReLU)
//!             .pointwise("pointwise", site.channels(self.out))
//!             .norm()
//!             .activation(Activation::ReLU)
//!             .finish()
//!     }
//!
//!     fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
//!         site.must_not_reduce(Self::NAME)?;
//!         Ok(Self { out: trial.int("out", 16, 64, 16)?, kernel: trial.choice("kernel", [3, 5])? })
//!     }
//! }
//!
//! let blocks = Blocks::with(&[Block::of::<Separable>()])?;
//! let block = blocks.get("Separable")?.parse(&[32.into()], &Default::default()).map_err(|mut errors| errors.remove(0))?;
//! let layers = block.layers(&Site::row(Shape::image(16, 8, 8)))?;
//! assert_eq!(layers.output(), Shape::image(32, 8, 8));
//! assert_eq!(layers.params(), 16 * 9 + 2 * 16 + 16 * 32 + 2 * 32);
//! # Ok::<(), Error>(())
//! ```

mod activation;
pub mod arguments;
mod chain;
pub mod chance;
pub mod composition;
mod error;
pub mod expression;
mod generator;
mod layers;
mod nearest;
mod primitive;
pub mod randomness;
mod shape;
mod site;
mod tensor;
mod trial;

mod blocks {
    include!(concat!(env!("OUT_DIR"), "/blocks.rs"));
}

pub use activation::Activation;
pub use chain::{Chain, Point};
pub use error::{Error, Place, Result};
pub use generator::{Block, BlockDefinition, BlockEntry, Blocks, Module, ModuleGenerator};
pub use layers::{Layers, Node, Source};
pub use nearest::nearest;
pub use primitive::{Convolution, Custom, CustomOperation, Norm, Padding, Primitive, Window};
pub use shape::Shape;
pub use site::{Copies, NetworkRules, Role, Rounding, Site, round_channels};
pub use tensor::{Initial, TensorRole, TensorSpec};
pub use trial::{Distribution, Draw, Narrowing, SET_KEYS, Trial, real, six_digits};

/// What a file that defines a block needs.
pub mod prelude {
    pub use crate::{
        Activation, Block, Blocks, Chain, Convolution, CustomOperation, Error, Initial, Layers, ModuleGenerator,
        Padding, Primitive, Result, Shape, Site, TensorSpec, Trial, Window,
        arguments::{Flag, defaults::*},
        round_channels,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

//! The end of a network: flatten, dropout, linear.

use crate::prelude::*;

/// An image as one vector: channels first, then rows, then columns.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Flatten {}

impl ModuleGenerator for Flatten {
    const NAME: &'static str = "Flatten";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("flatten", Primitive::Flatten).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self {})
    }
}

/// In training, zeroes values at random and scales the others up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Dropout {
    /// Share of the values that become zero.
    #[schemars(range(min = 0, max = 0.95))]
    probability: f64,
}

impl ModuleGenerator for Dropout {
    const NAME: &'static str = "Dropout";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("dropout", Primitive::Dropout { probability: self.probability }).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { probability: trial.float("probability", 0.0, 0.5, 0.1)? })
    }
}

/// A fully connected layer with bias.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Linear {
    /// Length of the result, whatever the width multiple; of the last one, the number of classes.
    #[schemars(range(min = 1))]
    out: usize,
    /// Activation, or null for none.
    #[serde(default)]
    activation: Option<Activation>,
}

impl ModuleGenerator for Linear {
    const NAME: &'static str = "Linear";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("linear", Primitive::Linear { out: self.out }).activation(self.activation).finish()
    }

    fn suggest(trial: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { out: trial.int("out", 16, 128, 16)?, activation: Some(Activation::ReLU) })
    }
}

pub(crate) const BLOCKS: &[Block] = &[Block::of::<Flatten>(), Block::of::<Dropout>(), Block::of::<Linear>()];

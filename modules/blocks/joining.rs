//! Rows that join or pass on values of other rows: kindle's `Add`, `Concat`, `Identity`,
//! `UpSample`.

use crate::prelude::*;

/// The sum of the rows that `from` lists.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Add {}

impl ModuleGenerator for Add {
    const NAME: &'static str = "Add";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().over_inputs("add", Primitive::Add { drop: 0.0 }).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self {})
    }
}

/// The channels of the rows that `from` lists, one after the other.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Concat {
    /// Only 1, the channels.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    dimension: usize,
}

impl ModuleGenerator for Concat {
    const NAME: &'static str = "Concat";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().over_inputs("concat", Primitive::Concat).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { dimension: 1 })
    }
}

/// Passes its input on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Identity {}

impl ModuleGenerator for Identity {
    const NAME: &'static str = "Identity";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.chain().finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_not_reduce(Self::NAME)?;
        Ok(Self {})
    }
}

/// Makes every pixel a square of equal ones.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct UpSample {
    /// Only null: the size follows from the factor.
    #[serde(default)]
    size: Option<()>,
    /// Side of each square; null is 2.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    scale_factor: Option<usize>,
    /// Only nearest.
    #[serde(default = "nearest")]
    mode: UpSampleMode,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum UpSampleMode {
    Nearest,
}

fn nearest() -> UpSampleMode {
    UpSampleMode::Nearest
}

impl ModuleGenerator for UpSample {
    const NAME: &'static str = "UpSample";

    fn layers(&self, site: &Site) -> Result<Layers> {
        site.must_be_single(Self::NAME)?;
        site.chain().layer("upsample", Primitive::Upsample { factor: self.scale_factor.unwrap_or(2) }).finish()
    }

    fn suggest(_: &mut Trial<'_>, site: &Site) -> Result<Self> {
        site.must_be_row(Self::NAME)?;
        Ok(Self { size: None, scale_factor: Some(2), mode: UpSampleMode::Nearest })
    }
}

pub(crate) const BLOCKS: &[Block] =
    &[Block::of::<Add>(), Block::of::<Concat>(), Block::of::<Identity>(), Block::of::<UpSample>()];

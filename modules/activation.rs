//! Activation functions, under the names of `torch.nn`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// An elementwise function (`Softmax` runs over the channels), as PyTorch defines it with its
/// default settings: `LeakyReLU` has slope 0.01, `ELU` alpha 1, `GELU` is the exact one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Activation {
    ReLU,
    ReLU6,
    #[serde(alias = "HardSwish")]
    Hardswish,
    #[serde(alias = "Swish")]
    SiLU,
    Sigmoid,
    #[serde(alias = "HardSigmoid")]
    Hardsigmoid,
    GELU,
    LeakyReLU,
    ELU,
    Mish,
    Tanh,
    Softmax,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Self; 12] = {
        use Activation::*;
        [ReLU, ReLU6, Hardswish, SiLU, Sigmoid, Hardsigmoid, GELU, LeakyReLU, ELU, Mish, Tanh, Softmax]
    };

    /// Other spellings that are read.
    pub const ALIASES: [&str; 3] = ["HardSwish", "Swish", "HardSigmoid"];

    /// The activation of this name or other spelling.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(name)).ok()
    }

    /// The name in a spec, which is that of `torch.nn`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

impl JsonSchema for Activation {
    fn schema_name() -> Cow<'static, str> {
        "Activation".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<String> = Self::ALL.map(Self::name).to_vec();
        // `aliases` is no word of JSON Schema: `arguments` accepts them without listing them.
        json_schema!({ "type": "string", "enum": names, "aliases": Self::ALIASES })
    }
}

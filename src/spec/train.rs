//! The settings of a training, as `train:` in a spec and the flags of `nasgen train` give them.

use nasgen_modules::{Error, arguments::Signature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a network is trained. The defaults are the recipe that the README calls the default one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainSettings {
    /// Passes over the training images.
    #[serde(default = "epochs")]
    #[schemars(range(min = 1, max = 100000))]
    pub epochs: usize,
    /// Images per step.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch: usize,
    /// SGD with Nesterov momentum, or AdamW.
    #[serde(default = "optimizer")]
    pub optimizer: Optimizer,
    /// Highest learning rate; null is 0.05 for sgd and 0.002 for adamw.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub lr: Option<f64>,
    /// Momentum of sgd.
    #[serde(default = "momentum")]
    #[schemars(range(min = 0, max = 0.9999))]
    pub momentum: f64,
    /// Weight decay, on weights but not on norms and biases; null is 0.0005 for sgd and 0.05 for
    /// adamw.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub weight_decay: Option<f64>,
    /// Share of the steps in which the learning rate rises to its highest; it then falls to 0 on a
    /// cosine.
    #[serde(default = "warmup")]
    #[schemars(range(min = 0, max = 1))]
    pub warmup: f64,
    /// Share of the target that is spread over all classes.
    #[serde(default = "smoothing")]
    #[schemars(range(min = 0, max = 0.9))]
    pub smoothing: f64,
    /// Whether training images are mirrored at random.
    #[serde(default = "flip")]
    pub flip: bool,
    /// Pixels of black added on each side before a random crop back to the size; 0 is no crop.
    #[serde(default = "crop")]
    #[schemars(range(min = 0, max = 256))]
    pub crop: usize,
    /// Share of the training images set aside for validation where the data has no validation
    /// split of its own.
    #[serde(default = "val")]
    #[schemars(range(min = 0.001, max = 0.9))]
    pub val: f64,
    /// Which measure on the validation images says which epoch is the best.
    #[serde(default)]
    pub metric: Metric,
    /// Decides the initial weights, the split, the order of the images and their augmentation.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9007199254740991_i64))]
    pub seed: u64,
}

/// Which rule turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Optimizer {
    Sgd,
    Adamw,
}

/// A measure on the validation images: of the first two a higher value is better, of the loss a
/// lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Metric {
    #[default]
    Accuracy,
    MacroF1,
    Loss,
}

fn epochs() -> usize {
    30
}
fn batch() -> usize {
    64
}
fn optimizer() -> Optimizer {
    Optimizer::Sgd
}
fn momentum() -> f64 {
    0.9
}
fn warmup() -> f64 {
    0.05
}
fn smoothing() -> f64 {
    0.1
}
fn flip() -> bool {
    true
}
fn crop() -> usize {
    4
}
fn val() -> f64 {
    0.1
}

impl TrainSettings {
    /// Names, defaults and meaning of the settings.
    pub fn signature() -> Signature {
        Signature::of_settings::<Self>()
    }

    /// The settings that `values` give; absent ones are the default.
    pub fn parse(values: &Map<String, Value>) -> Result<Self, Vec<Error>> {
        Self::signature().parse(&[], values)
    }

    /// Highest learning rate.
    pub fn learning_rate(&self) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            Optimizer::Sgd => 0.05,
            Optimizer::Adamw => 0.002,
        })
    }

    /// Weight decay on weights.
    pub fn decay(&self) -> f64 {
        self.weight_decay.unwrap_or(match self.optimizer {
            Optimizer::Sgd => 5e-4,
            Optimizer::Adamw => 0.05,
        })
    }
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self::parse(&Map::new()).expect("every setting has a default")
    }
}

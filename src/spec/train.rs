//! The settings of a training, as `train:` in a spec and the flags of `nasgen train` give them.

use crate::data::augment::Policy;
use nasgen_modules::{Error, Place, arguments::Signature};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a network is trained. The defaults are the recipe that the README calls the default one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainSettings {
    /// Passes over the training images.
    #[serde(default = "epochs")]
    #[schemars(range(min = 1, max = 100000))]
    pub epochs: usize,
    /// Images per step; on the command line also auto, which measures some sizes and takes the smallest that
    /// is within 5 % of the fastest.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch: usize,
    /// Batches whose gradients are averaged before the weights move.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65536))]
    pub accumulate: usize,
    /// What turns gradients into steps, each as PyTorch has it (lion: timm).
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Highest learning rate; null is 0.05 for sgd, 0.002 for adam, adamw and adamax, 0.001 for rmsprop,
    /// 0.0003 for lion.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub lr: Option<f64>,
    /// Momentum; null is 0.9 for sgd and 0 for rmsprop.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.9999))]
    pub momentum: Option<f64>,
    /// Whether the momentum of sgd is Nesterov's.
    #[serde(default = "yes")]
    pub nesterov: bool,
    /// How much of the mean gradient is kept from step to step (adam, adamw, adamax, lion).
    #[serde(default = "beta1")]
    #[schemars(range(min = 0, max = 0.999999))]
    pub beta1: f64,
    /// How much of the second moment is kept (adam, adamw, adamax, rmsprop), or of lion's mean; null is
    /// 0.999, for rmsprop and lion 0.99.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.999999))]
    pub beta2: Option<f64>,
    /// Added to divisors (adam, adamw, adamax, rmsprop).
    #[serde(default = "epsilon")]
    #[schemars(range(min = 0, max = 1))]
    pub epsilon: f64,
    /// Weight decay, on weights but not on norms and biases; null is 0.0005 for sgd, 0.05 for adamw, 0.5
    /// for lion, 0 for the others.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub weight_decay: Option<f64>,
    /// Largest norm of all gradients together; longer ones are shortened to it. Null is no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000000))]
    pub clip: Option<f64>,
    /// How the learning rate changes after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// Share of the steps in which the learning rate rises to its highest.
    #[serde(default = "warmup")]
    #[schemars(range(min = 0, max = 1))]
    pub warmup: f64,
    /// Epochs between two changes (step), or of the first cosine (restarts).
    #[serde(default = "period")]
    #[schemars(range(min = 1, max = 100000))]
    pub period: usize,
    /// Epochs after which the learning rate changes (multistep).
    #[serde(default)]
    pub milestones: Vec<usize>,
    /// Factor of each change (step, multistep, plateau).
    #[serde(default = "gamma")]
    #[schemars(range(min = 0, max = 1))]
    pub gamma: f64,
    /// Factor on the period after each restart (restarts).
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub period_factor: usize,
    /// Exponent (polynomial).
    #[serde(default = "power")]
    #[schemars(range(min = 0, max = 100))]
    pub power: f64,
    /// Epochs without a better `metric` before the learning rate changes (plateau).
    #[serde(default = "plateau_patience")]
    #[schemars(range(min = 0, max = 100000))]
    pub plateau_patience: usize,
    /// What the scores are measured by.
    #[serde(default)]
    pub loss: Loss,
    /// Share of the target that is spread over all classes.
    #[serde(default = "smoothing")]
    #[schemars(range(min = 0, max = 0.9))]
    pub smoothing: f64,
    /// How much the focal loss turns to hard images (focal).
    #[serde(default = "focal_gamma")]
    #[schemars(range(min = 0, max = 10))]
    pub focal_gamma: f64,
    /// How much the logarithm of a class's frequency is added to its score (logit_adjusted).
    #[serde(default = "logit_temperature")]
    #[schemars(range(min = 0, max = 10))]
    pub logit_temperature: f64,
    /// What is done about classes with few images: weights in the loss by frequency (loss) or by the
    /// effective number of images (effective), or as many images of each class in an epoch (sampler).
    #[serde(default)]
    pub balance: Balance,
    /// Share of the old average that each step keeps in the average of the weights that is measured and
    /// saved as best; 0 is no average.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.999999))]
    pub ema: f64,
    /// Probability that the last residual sum drops its branch for an image in training; earlier ones do so
    /// less, in proportion to their depth (stochastic depth, Huang et al. 2016). 0 is none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.95))]
    pub stochastic_depth: f64,
    /// Epochs without a better `metric` before the training ends early; null is never.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100000))]
    pub patience: Option<usize>,
    /// Whether training images are mirrored at random.
    #[serde(default = "yes")]
    pub flip: bool,
    /// Pixels of black added on each side before a random crop back to the size; 0 is no crop.
    #[serde(default = "crop")]
    #[schemars(range(min = 0, max = 256))]
    pub crop: usize,
    /// What is done to training images before they are mirrored and cropped: trivial, randaugment,
    /// autoaugment, timm's rand-m9-mstd0.5, mixup, cutmix, rotate, color_jitter, erase, … or a list of them,
    /// each by its name or as {name: value}.
    #[serde(default)]
    #[schemars(schema_with = "policy")]
    pub augment: Value,
    /// Share of the training images set aside for validation where the data has no validation
    /// split of its own.
    #[serde(default = "val")]
    #[schemars(range(min = 0.001, max = 0.9))]
    pub val: f64,
    /// Which measure on the validation images says which epoch is the best.
    #[serde(default)]
    pub metric: Metric,
    /// Rows before this one, counted as `nasgen show` does, do not learn; null is none. They run as in
    /// evaluation: their norms keep their statistics.
    #[serde(default)]
    #[schemars(range(min = 1, max = 20000))]
    pub freeze_until: Option<usize>,
    /// Epochs after which the last of the frozen rows with weights begins to learn, then the one before it,
    /// and so on; null is never.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100000))]
    pub unfreeze_every: Option<usize>,
    /// Decides the initial weights, the split, the order of the images and their augmentation.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9007199254740991_i64))]
    pub seed: u64,
}

/// Which rule turns gradients into steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Optimizer {
    #[default]
    Sgd,
    Adam,
    Adamw,
    Adamax,
    Rmsprop,
    Lion,
}

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Schedule {
    Constant,
    Step,
    Multistep,
    #[default]
    Cosine,
    Restarts,
    Onecycle,
    Plateau,
    Polynomial,
}

/// What class scores are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Loss {
    #[default]
    CrossEntropy,
    Focal,
    LogitAdjusted,
    Bce,
}

/// What is done about classes with few images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(missing_docs, reason = "each name is its definition")]
pub enum Balance {
    #[default]
    None,
    Loss,
    Sampler,
    Effective,
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

fn policy(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["policy", "null"] })
}
fn epochs() -> usize {
    30
}
fn batch() -> usize {
    64
}
fn one() -> usize {
    1
}
fn yes() -> bool {
    true
}
fn beta1() -> f64 {
    0.9
}
fn epsilon() -> f64 {
    1e-8
}
fn warmup() -> f64 {
    0.05
}
fn period() -> usize {
    10
}
fn gamma() -> f64 {
    0.1
}
fn power() -> f64 {
    1.0
}
fn plateau_patience() -> usize {
    5
}
fn smoothing() -> f64 {
    0.1
}
fn focal_gamma() -> f64 {
    2.0
}
fn logit_temperature() -> f64 {
    1.0
}
fn crop() -> usize {
    4
}
fn val() -> f64 {
    0.1
}

/// Settings that only some choices of another setting use: its name, and the choices that do.
const USED_ONLY_BY: [(&str, &str, &[&str]); 13] = [
    ("momentum", "optimizer", &["sgd", "rmsprop"]),
    ("nesterov", "optimizer", &["sgd"]),
    ("beta1", "optimizer", &["adam", "adamw", "adamax", "lion"]),
    ("beta2", "optimizer", &["adam", "adamw", "adamax", "rmsprop", "lion"]),
    ("epsilon", "optimizer", &["adam", "adamw", "adamax", "rmsprop"]),
    ("period", "schedule", &["step", "restarts"]),
    ("milestones", "schedule", &["multistep"]),
    ("gamma", "schedule", &["step", "multistep", "plateau"]),
    ("period_factor", "schedule", &["restarts"]),
    ("power", "schedule", &["polynomial"]),
    ("plateau_patience", "schedule", &["plateau"]),
    ("focal_gamma", "loss", &["focal"]),
    ("logit_temperature", "loss", &["logit_adjusted"]),
];

impl TrainSettings {
    /// Names, defaults and meaning of the settings.
    pub fn signature() -> Signature {
        Signature::of_settings::<Self>()
    }

    /// The settings that `values` give; absent ones are the default. `optimizer`, `schedule` and `loss`
    /// may be a map of their name to settings of their own: `optimizer: {adamw: {weight_decay: 0.1}}`.
    ///
    /// # Errors
    /// For every value that is not what it should be, and every setting that would be ignored.
    pub fn parse(values: &Map<String, Value>) -> Result<Self, Vec<Error>> {
        let values = unfolded(values)?;
        let settings: Self = Self::signature().parse(&[], &values)?;
        let choices = serde_json::to_value(&settings).unwrap_or_default();
        let ignored = |(name, chooser, users): &(&str, &str, &[&str])| {
            let choice = choices[*chooser].as_str().unwrap_or_default();
            let given = values.get(*name).is_some_and(|value| !value.is_null() && *value != defaults()[*name]);
            (given && !users.contains(&choice)).then(|| {
                let message =
                    format!("setting `{name}` is not used by {chooser} {choice}, only by {}", users.join(", "));
                Error::new(Place::Argument((*name).to_owned()), message)
            })
        };
        let policy = Policy::parse(&settings.augment).err();
        let policy = policy
            .map(|problem| Error::new(Place::Argument("augment".into()), format!("setting `augment`: {problem}")));
        let wrong = [
            (settings.lr == Some(0.0), "lr", "wanted a rate above 0: with 0 nothing is learnt"),
            (settings.clip == Some(0.0), "clip", "wanted a norm above 0, or null for no limit, got 0"),
            (
                settings.schedule == Schedule::Multistep && settings.milestones.is_empty(),
                "milestones",
                "schedule multistep needs the epochs after which the rate changes, such as 15,25",
            ),
            (
                settings.milestones.iter().any(|epoch| *epoch >= settings.epochs),
                "milestones",
                "an epoch lies behind the last one, where nothing is left to change",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong);
        let wrong = wrong
            .map(|(_, name, problem)| Error::new(Place::Argument(name.into()), format!("setting `{name}`: {problem}")));
        let unused = settings.unfreeze_every.filter(|_| settings.freeze_until.is_none()).map(|_| {
            Error::new(
                Place::Argument("unfreeze_every".into()),
                "setting `unfreeze_every` is used only with freeze_until",
            )
        });
        let errors: Vec<Error> =
            USED_ONLY_BY.iter().filter_map(ignored).chain(policy).chain(unused).chain(wrong).collect();
        if errors.is_empty() { Ok(settings) } else { Err(errors) }
    }

    /// Highest learning rate.
    pub fn learning_rate(&self) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            Optimizer::Sgd => 0.05,
            Optimizer::Adam | Optimizer::Adamw | Optimizer::Adamax => 0.002,
            Optimizer::Rmsprop => 0.001,
            Optimizer::Lion => 3e-4,
        })
    }

    /// Weight decay on weights.
    pub fn decay(&self) -> f64 {
        self.weight_decay.unwrap_or(match self.optimizer {
            Optimizer::Sgd => 5e-4,
            Optimizer::Adamw => 0.05,
            Optimizer::Lion => 0.5,
            Optimizer::Adam | Optimizer::Adamax | Optimizer::Rmsprop => 0.0,
        })
    }

    /// Momentum of sgd or rmsprop.
    pub fn effective_momentum(&self) -> f64 {
        self.momentum.unwrap_or(if self.optimizer == Optimizer::Sgd { 0.9 } else { 0.0 })
    }

    /// What is kept of the second moment.
    pub fn effective_beta2(&self) -> f64 {
        let slow = matches!(self.optimizer, Optimizer::Rmsprop | Optimizer::Lion);
        self.beta2.unwrap_or(if slow { 0.99 } else { 0.999 })
    }

    /// Every setting that this training uses, with the value that it has in effect.
    pub fn effective(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut values)) = serde_json::to_value(self) else { return Map::new() };
        values.insert("lr".into(), self.learning_rate().into());
        values.insert("momentum".into(), self.effective_momentum().into());
        values.insert("beta2".into(), self.effective_beta2().into());
        values.insert("weight_decay".into(), self.decay().into());
        for (name, chooser, users) in USED_ONLY_BY {
            let choice = values.get(chooser).and_then(Value::as_str).unwrap_or_default();
            if !users.contains(&choice) {
                values.shift_remove(name);
            }
        }
        values
    }
}

/// The same settings, each by itself: a map of one choice to its settings becomes the choice and the settings.
///
/// # Errors
/// When such a map has not just one name.
pub fn unfolded(values: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Error>> {
    let mut flat = Map::new();
    for (name, value) in values {
        match (name.as_str(), value) {
            ("optimizer" | "schedule" | "loss", Value::Object(choice)) => {
                let mut choices = choice.iter();
                let (Some((chosen, inner)), None) = (choices.next(), choices.next()) else {
                    let message = format!("setting `{name}`: wanted one name with its settings, got {}", choice.len());
                    return Err(vec![Error::new(Place::Argument(name.clone()), message)]);
                };
                flat.insert(name.clone(), Value::String(chosen.clone()));
                if let Value::Object(inner) = inner {
                    flat.extend(inner.clone());
                }
            }
            _ => {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(flat)
}

fn defaults() -> Value {
    serde_json::to_value(TrainSettings::default()).unwrap_or_default()
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self::signature().parse(&[], &Map::new()).expect("every setting has a default")
    }
}

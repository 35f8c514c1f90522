//! The settings of a training with where each came from.

use crate::{cli::failure::Failure, spec::TrainSettings, train::Origin};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One flag for each setting; names and meaning as in `train:`.
#[derive(clap::Args)]
pub(super) struct SettingFlags {
    /// Passes over the training images [default: 30].
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<String>,
    /// Images per step [default: 64].
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    batch: Option<String>,
    /// sgd (with Nesterov momentum) or adamw [default: sgd].
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// Highest learning rate [default: 0.05 for sgd, 0.002 for adamw].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<String>,
    /// Momentum of sgd [default: 0.9].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<String>,
    /// Weight decay on weights, not on norms and biases [default: 0.0005 for sgd, 0.05 for adamw].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<String>,
    /// Share of the steps in which the learning rate rises [default: 0.05].
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    warmup: Option<String>,
    /// Label smoothing [default: 0.1].
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    smoothing: Option<String>,
    /// Mirror training images at random: true or false [default: true].
    #[arg(long, value_name = "BOOL")]
    flip: Option<String>,
    /// Pixels of padding before a random crop [default: 4].
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    crop: Option<String>,
    /// Share set aside for validation where the data has no validation split [default: 0.1].
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    val: Option<String>,
    /// What "best" means: accuracy, macro_f1 or loss, on the validation images [default: accuracy].
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Decides weights, split, order and augmentation [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<String>,
}

/// Effective settings.
pub(super) struct Settings {
    pub(super) values: TrainSettings,
    /// Of those that are not the default.
    pub(super) origins: BTreeMap<String, Origin>,
}

impl SettingFlags {
    /// The flags that were given, by the name of the setting.
    pub(super) fn given(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("epochs", &self.epochs),
            ("batch", &self.batch),
            ("optimizer", &self.optimizer),
            ("lr", &self.lr),
            ("momentum", &self.momentum),
            ("weight_decay", &self.weight_decay),
            ("warmup", &self.warmup),
            ("smoothing", &self.smoothing),
            ("flip", &self.flip),
            ("crop", &self.crop),
            ("val", &self.val),
            ("metric", &self.metric),
            ("seed", &self.seed),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// These flags over the spec's `train:` over the defaults.
    pub(super) fn over(&self, spec: &Map<String, Value>) -> Result<Settings, Failure> {
        let mut values = spec.clone();
        for (name, text) in self.given() {
            // A flag's text means what it would mean in YAML.
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
            values.insert(name.to_owned(), value);
        }
        let parsed = TrainSettings::parse(&values).map_err(|errors| {
            let line = |error: &nasgen_modules::Error| {
                let help = error.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
                format!("{}{help}", error.message)
            };
            Failure::usage(errors.iter().map(line).collect::<Vec<_>>().join("\nerror: "))
        })?;
        let from_spec = spec.keys().map(|name| (name.clone(), Origin::Spec));
        let from_flags = self.given().into_iter().map(|(name, _)| (name.to_owned(), Origin::Flag));
        Ok(Settings { values: parsed, origins: from_spec.chain(from_flags).collect() })
    }
}

//! Settings that published files of the Python project carry beside the network.

use super::{diagnostic::Diagnostic, model::sides, train::TrainSettings, yaml::Entry};
use nasgen_modules::Place;
use serde_json::{Map, Value, json};

/// A key of the Python project and the setting that it means here.
const KEYS: [(&str, Meaning); 19] = [
    ("INPUT_SIZE", Meaning::InputSize),
    ("IMG_SIZE", Meaning::InputSize),
    ("BATCH_SIZE", Meaning::Setting("batch")),
    ("EPOCHS", Meaning::Setting("epochs")),
    ("INIT_LR", Meaning::Setting("lr")),
    ("VAL_RATIO", Meaning::Setting("val")),
    ("OPTIMIZER", Meaning::Optimizer),
    ("optimizer", Meaning::Optimizer),
    ("DATA_PATH", Meaning::Data),
    ("DATASET", Meaning::Published),
    ("AUG_TRAIN", Meaning::Augmentation),
    ("AUG_TRAIN_PARAMS", Meaning::AugmentationStrength),
    ("AUG_TEST", Meaning::Unused),
    ("AUG_TEST_PARAMS", Meaning::Unused),
    ("FP16", Meaning::Unused),
    ("n_select", Meaning::AugmentationStrength),
    ("scheduler", Meaning::Unused),
    ("SCHEDULER", Meaning::Unused),
    ("CLASSES", Meaning::Unused),
];

#[derive(Clone, Copy)]
enum Meaning {
    InputSize,
    Setting(&'static str),
    Optimizer,
    /// A folder of images.
    Data,
    /// The name of a published data set.
    Published,
    /// A policy, with its strength in other keys.
    Augmentation,
    /// Part of the policy.
    AugmentationStrength,
    Unused,
}

/// What the keys of the Python project say.
#[derive(Default)]
pub struct Legacy {
    /// Height and width.
    pub input_size: Option<[usize; 2]>,
    /// Where the images are; a model spec says nothing of that.
    pub data: Option<String>,
    /// Settings of the training.
    pub train: Map<String, Value>,
    /// What each key became, and which are not used.
    pub notes: Vec<String>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// The names of all keys.
pub fn legacy_keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().map(|(key, _)| key)
}

/// Reads the keys of the Python project among `entries`, those of a data file; every other key is left alone.
///
/// # Errors
/// For each value that is not what it should be.
pub fn read_data_file(entries: &[Entry]) -> Result<Legacy, Vec<Diagnostic>> {
    let legacy = collect(entries, true);
    if legacy.diagnostics.is_empty() { Ok(legacy) } else { Err(legacy.diagnostics) }
}

fn meaning(key: &str) -> Option<Meaning> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| *meaning)
}

/// Whether `key` is one of the Python project's.
pub(super) fn is_known(key: &str) -> bool {
    meaning(key).is_some()
}

/// Reads them in a model spec.
pub(super) fn read(entries: &[Entry]) -> Legacy {
    collect(entries, false)
}

fn collect(entries: &[Entry], with_data: bool) -> Legacy {
    let mut legacy = Legacy::default();
    let mut unused = Vec::new();
    let mut used = Vec::new();
    for entry in entries {
        let Some(meaning) = meaning(&entry.key) else { continue };
        let follows = with_data || !matches!(meaning, Meaning::Data | Meaning::Published);
        match follows.then(|| legacy.take(meaning, entry, entries)).flatten() {
            Some(here) => used.push(format!("{} ({here})", entry.key)),
            None => unused.push(entry.key.as_str()),
        }
    }
    if !used.is_empty() {
        legacy.notes.push(format!("read as settings of the Python project: {}", used.join(", ")));
    }
    if !unused.is_empty() {
        legacy.notes.push(format!("not used: {}", unused.join(", ")));
    }
    legacy
}

/// RandAugment as the Python project's `randaugment_train` has it: `n_select` operators at `level` of `n_level`.
fn rand_augment(entries: &[Entry]) -> Value {
    let at = |entries: &[Entry], key: &str| entries.iter().find(|entry| entry.key == key)?.value.to_json().as_f64();
    let params = entries.iter().find(|entry| entry.key == "AUG_TRAIN_PARAMS").and_then(|entry| entry.value.as_map());
    let number = |key: &str, default: f64| {
        params.and_then(|params| at(params, key)).or_else(|| at(entries, key)).unwrap_or(default)
    };
    let level = number("level", 14.0) / (number("n_level", 31.0) - 1.0).max(1.0);
    let magnitude = (level * 30.0).round().clamp(0.0, 30.0) as u64;
    json!({"randaugment": {"n": number("n_select", 2.0) as u64, "m": magnitude}})
}

impl Legacy {
    /// What the key is called here, if nasgen follows it.
    fn take(&mut self, meaning: Meaning, entry: &Entry, all: &[Entry]) -> Option<&'static str> {
        let text = entry.value.as_str().unwrap_or_default();
        match meaning {
            Meaning::Unused => None,
            Meaning::InputSize => {
                match sides(&entry.value) {
                    None => self.wrong(entry, format!("wanted [height, width], got {}", entry.value.describe())),
                    size => self.input_size = size,
                }
                Some("input_size")
            }
            Meaning::Setting(name) => {
                self.set(name, entry.value.to_json(), entry);
                Some(name)
            }
            Meaning::Optimizer => {
                let name = text.to_lowercase();
                if !["sgd", "adam", "adamw", "adamax", "rmsprop"].contains(&name.as_str()) {
                    return None;
                }
                self.set("optimizer", Value::String(name), entry);
                Some("optimizer")
            }
            Meaning::Data => {
                if text.is_empty() {
                    self.wrong(entry, format!("wanted a folder, got {}", entry.value.describe()));
                }
                self.data = Some(text.to_owned());
                Some("data")
            }
            Meaning::Published => {
                let name = text.to_lowercase().replace('_', "-");
                let here = all.iter().all(|entry| entry.key != "DATA_PATH");
                let known = ["mnist", "fashion-mnist", "cifar10", "cifar100"].contains(&name.as_str());
                if !here || !known {
                    return None;
                }
                self.data = Some(name);
                Some("data")
            }
            Meaning::Augmentation if text == "randaugment_train" => {
                self.set("augment", rand_augment(all), entry);
                Some("augment")
            }
            // Nothing beyond mirroring and cropping, which the recipe has by itself.
            Meaning::Augmentation if text == "simple_augment_train" => Some("flip and crop"),
            Meaning::Augmentation => None,
            Meaning::AugmentationStrength => {
                let is_randaugment = |entry: &Entry| entry.value.as_str() == Some("randaugment_train");
                all.iter().any(|entry| entry.key == "AUG_TRAIN" && is_randaugment(entry)).then_some("augment")
            }
        }
    }

    fn set(&mut self, name: &str, value: Value, entry: &Entry) {
        let alone = Map::from_iter([(name.to_owned(), value.clone())]);
        match TrainSettings::parse(&alone) {
            Ok(_) => {
                self.train.insert(name.to_owned(), value);
            }
            Err(errors) => {
                let about_it = |error: &&nasgen_modules::Error| error.place == Place::Argument(name.to_owned());
                for error in errors.iter().filter(about_it) {
                    self.wrong(entry, error.message.clone());
                }
            }
        }
    }

    fn wrong(&mut self, entry: &Entry, message: String) {
        self.diagnostics.push(Diagnostic::new(format!("{}: {message}", entry.key)).at(entry.value.span));
    }
}

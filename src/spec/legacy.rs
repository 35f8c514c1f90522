//! Settings that published files of the Python project carry beside the network.

use super::{diagnostic::Diagnostic, model::sides, train::TrainSettings, yaml::Entry};
use nasgen_modules::Place;
use serde_json::{Map, Value};

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
    ("DATA_PATH", Meaning::Unused),
    ("DATASET", Meaning::Unused),
    ("AUG_TRAIN", Meaning::Unused),
    ("AUG_TRAIN_PARAMS", Meaning::Unused),
    ("AUG_TEST", Meaning::Unused),
    ("AUG_TEST_PARAMS", Meaning::Unused),
    ("FP16", Meaning::Unused),
    ("n_select", Meaning::Unused),
    ("scheduler", Meaning::Unused),
    ("SCHEDULER", Meaning::Unused),
    ("CLASSES", Meaning::Unused),
];

#[derive(Clone, Copy)]
enum Meaning {
    InputSize,
    Setting(&'static str),
    Optimizer,
    Unused,
}

/// What the keys of the Python project say.
#[derive(Default)]
pub(super) struct Legacy {
    pub(super) input_size: Option<[usize; 2]>,
    pub(super) train: Map<String, Value>,
    pub(super) notes: Vec<String>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

fn meaning(key: &str) -> Option<Meaning> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, meaning)| *meaning)
}

/// Whether `key` is one of the Python project's.
pub(super) fn is_known(key: &str) -> bool {
    meaning(key).is_some()
}

pub(super) fn read(entries: &[Entry]) -> Legacy {
    let mut legacy = Legacy::default();
    let mut unused = Vec::new();
    let mut used = Vec::new();
    for entry in entries {
        let Some(meaning) = meaning(&entry.key) else { continue };
        if legacy.take(meaning, entry) { used.push(entry.key.as_str()) } else { unused.push(entry.key.as_str()) }
    }
    if !used.is_empty() {
        legacy.notes.push(format!("read as settings of the Python project: {}", used.join(", ")));
    }
    if !unused.is_empty() {
        legacy.notes.push(format!("not used: {}", unused.join(", ")));
    }
    legacy
}

impl Legacy {
    /// Whether nasgen follows the key.
    fn take(&mut self, meaning: Meaning, entry: &Entry) -> bool {
        match meaning {
            Meaning::Unused => return false,
            Meaning::InputSize => match sides(&entry.value) {
                None => self.wrong(entry, format!("wanted [height, width], got {}", entry.value.describe())),
                size => self.input_size = size,
            },
            Meaning::Setting(name) => self.set(name, entry.value.to_json(), entry),
            Meaning::Optimizer => {
                let name = entry.value.as_str().unwrap_or_default().to_lowercase();
                if !["sgd", "adam", "adamw", "adamax", "rmsprop"].contains(&name.as_str()) {
                    return false;
                }
                self.set("optimizer", Value::String(name), entry);
            }
        }
        true
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

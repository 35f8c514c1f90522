//! Rows that do not learn.

use crate::spec::TrainSettings;
use nasgen_modules::Layers;
use std::collections::BTreeSet;

/// Which rows of a network learn in an epoch. The others are *frozen*: their parameters stay as they
/// are, without weight decay, and they run as in evaluation: norms use their running statistics and
/// leave them alone, nothing is dropped. (`timm.utils.freeze` and Keras do the same; a norm that went on
/// counting would change what the frozen convolutions mean to the rows after them.)
///
/// Rows without parameters that stand directly before the first learning row are not frozen: dropout
/// before a new classifier belongs to the classifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freezing {
    /// For each of the first rows, the number of the update from which on it learns; `None` if it does
    /// not learn in this epoch. Rows after these always learn.
    rows: Vec<Option<u64>>,
}

impl Freezing {
    /// What is frozen in `epoch` (from 1) of a training with `updates` of the weights an epoch. Of the
    /// rows before `freeze_until`, the last one that has parameters begins to learn after `unfreeze_every`
    /// epochs, the one before it after twice as many, and so on (Howard and Ruder 2018, section 3.3).
    pub fn at(settings: &TrainSettings, layers: &Layers, epoch: usize, updates: u64) -> Self {
        let owners = rows_with_parameters(layers);
        let until = settings.freeze_until.unwrap_or(0);
        let row = |row: usize| {
            // How many rows must have begun to learn before this one is free.
            let waits = owners.range(row..until.max(row)).count() as u64;
            let epochs_before = match settings.unfreeze_every {
                _ if waits == 0 => 0,
                Some(every) => waits.saturating_mul(every as u64),
                None => return None,
            };
            (epoch as u64 > epochs_before).then(|| epochs_before.saturating_mul(updates))
        };
        Self { rows: (0..until).map(row).collect() }
    }

    /// The number of the update, from 0, from which on a layer or tensor of this name learns; `None` if
    /// it does not learn now. Optimizers count their steps from there.
    pub fn learns_since(&self, name: &str) -> Option<u64> {
        match row_of(name).and_then(|row| self.rows.get(row)) {
            Some(since) => *since,
            None => Some(0),
        }
    }

    /// Whether a layer or tensor of this name does not learn now.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.learns_since(name).is_none()
    }

    /// Number of rows, from the first on, that do not learn.
    pub fn frozen_rows(&self) -> usize {
        self.rows.iter().take_while(|since| since.is_none()).count()
    }

    /// Parameters of the network that learn.
    pub fn learning_params(&self, layers: &Layers) -> u64 {
        let tensors = layers.tensors().into_iter().filter(|tensor| tensor.is_parameter());
        tensors.filter(|tensor| !self.is_frozen(&tensor.name)).map(|tensor| tensor.elements()).sum()
    }
}

/// The row of `backbone.{row}.{copy}.{label}`.
fn row_of(name: &str) -> Option<usize> {
    name.strip_prefix("backbone.")?.split('.').next()?.parse().ok()
}

fn rows_with_parameters(layers: &Layers) -> BTreeSet<usize> {
    let tensors = layers.tensors().into_iter().filter(|tensor| tensor.is_parameter());
    tensors.filter_map(|tensor| row_of(&tensor.name)).collect()
}

/// What is wrong with `freeze_until` for this network of `rows` rows.
pub fn freezing_problem(settings: &TrainSettings, layers: &Layers, rows: usize) -> Option<String> {
    let until = settings.freeze_until?;
    let last = rows_with_parameters(layers).last().copied().unwrap_or(0);
    (until > last).then(|| {
        format!(
            "freeze_until {until} leaves no row to learn: of the network's rows 0 to {}, {last} is the last with weights",
            rows.saturating_sub(1)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::Network,
        spec::{ModelSpec, SourceText},
    };
    use nasgen_modules::{Blocks, Shape};
    use serde_json::json;

    fn layers() -> Layers {
        let rows = "backbone:\n  - [1, Conv, [8, 3]]\n  - [1, MaxPool, [2, 2]]\n  - [2, Conv, [8, 3]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Dropout, [0.5]]\n  - [1, Linear, [10]]\n";
        let spec = ModelSpec::parse(&SourceText { name: "x".into(), text: rows.into() }, &Blocks::builtin()).unwrap();
        Network::plan(&spec, Shape::image(3, 8, 8)).unwrap().layers
    }

    fn frozen(values: serde_json::Value, epoch: usize) -> String {
        let settings = TrainSettings::parse(values.as_object().unwrap()).unwrap();
        let freezing = Freezing::at(&settings, &layers(), epoch, 10);
        let since = |row: usize| freezing.learns_since(&format!("backbone.{row}.0.conv.weight"));
        (0..7).map(|row| since(row).map_or("x".to_owned(), |since| since.to_string())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_are_frozen_up_to_the_last_one_with_weights() {
        assert_eq!(frozen(json!({}), 1), "0 0 0 0 0 0 0");
        assert_eq!(frozen(json!({"freeze_until": 2}), 1), "x 0 0 0 0 0 0");
        assert_eq!(frozen(json!({"freeze_until": 6}), 9), "x x x 0 0 0 0");
    }

    #[test]
    fn rows_begin_to_learn_from_the_head_down() {
        let settings = json!({"freeze_until": 6, "unfreeze_every": 2});
        let seen: Vec<String> = (1..=5).map(|epoch| frozen(settings.clone(), epoch)).collect();
        assert_eq!(seen, ["x x x 0 0 0 0", "x x x 0 0 0 0", "x 20 20 0 0 0 0", "x 20 20 0 0 0 0", "40 20 20 0 0 0 0"]);
    }

    #[test]
    fn something_must_learn() {
        let problem = |until: usize| {
            let settings = TrainSettings { freeze_until: Some(until), ..TrainSettings::default() };
            freezing_problem(&settings, &layers(), 7)
        };
        assert_eq!(problem(6), None);
        assert!(problem(7).unwrap().contains("rows 0 to 6, 6 is the last with weights"));
    }
}

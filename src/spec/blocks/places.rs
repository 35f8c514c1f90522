//! Where a definition says each of its steps.

use crate::spec::{diagnostic::Span, yaml::Yaml};
use std::{collections::BTreeMap, sync::Arc};

/// Where a file's `blocks:` says each step.
#[derive(Clone, Debug, Default)]
pub struct StepPlaces(Arc<BTreeMap<String, Span>>);

impl StepPlaces {
    /// The places in `file`, a spec.
    pub(in crate::spec) fn of(file: &Yaml) -> Self {
        let mut places = BTreeMap::new();
        for entry in file.get("blocks").and_then(Yaml::as_map).unwrap_or_default() {
            if let Some(layers) = entry.value.get("layers") {
                note_steps(layers, &format!("{}.layers", entry.key), &mut places);
            }
        }
        Self(Arc::new(places))
    }

    /// The place of one step.
    pub fn get(&self, path: &str) -> Option<Span> {
        self.0.get(path).copied()
    }
}

fn note_steps(steps: &Yaml, path: &str, places: &mut BTreeMap<String, Span>) {
    for (index, step) in steps.as_list().unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{index}]");
        places.insert(path.clone(), step.span);
        for form in ["layers", "residual"] {
            step.get(form).into_iter().for_each(|inner| note_steps(inner, &format!("{path}.{form}"), places));
        }
        let branches = step.get("branches").and_then(Yaml::as_list).unwrap_or_default();
        for (index, branch) in branches.iter().enumerate() {
            note_steps(branch, &format!("{path}.branches[{index}]"), places);
        }
    }
}

//! All that a training needs to go on as if it had never stopped.

use super::{Plateau, State};
use crate::evaluation::Metrics;
use crate::weights::{Array, Weights, WeightsError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// What the names of the optimizer's tensors begin with in `last.safetensors`.
const OPTIMIZER: &str = "optimizer.";
/// What the names of the averaged tensors begin with.
const AVERAGE: &str = "average.";

/// A training between two steps: the contents of `last.safetensors`.
///
/// It holds no time of day and no duration: trainings with the same settings have the same file,
/// whether they were interrupted or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The executor's part.
    pub state: State,
    /// The running average of the weights, if one is kept.
    pub average: Option<Weights>,
    /// The loop's part.
    pub progress: Progress,
    /// The program and the kind of machine that wrote it: only there is a resume bit-identical.
    pub build: String,
}

/// How far a training has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are finished, validation included.
    pub epochs: usize,
    /// Steps done of the epoch after them.
    pub steps: usize,
    /// Sum of the losses of these steps.
    pub loss: f64,
    /// Training images that were answered right in these steps.
    pub correct: usize,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// What a plateau schedule remembers.
    #[serde(default)]
    pub plateau: Plateau,
    /// Lines of each file that is only appended to; what a killed run wrote after them is cut off.
    /// Counted in lines because the bytes of a line depend on how long things took.
    pub lines: BTreeMap<String, usize>,
}

/// The best epoch of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: usize,
    /// Measures on the validation images.
    pub validation: Metrics,
}

/// The part of a file's metadata that only a checkpoint has.
#[derive(Serialize, Deserialize)]
struct Header {
    progress: Progress,
    optimizer_steps: u64,
    build: String,
}

impl Checkpoint {
    /// Writes a safetensors file, whole or not at all: weights under their names, the optimizer's
    /// moments as `optimizer.{moment}.{parameter}`, averages as `average.{tensor}`, the rest in the metadata beside `metadata`.
    ///
    /// # Errors
    /// When the file cannot be written; an older one is then still whole.
    pub fn save(&self, path: &Path, metadata: &Value) -> Result<(), WeightsError> {
        let header = Header {
            progress: self.progress.clone(),
            optimizer_steps: self.state.optimizer_steps,
            build: self.build.clone(),
        };
        let mut metadata = metadata.clone();
        metadata["training"] = json!(header);
        let prefixed = |prefix: &'static str, tensors: &Weights| {
            let tensors = tensors.iter().map(|(name, array)| (format!("{prefix}{name}"), array.clone()));
            tensors.collect::<Vec<_>>()
        };
        let average = self.average.as_ref().map(|average| prefixed(AVERAGE, average));
        let tensors = prefixed("", &self.state.weights).into_iter().chain(prefixed(OPTIMIZER, &self.state.moments));
        tensors.chain(average.into_iter().flatten()).collect::<Weights>().save(path, &metadata)
    }

    /// Of the tensors of a weights file, those of the network.
    pub fn network_tensors(tensors: Weights) -> Weights {
        let own = |name: &str| !name.starts_with(OPTIMIZER) && !name.starts_with(AVERAGE);
        tensors.into_iter().filter(|(name, _)| own(name)).collect()
    }

    /// Reads what [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, or holds weights alone.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let (tensors, metadata) = Weights::load(path)?;
        let metadata: Value = serde_json::from_str(metadata.get("nasgen").map_or("", String::as_str))
            .map_err(|error| WeightsError::new(path, format!("its metadata is damaged: {error}")))?;
        let header = Header::deserialize(&metadata["training"])
            .map_err(|error| WeightsError::new(path, format!("no training can go on from it: {error}")))?;
        let part = |prefix: &str| -> Weights {
            let named = |(name, array): (&str, &Array)| Some((name.strip_prefix(prefix)?.to_owned(), array.clone()));
            tensors.iter().filter_map(named).collect()
        };
        let (moments, average) = (part(OPTIMIZER), part(AVERAGE));
        let average = if average.iter().next().is_some() { Some(average) } else { None };
        let weights = Self::network_tensors(tensors);
        let state = State { weights, moments, optimizer_steps: header.optimizer_steps };
        Ok(Self { state, average, progress: header.progress, build: header.build })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_to_the_bit_and_weights_alone_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |name: &str, values: &[f32]| {
            (name.to_owned(), Array { shape: vec![values.len()], values: values.to_vec() })
        };
        let best = Best { epoch: 2, validation: Metrics { accuracy: 0.1 + 0.2, macro_f1: 1.0 / 3.0, loss: 1e-300 } };
        let mut checkpoint = Checkpoint {
            state: State {
                weights: [tensor("a.weight", &[1.0, -0.0]), tensor("b", &[f32::MIN_POSITIVE])].into_iter().collect(),
                moments: [tensor("exp_avg.a.weight", &[1e-40, 3.0])].into_iter().collect(),
                optimizer_steps: 77,
            },
            average: Some([tensor("b", &[0.25])].into_iter().collect()),
            progress: Progress {
                epochs: 3,
                steps: 5,
                loss: 2.0f64.sqrt() * 1e-7,
                correct: 11,
                best: Some(best),
                plateau: Plateau::default(),
                lines: BTreeMap::from([("results.csv".into(), 4)]),
            },
            build: "here".into(),
        };
        checkpoint.progress.plateau.observe(0.1 + 0.2, 0);
        let path = folder.path().join("last.safetensors");
        checkpoint.save(&path, &json!({"format": 1})).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint);

        checkpoint.state.weights.save(&path, &json!({"format": 1})).unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains("last.safetensors") && error.contains("no training can go on from it"), "{error}");
    }
}

//! The tensors of a network: one owner for training, checkpoints and export.

use crate::files;
use nasgen_modules::{Layers, TensorSpec, randomness::Stream};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Named tensors, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Array>,
}

/// One tensor, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sides.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// A weights file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct WeightsError {
    path: String,
    problem: String,
}

impl WeightsError {
    /// `problem` with the file at `path`.
    pub(crate) fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.display().to_string(), problem: problem.into() }
    }
}

impl Weights {
    /// The values with which training begins: a function of the seed and each tensor's name.
    pub fn initial(layers: &Layers, seed: u64) -> Self {
        let tensor = |spec: TensorSpec| {
            let count = spec.shape.iter().product();
            let values = Stream::new(seed, &spec.name).initial(spec.initial, count);
            (spec.name, Array { shape: spec.shape, values })
        };
        layers.tensors().into_iter().map(tensor).collect()
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.tensors.get(name)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.tensors.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// The name of the first tensor, by name, that holds a NaN or an infinity.
    pub fn not_finite(&self) -> Option<&str> {
        let bad = |array: &Array| array.values.iter().any(|value| !value.is_finite());
        self.iter().find(|(_, array)| bad(array)).map(|(name, _)| name)
    }

    /// Moves every value by `share` of the way to the one of `other`.
    pub fn move_towards(&mut self, other: &Self, share: f64) {
        for (name, array) in &mut self.tensors {
            let Some(newest) = other.get(name) else { continue };
            for (value, newest) in array.values.iter_mut().zip(&newest.values) {
                *value += share as f32 * (newest - *value);
            }
        }
    }

    /// What does not fit between these tensors and those that `layers` have.
    pub fn misfits(&self, layers: &Layers) -> Vec<String> {
        let specs: BTreeMap<String, Vec<usize>> =
            layers.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
        let missing = specs.iter().filter_map(|(name, shape)| match self.get(name) {
            None => Some(format!("`{name}` is missing")),
            Some(array) if array.shape != *shape => {
                Some(format!("`{name}`: wanted shape {shape:?}, got {:?}", array.shape))
            }
            Some(_) => None,
        });
        let surplus = self.tensors.keys().filter(|name| !specs.contains_key(*name));
        missing.chain(surplus.map(|name| format!("the network has no `{name}`"))).collect()
    }

    /// Writes a safetensors file, whole or not at all. `metadata` becomes one JSON object under
    /// the key `nasgen`, so that equal contents give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written; an older one is then still whole.
    pub fn save(&self, path: &Path, metadata: &serde_json::Value) -> Result<(), WeightsError> {
        let failed = |problem: String| WeightsError::new(path, problem);
        let bytes: Vec<(&str, &Array, Vec<u8>)> = self
            .iter()
            .map(|(name, array)| (name, array, array.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let views: Vec<(&str, TensorView<'_>)> = bytes
            .iter()
            .map(|(name, array, bytes)| Ok((*name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|error| failed(error.to_string()))?;
        let metadata = HashMap::from([("nasgen".to_owned(), metadata.to_string())]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))?;
        files::write_whole(path, &file).map_err(|error| failed(error.to_string()))
    }

    /// Reads a safetensors file of floating-point or integer tensors and its string metadata.
    ///
    /// # Errors
    /// When it cannot be read or holds other types.
    pub fn load(path: &Path) -> Result<(Self, BTreeMap<String, String>), WeightsError> {
        let failed = |problem: String| WeightsError::new(path, problem);
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&bytes).map_err(failed)
    }

    /// The same from the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<(Self, BTreeMap<String, String>), String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let tensor = |(name, view): (String, TensorView<'_>)| match values_of(view.dtype(), view.data()) {
            Some(values) => Ok((name, Array { shape: view.shape().to_vec(), values })),
            None => Err(format!("`{name}` is of type {:?}; wanted F32", view.dtype())),
        };
        let tensors = file.tensors().into_iter().map(tensor).collect::<Result<_, String>>()?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok((tensors, metadata))
    }
}

/// Values that are stored as `dtype`, little end first; `None` for a type that is not read.
pub(crate) fn values_of(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(bytes, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(bytes, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        Dtype::I16 => each(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
        Dtype::I8 => each(bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
        Dtype::U8 | Dtype::BOOL => each(bytes, |[byte]| f32::from(byte)),
        _ => return None,
    })
}

impl IntoIterator for Weights {
    type Item = (String, Array);
    type IntoIter = std::collections::btree_map::IntoIter<String, Array>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

impl FromIterator<(String, Array)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Array)>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::{Blocks, Shape, Site};

    fn weights(seed: u64) -> (Layers, Weights) {
        let block = Blocks::builtin()
            .get("MBConv")
            .unwrap()
            .parse(&[6.into(), 8.into(), 1.into(), 3.into()], &Default::default());
        let layers = block.unwrap().layers(&Site::row(Shape::image(8, 4, 4))).unwrap();
        let weights = Weights::initial(&layers, seed);
        (layers, weights)
    }

    #[test]
    fn a_file_gives_back_what_was_saved_and_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (layers, weights) = weights(7);
        let paths = [folder.path().join("a"), folder.path().join("b")];
        for path in &paths {
            weights.save(path, &serde_json::json!({"classes": ["a", "b"], "format": 1})).unwrap();
        }
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
        let (loaded, metadata) = Weights::load(&paths[0]).unwrap();
        assert_eq!(loaded, weights);
        assert_eq!(metadata["nasgen"], r#"{"classes":["a","b"],"format":1}"#);
        assert!(loaded.misfits(&layers).is_empty());
    }

    #[test]
    fn initial_values_depend_on_seed_and_name_alone() {
        assert_eq!(weights(1).1, weights(1).1);
        assert_ne!(weights(1).1, weights(2).1);
        let (_, weights) = weights(1);
        assert_ne!(
            weights.get("expand.weight").unwrap().values[..8],
            weights.get("project.weight").unwrap().values[..8]
        );
        assert!(weights.get("expand.norm.running_var").unwrap().values.iter().all(|value| *value == 1.0));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        for bytes in [&b""[..], b"rubbish", &[255; 64]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Weights::load(&path).unwrap_err().to_string().contains("w.safetensors"));
        }
    }
}

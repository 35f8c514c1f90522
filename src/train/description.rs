//! What a weights file says about the network in it.

use crate::data::{Fit, ImageFormat, Normalisation, UnknownFit};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All that is needed to answer for an image exactly as in training; under the key `nasgen` in a
/// weights file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this struct: 1.
    pub format: u32,
    /// Version of the program that wrote it.
    pub nasgen: String,
    /// The model spec, as YAML.
    pub spec: String,
    /// Names of the classes, in the order of the scores.
    pub classes: Vec<String>,
    /// Channels, height, width.
    pub input: [usize; 3],
    /// Of the training images' pixel values in `0.0..=1.0`, per channel.
    pub mean: Vec<f32>,
    /// The same.
    pub deviation: Vec<f32>,
    /// How images of another size are fitted: see [`Fit`].
    pub fit: String,
}

impl Description {
    /// Reads it from a weights file's metadata.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn read(path: &Path) -> Result<(Self, crate::weights::Weights), crate::weights::WeightsError> {
        let (weights, metadata) = crate::weights::Weights::load(path)?;
        let failed = |problem: String| crate::weights::WeightsError::new(path, problem);
        let text =
            metadata.get("nasgen").ok_or_else(|| failed("it does not say which network it belongs to".into()))?;
        let description =
            serde_json::from_str(text).map_err(|error| failed(format!("its metadata is damaged: {error}")))?;
        Ok((description, weights))
    }

    /// What the network takes.
    ///
    /// # Errors
    /// When the way of fitting is unknown.
    pub fn image_format(&self) -> Result<ImageFormat, UnknownFit> {
        let [channels, height, width] = self.input;
        Ok(ImageFormat { channels, height, width, fit: self.fit.parse::<Fit>()? })
    }

    /// How pixel values become the network's.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.mean.clone(), deviation: self.deviation.clone() }
    }
}

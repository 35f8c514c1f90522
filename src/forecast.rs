//! What a training will need, before it begins.

use crate::{
    network::Network,
    spec::TrainSettings,
    train::{OptimizerRule, TrainingData},
};

/// f32.
const BYTES_PER_VALUE: u64 = 4;

/// Batches of images that exist at a time: one in use and those made ahead.
const BATCHES: u64 = 3;

/// Copies of all parameters and moments while a checkpoint is written.
const CHECKPOINT_COPIES: u64 = 2;

/// For each value that a layer puts out the reference keeps so many: results, gradients, windows, the graph.
/// Measured: see [`training_bytes`].
const REFERENCE_COPIES: u64 = 6;

/// Bytes of memory that training with batches of so many images takes, beside the decoded images. For the
/// engine they follow from its plan; for the reference, whose memory candle's autograd decides, they are a
/// multiple of what all layers put out.
pub fn training_bytes(network: &Network, executor: &str, batch: u64) -> u64 {
    let layers = &network.layers;
    let parameters = network.params().saturating_mul(BYTES_PER_VALUE);
    let compiled = nasgen_engine::training_bytes(layers, usize::try_from(batch).unwrap_or(usize::MAX));
    let running = match compiled {
        Some(bytes) if executor != "reference" => bytes,
        _ => {
            let values = layers.activation_elements().saturating_mul(batch).saturating_mul(REFERENCE_COPIES);
            values.saturating_mul(BYTES_PER_VALUE).saturating_add(parameters.saturating_mul(4))
        }
    };
    let image = network.input.elements().saturating_mul(BYTES_PER_VALUE);
    let images = image.saturating_mul(batch).saturating_mul(BATCHES);
    running.saturating_add(images).saturating_add(parameters.saturating_mul(3 * CHECKPOINT_COPIES))
}

/// Bytes that the run's folder will take at most: two checkpoints while one replaces the other, the best
/// weights, and tables.
pub fn disk_bytes(network: &Network, settings: &TrainSettings, data: &TrainingData<'_>) -> u64 {
    /// A row of `results.csv`.
    const ROW: u64 = 120;
    /// `aug_preview.png`, `model.yaml`, `config.yaml` and the heads of files.
    const REST: u64 = 300_000;
    let tensors = network.layers.tensors();
    let values: u64 = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    let weights = values * BYTES_PER_VALUE;
    let moments = OptimizerRule::of(settings).moments().len() as u64 * network.params() * BYTES_PER_VALUE;
    let average = if settings.ema > 0.0 { weights } else { 0 };
    let names = data.train.names.iter().chain(&data.validation.names);
    // Name, class, part and checksum of each image.
    let split: u64 = names.map(|name| name.len() as u64 + 30).sum();
    2 * (weights + moments + average) + weights + split + settings.epochs as u64 * ROW + REST
}

//! What a training will need, before it begins.

use crate::{
    network::Network,
    spec::TrainSettings,
    train::{OptimizerRule, TrainingData},
};
use nasgen_modules::{Layers, Primitive};

/// f32.
const BYTES_PER_VALUE: u64 = 4;

/// Batches of images that exist at a time: one in use and those made ahead.
const BATCHES: u64 = 3;

/// Copies of all parameters and moments while a checkpoint is written.
const CHECKPOINT_COPIES: u64 = 2;

/// Bytes of the program itself with its threads.
const PROGRAM: u64 = 32_000_000;

/// By how much measured peaks exceed the engine's plan at most, in quarters: room for inputs that are read twice,
/// for each thread, and what the allocator keeps. Per image 0.77 to 1.23 of the plan over LeNet, SqueezeNet and
/// MobileNetV3.
const ENGINE_QUARTERS: u64 = 5;

/// For each value that a layer puts out the reference keeps so many: results, gradients, the graph. This and the
/// next are fitted to LeNet's measured 1.85 MB for each image of 32×32.
const REFERENCE_COPIES: u64 = 6;

/// And for each value that the windows of a convolution see: gathered, their places, their gradients.
const REFERENCE_WINDOWS: u64 = 5;

/// Bytes of memory that training with batches of so many images takes, beside the decoded images. For the
/// engine they follow from its plan; for the reference, whose memory candle's autograd decides, they are a
/// multiple of what all layers put out.
pub fn training_bytes(network: &Network, executor: &str, batch: u64) -> u64 {
    let layers = &network.layers;
    let parameters = network.params().saturating_mul(BYTES_PER_VALUE);
    let compiled = nasgen_engine::training_bytes(layers, usize::try_from(batch).unwrap_or(usize::MAX));
    let running = match compiled {
        Some(bytes) if executor != "reference" => bytes.saturating_mul(ENGINE_QUARTERS) / 4,
        _ => {
            let results = layers.activation_elements().saturating_mul(REFERENCE_COPIES);
            let values = results.saturating_add(window_elements(layers).saturating_mul(REFERENCE_WINDOWS));
            let bytes = values.saturating_mul(batch).saturating_mul(BYTES_PER_VALUE);
            bytes.saturating_add(parameters.saturating_mul(4))
        }
    };
    let image = network.input.elements().saturating_mul(BYTES_PER_VALUE);
    let images = image.saturating_mul(batch).saturating_mul(BATCHES);
    let checkpoints = parameters.saturating_mul(3 * CHECKPOINT_COPIES);
    running.saturating_add(images).saturating_add(checkpoints).saturating_add(PROGRAM)
}

/// Values that all windows of convolutions larger than 1×1 see for one image, each as often as it is seen.
fn window_elements(layers: &Layers) -> u64 {
    let windows = layers.nodes().iter().map(|node| match &node.primitive {
        Primitive::Convolution(convolution) if convolution.window.kernel != [1, 1] => {
            let [height, width] = node.output.size().unwrap_or([1, 1]);
            let seen =
                convolution.window.kernel[0] * convolution.window.kernel[1] * layers.input_shapes(node)[0].channels();
            (height * width) as u64 * seen as u64
        }
        _ => 0,
    });
    windows.fold(0, u64::saturating_add)
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

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::Shape;

    fn lenet() -> Network {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/model_configs/lenet.yml");
        let source = crate::spec::SourceText::read(std::path::Path::new(path)).unwrap();
        let spec = crate::spec::ModelSpec::parse(&source, &nasgen_modules::Blocks::builtin()).unwrap();
        Network::plan(&spec, Shape::image(3, 32, 32)).unwrap()
    }

    /// Peaks of `nasgen bench --train` with 64 images: 43.8 MB on the engine, 158 MB on the reference.
    #[test]
    fn forecasts_are_above_what_was_measured_and_not_far() {
        for (executor, measured) in [("engine", 43.8e6), ("reference", 157.6e6)] {
            let forecast = training_bytes(&lenet(), executor, 64) as f64;
            assert!((0.95 * measured..1.5 * measured).contains(&forecast), "{executor}: {forecast}");
        }
    }
}

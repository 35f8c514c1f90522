//! `nasgen train`: a network learns from images.

mod settings;

use super::{
    device,
    failure::{Failure, Kind},
    output::Output,
    progress::Progress,
    show::{input_shape, parse_input, plan},
};
use crate::{
    data::{Dataset, Fit, ImageFormat, Images, Normalisation, Source, stratified},
    engine,
    network::Network,
    numbers::{grouped, short},
    reference::Reference,
    spec::{ModelSpec, SourceText, TrainSettings},
    train::{self, Executor, OptimizerRule, RunFolder, RunFolderError, Summary, TrainError, TrainingData},
    weights::Weights,
};
use candle_core::Device;
use nasgen_modules::{Blocks, Shape};
use serde_json::{Value, json};
use settings::SettingFlags;
use std::path::{Path, PathBuf};

/// Train a network on images.
///
/// Settings come from the flags, else from the spec's `train:`, else they are the default recipe:
/// 30 epochs, batch 64, SGD with Nesterov momentum 0.9, learning rate 0.05 with warm-up and cosine,
/// weight decay 0.0005, label smoothing 0.1, flip and crop.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The model spec.
    config: PathBuf,
    /// Images: `synthetic` (built in), or a folder: class folders (with or without train, val, test
    /// above them), CIFAR binary files, or MNIST-style IDX files.
    #[arg(long, default_value = "synthetic", value_name = "SOURCE")]
    data: Source,
    /// How images of another size are fitted: letterbox, crop or stretch.
    #[arg(long, default_value = "letterbox")]
    fit: Fit,
    /// Shape that the images are brought to, such as 3x64x64 (default: the spec's, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    /// Replace the last layer by one for this many classes.
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    #[command(flatten)]
    settings: SettingFlags,
    /// cpu, cuda or cuda:INDEX.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// What runs the network: the engine (fast, CPU only) or the reference (plain candle)
    /// [default: engine on the CPU, else reference].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
    /// Folder for the results (default: runs/DATE-TIME-NAME).
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
}

/// The executors that a user can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExecutorName {
    Engine,
    Reference,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let device = device::open(&arguments.device)?;
    let source = SourceText::read(&arguments.config)?;
    let mut spec = ModelSpec::parse(&source, blocks)?;
    let settings = arguments.settings.over(&spec.train)?;
    if let Some(classes) = arguments.classes {
        spec = spec.with_classes(classes).map_err(|problem| Failure::usage(format!("--classes: {problem}")))?;
    }
    if let Some([channels, height, width]) = arguments.input {
        (spec.input_channel, spec.input_size) = (channels, Some([height, width]));
    }
    let network = plan(&source, &spec, input_shape(&spec, None))?;
    network.notes.iter().for_each(|note| output.note(note));
    note_reference(arguments.executor, &network, output);

    let data = load(arguments, &network, output)?;
    check_classes(&network, &data)?;
    let parts = split(data, &settings.values, output)?;
    check_batch(&network, &parts, &settings.values)?;
    let folder = make_folder(arguments)?;
    folder.write("config.yaml", &settings.to_yaml(arguments, &network))?;
    let changed = arguments.classes.is_some() || arguments.input.is_some();
    folder.write("model.yaml", &if changed { spec.to_yaml() } else { source.text.clone() })?;
    let normalisation = Normalisation::of(&parts.train);
    let metadata = metadata(&spec, &network, &parts.classes, &normalisation, arguments.fit);
    let weights = Weights::initial(&network.layers, settings.values.seed);
    let rule = OptimizerRule::of(&settings.values);
    let mut executor = executor(arguments.executor, &network, &weights, rule, settings.values.seed, &device)?;

    output.message(&headline(&parts, &network, &folder, arguments));
    let training = TrainingData {
        train: &parts.train,
        validation: &parts.validation,
        classes: parts.classes.len(),
        normalisation,
    };
    let mut progress = Progress::new(settings.values.epochs);
    let trained = train::train(&mut *executor, &training, &settings.values, &folder, &metadata, &mut progress);
    progress.finish();
    let summary = trained.map_err(|error| failure(&error, &folder))?;
    output.result(
        || report(&summary, &folder, arguments),
        || to_json(&summary, &folder, &network, &parts, arguments, executor.name()),
    )
}

/// Says that the engine cannot run the network, where nobody asked for an executor.
pub(super) fn note_reference(name: Option<ExecutorName>, network: &Network, output: &Output) {
    if let (None, Some(label)) = (name, network.custom_operation()) {
        output.note(&format!("`{label}` is a custom operation: the network runs on the reference executor"));
    }
}

/// The executor that was asked for, else the fastest that can run on the device.
pub(super) fn executor(
    name: Option<ExecutorName>,
    network: &Network,
    weights: &Weights,
    rule: OptimizerRule,
    seed: u64,
    device: &Device,
) -> Result<Box<dyn Executor>, Failure> {
    let layers = &network.layers;
    let name = name.or(network.custom_operation().map(|_| ExecutorName::Reference));
    match (name, device.is_cpu()) {
        (Some(ExecutorName::Engine), false) => {
            Err(Failure::usage("--executor engine runs on the CPU; use --executor reference on a GPU"))
        }
        (None | Some(ExecutorName::Engine), true) => {
            let engine = engine::compile(layers, weights, rule, seed);
            Ok(Box::new(engine.map_err(|error| executor_failure(&error.0))?))
        }
        (Some(ExecutorName::Reference), _) | (None, false) => {
            let reference = Reference::new(layers, weights, rule, seed, device);
            Ok(Box::new(reference.map_err(|error| executor_failure(&error.to_string()))?))
        }
    }
}

fn load(arguments: &Arguments, network: &Network, output: &Output) -> Result<Dataset, Failure> {
    let Shape::Image { channels, height, width } = network.input else {
        return Err(Failure::usage("the network takes no images"));
    };
    let format = ImageFormat { channels, height, width, fit: arguments.fit };
    let data = arguments.data.load(&format).map_err(|error| Failure::new(Kind::Data, error.to_string()))?;
    data.notes.iter().for_each(|note| output.note(note));
    Ok(data)
}

fn check_classes(network: &Network, data: &Dataset) -> Result<(), Failure> {
    let wanted = data.classes.len();
    match network.classes() {
        None => Err(Failure::usage(format!(
            "the network ends in an image of {}, not in class scores; end it with GlobalAvgPool, Flatten and Linear",
            network.layers.output(),
        ))),
        Some(classes) if classes != wanted => Err(Failure::usage(format!(
            "the network gives {classes} class scores, but {} has {wanted} classes; \
             --classes {wanted} replaces the last layer if it is a Linear or a FixedConv",
            data.name,
        ))),
        Some(_) => Ok(()),
    }
}

/// The images of a training.
struct Parts {
    name: String,
    classes: Vec<String>,
    train: Images,
    validation: Images,
}

/// The data's own validation split, else a stratified share of the training images. The test split
/// is not touched.
fn split(data: Dataset, settings: &TrainSettings, output: &Output) -> Result<Parts, Failure> {
    let Dataset { name, classes, train, validation, .. } = data;
    let (train, validation) = match validation {
        Some(validation) => (train, validation),
        None => {
            let (learnt, measured) = stratified(&train.labels, classes.len(), settings.val, settings.seed);
            (train.subset(&learnt), train.subset(&measured))
        }
    };
    let counts = validation.class_counts(classes.len());
    let unmeasured: Vec<&str> =
        classes.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(class, _)| class.as_str()).collect();
    if !unmeasured.is_empty() && !validation.is_empty() {
        output.note(&format!("no validation image of {}: the measures say nothing of it", unmeasured.join(", ")));
    }
    if validation.is_empty() {
        let message = format!("no image is left for validation; raise --val (now {})", settings.val);
        return Err(Failure::new(Kind::Data, message));
    }
    Ok(Parts { name, classes, train, validation })
}

/// A norm cannot learn from one value; that would show only in the first step.
fn check_batch(network: &Network, parts: &Parts, settings: &TrainSettings) -> Result<(), Failure> {
    match network.norm_of_one_value() {
        Some(norm) if settings.batch.min(parts.train.len()) < 2 => Err(Failure::usage(format!(
            "the norm `{norm}` sees one pixel of an image, so a batch of one gives it one value per channel; \
             raise --batch, or --input"
        ))),
        _ => Ok(()),
    }
}

fn make_folder(arguments: &Arguments) -> Result<RunFolder, Failure> {
    match &arguments.run {
        Some(path) => Ok(RunFolder::create(path)?),
        None => {
            let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
            let name = arguments.config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(RunFolder::create_in(Path::new("runs"), &format!("{time}-{name}"))?)
        }
    }
}

/// What a weights file says about itself.
fn metadata(spec: &ModelSpec, network: &Network, classes: &[String], normalisation: &Normalisation, fit: Fit) -> Value {
    json!({
        "format": 1,
        "nasgen": env!("CARGO_PKG_VERSION"),
        "spec": spec.to_yaml(),
        "classes": classes,
        "input": network.input.dims(),
        "mean": normalisation.mean,
        "deviation": normalisation.deviation,
        "fit": fit.to_string(),
    })
}

fn headline(parts: &Parts, network: &Network, folder: &RunFolder, arguments: &Arguments) -> String {
    format!(
        "data    {}: {} training and {} validation images, {} classes\n\
         model   {}: {} parameters, {} MACs on {}\n\
         run     {}",
        parts.name,
        grouped(parts.train.len() as u64),
        grouped(parts.validation.len() as u64),
        parts.classes.len(),
        arguments.config.display(),
        grouped(network.params()),
        short(network.macs()),
        network.input,
        folder.path().display(),
    )
}

fn report(summary: &Summary, folder: &RunFolder, arguments: &Arguments) -> String {
    let Summary { best, epochs, images_per_second, seconds } = summary;
    let run = folder.path().display();
    // The run's own model has what --classes and --input changed.
    let model = quoted(&format!("{run}/model.yaml"));
    let more = if matches!(arguments.data, Source::Synthetic) {
        format!("nasgen train {model} --data FOLDER_OF_YOUR_IMAGES --classes N")
    } else {
        format!("nasgen train {model} --data {} --epochs {}", quoted(&arguments.data.to_string()), epochs * 2)
    };
    format!(
        "best    epoch {} of {epochs}: validation accuracy {:.1} %, macro-F1 {:.3}, loss {:.3}\n\
         time    {seconds:.0} s, {images_per_second:.0} images per second\n\
         files   {run}: best.safetensors, last.safetensors, results.csv, model.yaml, config.yaml\n\
         next:   {more}\n\
         \x20       nasgen show {model}",
        best.epoch,
        best.validation.accuracy * 100.0,
        best.validation.macro_f1,
        best.validation.loss,
    )
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn to_json(
    summary: &Summary,
    folder: &RunFolder,
    network: &Network,
    parts: &Parts,
    arguments: &Arguments,
    executor: &str,
) -> Value {
    let best = summary.best;
    json!({
        "run": folder.path(),
        "epochs": summary.epochs,
        "params": network.params(),
        "macs": network.macs(),
        "device": arguments.device,
        "executor": executor,
        "train_images": parts.train.len(),
        "val_images": parts.validation.len(),
        "best": {
            "epoch": best.epoch,
            "accuracy": best.validation.accuracy,
            "macro_f1": best.validation.macro_f1,
            "loss": best.validation.loss,
        },
        "images_per_second": summary.images_per_second,
        "seconds": summary.seconds,
    })
}

fn failure(error: &TrainError, folder: &RunFolder) -> Failure {
    match error {
        TrainError::Diverged { learning_rate, .. } => {
            let advice = format!("try --lr {:.0e}", learning_rate / 10.0);
            let message = format!("{error}; {advice}. Saved before: {}", folder.path().display());
            Failure::new(Kind::Diverged, message)
        }
        TrainError::Executor(error) => executor_failure(&error.0),
        TrainError::RunFolder(error) => Failure::new(Kind::Failed, error.to_string()),
    }
}

fn executor_failure(message: &str) -> Failure {
    let out_of_memory = message.to_lowercase().contains("out of memory") || message.contains("OUT_OF_MEMORY");
    let kind = if out_of_memory { Kind::OutOfMemory } else { Kind::Failed };
    Failure::new(kind, message)
}

impl From<RunFolderError> for Failure {
    fn from(error: RunFolderError) -> Self {
        let kind = if matches!(error, RunFolderError::NotEmpty(_)) { Kind::Usage } else { Kind::Failed };
        Self::new(kind, error.to_string())
    }
}

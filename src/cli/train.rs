//! `nasgen train`: a network learns from images.

mod build;
mod folds;
mod init;
mod memory;
mod resume;
mod settings;

use super::{
    device,
    failure::{Failure, Kind},
    interrupt::Interrupt,
    output::Output,
    progress::Progress,
    report,
    show::{input_shape, parse_input, plan},
};
use crate::{
    data::{DataError, Dataset, Fit, ImageFormat, Images, Partition, Source, SplitFile, UnknownFit, preview},
    engine,
    evaluation::{Interval, Metrics},
    network::Network,
    numbers::{grouped, short},
    reference::{Mode, Reference},
    spec::{Diagnostic, ModelSpec, SourceText, TrainSettings, yaml},
    train::{
        self, Best, Checkpoint, Description, Divergence, Executor, Freezing, Job, OptimizerRule, Origin, Problem,
        RunConfig, RunFolder, RunFolderError, Summary, TrainError, TrainingData,
    },
    weights::Weights,
};
use candle_core::Device;
use clap::ValueEnum;
use folds::Folds;
use init::Beginning;
use nasgen_modules::{Blocks, Shape, nearest};
use serde_json::{Map, Value, json};
use settings::{SettingFlags, Settings};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// Train a network on images.
///
/// Settings come from the flags, else from --set, the environment, the file of --config, the spec's
/// `train:`, else they are the default recipe:
/// 30 epochs, batch 64, SGD with Nesterov momentum 0.9, learning rate 0.05 with warm-up and cosine,
/// weight decay 0.0005, label smoothing 0.1, flip and crop.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The model spec.
    #[arg(required_unless_present_any = ["resume", "settings_file"])]
    config: Option<PathBuf>,
    /// A file of settings, such as the config.yaml of a run, which this repeats: config (the model spec),
    /// data, fit, device, executor, split, subset, init, kfold, and train with the settings below.
    #[arg(id = "settings_file", long = "config", value_name = "FILE")]
    settings_file: Option<PathBuf>,
    /// Set one of the settings below, such as lr=0.02. A flag goes before it; it goes before a variable of
    /// the environment such as NASGEN_LR, that before --config, and that before the spec.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// Images: `synthetic` (built in), a folder: class folders (with or without train, val, test above
    /// them), CIFAR binary files, or MNIST-style IDX files; or a CSV table path,label[,split]
    /// [default: synthetic].
    #[arg(long, value_name = "SOURCE")]
    data: Option<Source>,
    /// How images of another size are fitted: letterbox, crop or stretch [default: letterbox].
    #[arg(long)]
    fit: Option<Fit>,
    /// Shape that the images are brought to, such as 3x64x64 (default: the spec's, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    /// Replace the last layer by one for this many classes.
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Which image is for what, as the split.csv of another run says.
    #[arg(long, value_name = "FILE", conflicts_with = "kfold")]
    split: Option<PathBuf>,
    /// Learn from a part of the training images, of each class the same: 10% or 3000.
    #[arg(long, value_name = "SHARE|N")]
    subset: Option<String>,
    /// Begin with these weights (fine-tuning): a run, a weights file of nasgen, or one of torchvision or timm as
    /// safetensors or .pth. A classifier for other classes begins anew.
    #[arg(long, value_name = "FILE|RUN")]
    init: Option<PathBuf>,
    /// Train that many times, each time measuring on another part of the images (cross-validation).
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=100))]
    kfold: Option<u32>,
    #[command(flatten)]
    settings: SettingFlags,
    /// cpu, cuda or cuda:INDEX [default: cpu].
    #[arg(long)]
    device: Option<String>,
    /// What runs the network: the engine (fast, CPU only) or the reference (plain candle)
    /// [default: engine on the CPU, else reference].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
    /// Folder for the results (default: runs/DATE-TIME-NAME).
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Go on with the training in this folder, which was stopped or killed; it ends as if it never
    /// had been. All settings are the run's; --epochs may be raised, and --data name where the same
    /// images are now.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Resume also under another build of nasgen or on another kind of processor, where the result
    /// need not be the same to the bit.
    #[arg(long, requires = "resume")]
    allow_different_build: bool,
}

/// The executors that a user can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExecutorName {
    Engine,
    Reference,
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Reference => "reference",
        })
    }
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    if let Some(folder) = &arguments.resume {
        return resume::run(arguments, folder, blocks, output);
    }
    let file = arguments.settings_file.as_deref().map(SettingsFile::read).transpose()?.unwrap_or_default();
    let path = arguments.config.clone().or_else(|| file.path("config"));
    let path =
        path.ok_or_else(|| Failure::usage("wanted a model spec: as an argument, or as `config:` in --config"))?;
    begin(arguments, &file, &path, blocks, output)
}

/// A training before its first step, or before its next.
struct Prepared {
    config: RunConfig,
    spec: ModelSpec,
    network: Network,
    parts: Partition,
    folder: RunFolder,
}

fn begin(
    arguments: &Arguments,
    file: &SettingsFile,
    path: &Path,
    blocks: &Blocks,
    output: &Output,
) -> Result<(), Failure> {
    let source = SourceText::read(path)?;
    let mut spec = ModelSpec::parse(&source, blocks)?;
    let settings = arguments.settings.over(&arguments.sets, &file.train, &spec.train)?;
    if let Some(classes) = arguments.classes {
        spec = spec.with_classes(classes).map_err(|problem| Failure::usage(format!("--classes: {problem}")))?;
    }
    if let Some([channels, height, width]) = arguments.input {
        (spec.input_channel, spec.input_size) = (channels, Some([height, width]));
    }
    let (mut config, origins) = effective(arguments, file, path, settings)?;
    device::open(&config.device)?;
    let network = plan(&source, &spec, input_shape(&spec, None))?;
    init::check(&config, &network)?;
    network.notes.iter().for_each(|note| output.note(note));
    if !origins.contains_key("executor") && network.custom_operation().is_some() {
        note_reference(None, &network, output);
        config.executor = ExecutorName::Reference.to_string();
    }

    let data = load(&config, &network, output)?;
    let changed = arguments.classes.is_some() || arguments.input.is_some();
    let model = if changed { spec.to_yaml() } else { source.text.clone() };
    if config.kfold.is_some() {
        let folder = make_folder(arguments, path)?;
        folder.write("model.yaml", &model)?;
        folder.write("config.yaml", &config.to_yaml(&origins))?;
        return Folds { config, origins, spec, network, model, folder }.run(data, output);
    }
    let parts = partition(data, &config, output)?;
    check_batch(&network, &parts, &config.settings)?;
    memory::check(&config, &network, &parts)?;
    let folder = make_folder(arguments, path)?;
    write_settings(&folder, &model, &parts, &config, &origins)?;
    let prepared = Prepared { config, spec, network, parts, folder };
    let (summary, _) = go(&prepared, None, output)?;
    output.result(|| text_report(&summary, &prepared), || to_json(&summary, &prepared))
}

/// The files that a resume needs.
fn write_settings(
    folder: &RunFolder,
    model: &str,
    parts: &Partition,
    config: &RunConfig,
    origins: &BTreeMap<String, Origin>,
) -> Result<(), Failure> {
    folder.write("model.yaml", model)?;
    folder.write("split.csv", &parts.split_file().to_csv())?;
    // The last of them: where it is, the others are.
    Ok(folder.write("config.yaml", &config.to_yaml(origins))?)
}

/// All settings of a run that begins, and where those that are not the default came from.
fn effective(
    arguments: &Arguments,
    file: &SettingsFile,
    path: &Path,
    settings: Settings,
) -> Result<(RunConfig, BTreeMap<String, Origin>), Failure> {
    let mut origins = settings.origins;
    let mut choose = |name: &str, flag: Option<String>| {
        let (value, origin) = match flag {
            Some(flag) => (Some(flag), Origin::Flag),
            None => (file.text(name), Origin::File),
        };
        if value.is_some() {
            origins.insert(name.to_owned(), origin);
        }
        value
    };
    let text = |path: &PathBuf| path.display().to_string();
    let data = choose("data", arguments.data.as_ref().map(Source::to_string)).unwrap_or_else(|| "synthetic".into());
    let fit = choose("fit", arguments.fit.map(|fit| fit.to_string()));
    let device = choose("device", arguments.device.clone()).unwrap_or_else(|| "cpu".into());
    let executor = choose("executor", arguments.executor.map(|name| name.to_string()));
    let (split, subset) =
        (choose("split", arguments.split.as_ref().map(text)), choose("subset", arguments.subset.clone()));
    let init = choose("init", arguments.init.as_ref().map(text)).map(absolute);
    let kfold = choose("kfold", arguments.kfold.map(|folds| folds.to_string()));
    let wrong = |name: &str, problem: String| Failure::usage(format!("{name}: {problem}"));
    let fit =
        fit.map(|fit| fit.parse().map_err(|problem: UnknownFit| wrong("fit", problem.to_string()))).transpose()?;
    let fastest = if device == "cpu" { ExecutorName::Engine } else { ExecutorName::Reference };
    let executor = executor.unwrap_or_else(|| fastest.to_string());
    ExecutorName::from_str(&executor, false).map_err(|problem| wrong("executor", problem))?;
    let kfold = kfold.map(|folds| folds.parse().map_err(|_| wrong("kfold", format!("got {folds}")))).transpose()?;
    let Ok(data) = data.parse::<Source>();
    let config = RunConfig {
        config: path.display().to_string(),
        // A resume may be started in another folder.
        data: data.absolute(),
        fit: fit.unwrap_or_default(),
        executor,
        device,
        split,
        subset,
        init,
        kfold,
        settings: settings.values,
    };
    Ok((config, origins))
}

/// The file of `--config`.
#[derive(Default)]
struct SettingsFile {
    /// All but `train`.
    values: Map<String, Value>,
    train: Map<String, Value>,
}

impl SettingsFile {
    const KEYS: [&str; 10] =
        ["config", "data", "fit", "device", "executor", "split", "subset", "init", "kfold", "train"];

    fn read(path: &Path) -> Result<Self, Failure> {
        let source = SourceText::read(path)?;
        let yaml = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        let unknown = |entry: &&yaml::Entry| !Self::KEYS.contains(&entry.key.as_str());
        if let Some(entry) = yaml.as_map().unwrap_or_default().iter().find(unknown) {
            let near = nearest(&entry.key, Self::KEYS).map(|near| format!("did you mean `{near}`?"));
            let diagnostic = Diagnostic::new(format!("unknown setting `{}`", entry.key)).at(entry.key_span).help(near);
            return Err(source.error(vec![diagnostic]).into());
        }
        let Value::Object(mut values) = yaml.to_json() else {
            return Err(source.error(vec![Diagnostic::new("wanted a map of settings").at(yaml.span)]).into());
        };
        let train = match values.shift_remove("train") {
            Some(Value::Object(train)) => train,
            _ => Map::new(),
        };
        Ok(Self { values, train })
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(Into::into)
    }
}

/// Trains, from the beginning or from a checkpoint on.
fn go(
    prepared: &Prepared,
    from: Option<&Checkpoint>,
    output: &Output,
) -> Result<(Summary, Box<dyn Executor>), Failure> {
    let Prepared { config, spec, network, parts, folder } = prepared;
    let device = device::open(&config.device)?;
    let Beginning { weights, normalisation } = Beginning::of(prepared, from, output)?;
    let description = Description {
        format: 1,
        nasgen: env!("CARGO_PKG_VERSION").into(),
        spec: spec.to_yaml(),
        classes: parts.classes.clone(),
        input: sides(network)?,
        mean: normalisation.mean.clone(),
        deviation: normalisation.deviation.clone(),
        fit: config.fit.to_string(),
    };
    let metadata = json!(description);
    let rule = OptimizerRule::of(&config.settings);
    let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
    let mut executor = executor(Some(name), network, &weights, rule, config.settings.seed, &device)?;
    drop(weights);

    if from.is_none() {
        let seen = preview(&parts.train, &train::augmentation(&config.settings), config.settings.seed);
        let seen = seen.map_err(|error| Failure::new(Kind::Failed, format!("cannot draw aug_preview.png: {error}")))?;
        folder.write_bytes("aug_preview.png", &seen)?;
    }
    output.message(&headline(prepared));
    init::frozen(prepared).iter().for_each(|line| output.message(line));
    let data = TrainingData {
        train: &parts.train,
        validation: &parts.validation,
        classes: parts.classes.len(),
        normalisation,
    };
    let interrupt = Interrupt::listen()?;
    let job = Job {
        data: &data,
        settings: &config.settings,
        layers: &network.layers,
        folder,
        metadata: &metadata,
        build: &build::identity(),
        stop: &|| interrupt.asked(),
        now: &|| jiff::Timestamp::now().as_duration().as_secs_f64(),
    };
    let mut progress = Progress::new(config.settings.epochs);
    let trained = train::train(&mut *executor, &job, from, &mut progress);
    progress.finish();
    let summary = trained.map_err(|error| match error {
        TrainError::Diverged(divergence) => diverged(&divergence, &mut *executor, prepared),
        TrainError::Stopped { .. } => stopped(&error, interrupt.kind(), folder),
        TrainError::Executor(error) => executor_failure(&error.0),
        TrainError::RunFolder(error) => error.into(),
    })?;
    report::write(folder.path(), config, network, parts)?;
    Ok((summary, executor))
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

fn load(config: &RunConfig, network: &Network, output: &Output) -> Result<Dataset, Failure> {
    let [channels, height, width] = sides(network)?;
    let format = ImageFormat { channels, height, width, fit: config.fit };
    let data = config.data.load(&format)?;
    data.notes.iter().for_each(|note| output.note(note));
    check_classes(network, &data)?;
    Ok(data)
}

/// Channels, height and width of the images that the network takes.
fn sides(network: &Network) -> Result<[usize; 3], Failure> {
    match network.input {
        Shape::Image { channels, height, width } => Ok([channels, height, width]),
        _ => Err(Failure::usage("the network takes no images")),
    }
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

/// The images to learn from and to measure on.
fn partition(data: Dataset, config: &RunConfig, output: &Output) -> Result<Partition, Failure> {
    let settings = &config.settings;
    let parts = match &config.split {
        Some(path) => Partition::by(&SplitFile::read(Path::new(path))?, data, false)?,
        None => Partition::of(data, settings.val, settings.seed),
    };
    let parts = subset(parts, config)?;
    if parts.left_out > 0 {
        output.note(&format!("{} images are left out", grouped(parts.left_out as u64)));
    }
    if parts.train.is_empty() {
        return Err(Failure::new(Kind::Data, "no image is left to learn from"));
    }
    let counts = parts.validation.class_counts(parts.classes.len());
    let unmeasured = parts.classes.iter().zip(counts).filter(|(_, count)| *count == 0);
    let unmeasured: Vec<&str> = unmeasured.map(|(class, _)| class.as_str()).collect();
    if parts.validation.is_empty() {
        let message = format!("no image is left for validation; raise --val (now {})", settings.val);
        return Err(Failure::new(Kind::Data, message));
    }
    if !unmeasured.is_empty() {
        output.note(&format!("no validation image of {}: the measures say nothing of it", unmeasured.join(", ")));
    }
    Ok(parts)
}

fn subset(parts: Partition, config: &RunConfig) -> Result<Partition, Failure> {
    let Some(text) = &config.subset else { return Ok(parts) };
    let subset = text.parse().map_err(|problem| Failure::usage(format!("--subset: {problem}")))?;
    Ok(parts.with_subset(subset, config.settings.seed))
}

/// A norm cannot learn from one value; that would show only in the first step.
fn check_batch(network: &Network, parts: &Partition, settings: &TrainSettings) -> Result<(), Failure> {
    match network.norm_of_one_value() {
        Some(norm) if settings.batch.min(parts.train.len()) < 2 => Err(Failure::usage(format!(
            "the norm `{norm}` sees one pixel of an image, so a batch of one gives it one value per channel; \
             raise --batch, or --input"
        ))),
        _ => Ok(()),
    }
}

fn make_folder(arguments: &Arguments, config: &Path) -> Result<RunFolder, Failure> {
    match &arguments.run {
        Some(path) => Ok(RunFolder::create(path)?),
        None => {
            let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
            let name = config.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(RunFolder::create_in(Path::new("runs"), &format!("{time}-{name}"))?)
        }
    }
}

fn headline(Prepared { config, network, parts, folder, .. }: &Prepared) -> String {
    format!(
        "data    {}: {} training and {} validation images, {} classes\n\
         model   {}: {} parameters, {} MACs on {}\n\
         run     {}",
        parts.name,
        grouped(parts.train.len() as u64),
        grouped(parts.validation.len() as u64),
        parts.classes.len(),
        config.config,
        grouped(network.params()),
        short(network.macs()),
        network.input,
        folder.path().display(),
    )
}

fn text_report(summary: &Summary, Prepared { config, folder, parts, .. }: &Prepared) -> String {
    let Summary { best, epochs, images_per_second, seconds } = summary;
    let run = folder.path().display();
    let interval = interval(best.validation.accuracy, &parts.validation);
    // The run's own model has what --classes and --input changed.
    let model = quoted(&format!("{run}/model.yaml"));
    let more = if matches!(config.data, Source::Synthetic) {
        format!("nasgen train {model} --data FOLDER_OF_YOUR_IMAGES --classes N")
    } else {
        format!("nasgen train {model} --data {} --epochs {}", quoted(&config.data.to_string()), epochs * 2)
    };
    format!(
        "best    epoch {} of {epochs}: validation accuracy {:.1} % (95 % interval {:.1} to {:.1}), macro-F1 {:.3}, loss {:.3}\n\
         time    {seconds:.0} s, {images_per_second:.0} images per second\n\
         files   {run}: best.safetensors, last.safetensors, report.html, results.csv, tb, model.yaml, config.yaml\n\
         next:   {more}\n\
         \x20       nasgen eval {} · nasgen show {model}",
        best.epoch,
        best.validation.accuracy * 100.0,
        interval.low * 100.0,
        interval.high * 100.0,
        best.validation.macro_f1,
        best.validation.loss,
        quoted(&run.to_string()),
    )
}

fn best_json(best: &Best, validation: &Images) -> Value {
    let Metrics { accuracy, macro_f1, loss } = best.validation;
    json!({
        "epoch": best.epoch,
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "loss": loss,
        "interval": interval(accuracy, validation),
    })
}

fn interval(accuracy: f64, images: &Images) -> Interval {
    let count = images.len() as f64;
    Interval::of((accuracy * count).round() as u64, images.len() as u64)
}

/// A path that means the same in another folder.
fn absolute(path: String) -> String {
    std::path::absolute(&path).map_or(path, |path| path.display().to_string())
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn to_json(summary: &Summary, prepared: &Prepared) -> Value {
    let Prepared { config, network, parts, folder, .. } = prepared;
    json!({
        "run": folder.path(),
        "epochs": summary.epochs,
        "params": network.params(),
        "macs": network.macs(),
        "device": config.device,
        "executor": config.executor,
        "train_images": parts.train.len(),
        "val_images": parts.validation.len(),
        "best": best_json(&summary.best, &parts.validation),
        "images_per_second": summary.images_per_second,
        "seconds": summary.seconds,
    })
}

/// What became NaN or infinite, in which layer first, and what to do.
fn diverged(divergence: &Divergence, executor: &mut dyn Executor, prepared: &Prepared) -> Failure {
    let Prepared { network, folder, config, .. } = prepared;
    let layer = executor.weights().ok().and_then(|weights| {
        let (rule, seed) = (OptimizerRule::of(&config.settings), config.settings.seed);
        let mut reference = Reference::new(&network.layers, &weights, rule, seed, &Device::Cpu).ok()?;
        reference.freeze(&Freezing::at(&config.settings, &network.layers, divergence.epoch, 1));
        let mode = match divergence.problem {
            Problem::Loss(_) => Mode::Training { step: divergence.index },
            Problem::ValidationLoss(_) | Problem::Weights => Mode::Evaluation,
        };
        reference.first_bad_layer(&divergence.batch, mode).ok()?
    });
    let layer = match layer {
        Some(layer) => format!("the first layer with a bad value is `{}`: its {}", layer.label, layer.what),
        None => "every layer alone gives finite values, but large ones".into(),
    };
    let message = format!(
        "{divergence}; {layer}; try --lr {:.0e}. The last good weights are in {}",
        divergence.learning_rate / 10.0,
        folder.path().join("last.safetensors").display(),
    );
    Failure::new(Kind::Diverged, message)
}

fn stopped(error: &TrainError, kind: Kind, folder: &RunFolder) -> Failure {
    let run = quoted(&folder.path().display().to_string());
    Failure::new(kind, format!("{error} and saved; go on with: nasgen train --resume {run}"))
}

pub(super) fn executor_failure(message: &str) -> Failure {
    let out_of_memory = message.to_lowercase().contains("out of memory") || message.contains("OUT_OF_MEMORY");
    let kind = if out_of_memory { Kind::OutOfMemory } else { Kind::Failed };
    Failure::new(kind, message)
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::new(Kind::Data, error.to_string())
    }
}

impl From<RunFolderError> for Failure {
    fn from(error: RunFolderError) -> Self {
        let kind = match error {
            RunFolderError::NotEmpty(_) | RunFolderError::NoRun { .. } | RunFolderError::InUse(_) => Kind::Usage,
            RunFolderError::Write { .. } | RunFolderError::Weights(_) => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

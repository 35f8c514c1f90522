//! `nasgen train`: a network learns from images.

mod build;
mod configuration;
mod executors;
mod failures;
mod folds;
mod images;
mod memory;
mod resume;
mod settings;
mod summary;

pub(super) use build::identity as build_identity;
pub(super) use executors::{ExecutorName, executor, executor_failure, note_reference};
pub(super) use images::{check_batch, partition, sides, subset};
pub(super) use memory::check as check_memory;
pub(super) use settings::{SettingFlags, value as setting};
pub(super) use summary::quoted;

use super::{
    device,
    failure::{Failure, Kind},
    interrupt::Interrupt,
    output::Output,
    progress::Progress,
    show::{input_shape, parse_input, plan},
};
use crate::{
    data::{Fit, Normalisation, Partition, Source, preview},
    network::Network,
    spec::{ModelSpec, SourceText},
    train::{
        self, Checkpoint, Description, Executor, Job, OptimizerRule, Origin, RunConfig, RunFolder, Summary, TrainError,
        TrainingData,
    },
    weights::Weights,
};
use clap::ValueEnum;
use configuration::{SettingsFile, effective};
use failures::{diverged, stopped};
use folds::Folds;
use images::load;
use nasgen_modules::Blocks;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use summary::{headline, report, to_json};

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
    /// data, fit, device, executor, split, subset, kfold, and train with the settings below.
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
pub(super) struct Prepared {
    pub(super) config: RunConfig,
    pub(super) spec: ModelSpec,
    pub(super) network: Network,
    pub(super) parts: Partition,
    pub(super) folder: RunFolder,
}

impl Prepared {
    /// What its weights files say about themselves.
    pub(super) fn description(&self, normalisation: &Normalisation) -> Result<Description, Failure> {
        Ok(Description {
            format: 1,
            nasgen: env!("CARGO_PKG_VERSION").into(),
            spec: self.spec.to_yaml(),
            classes: self.parts.classes.clone(),
            input: sides(&self.network)?,
            mean: normalisation.mean.clone(),
            deviation: normalisation.deviation.clone(),
            fit: self.config.fit.to_string(),
        })
    }

    /// What runs it, with the weights that training begins with.
    pub(super) fn executor(&self) -> Result<Box<dyn Executor>, Failure> {
        let (settings, network) = (&self.config.settings, &self.network);
        let device = device::open(&self.config.device)?;
        let weights = Weights::initial(&network.layers, settings.seed);
        let name = ExecutorName::from_str(&self.config.executor, false).map_err(Failure::usage)?;
        executor(Some(name), network, &weights, OptimizerRule::of(settings), settings.seed, &device)
    }
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
    output.result(|| report(&summary, &prepared), || to_json(&summary, &prepared))
}

/// The files that a resume needs.
pub(super) fn write_settings(
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

/// Trains, from the beginning or from a checkpoint on.
fn go(
    prepared: &Prepared,
    from: Option<&Checkpoint>,
    output: &Output,
) -> Result<(Summary, Box<dyn Executor>), Failure> {
    let Prepared { config, parts, folder, .. } = prepared;
    let normalisation = Normalisation::of(&parts.train);
    let metadata = json!(prepared.description(&normalisation)?);
    let mut executor = prepared.executor()?;

    if from.is_none() {
        let seen = preview(&parts.train, &train::augmentation(&config.settings), config.settings.seed);
        let seen = seen.map_err(|error| Failure::new(Kind::Failed, format!("cannot draw aug_preview.png: {error}")))?;
        folder.write_bytes("aug_preview.png", &seen)?;
    }
    output.message(&headline(prepared));
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
        folder,
        metadata: &metadata,
        build: &build::identity(),
        stop: &|| interrupt.asked(),
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
    Ok((summary, executor))
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

//! `nasgen train`: a network learns from images.

mod batch_size;
mod build;
mod configuration;
mod dry_run;
mod executors;
mod failures;
mod folds;
mod images;
mod init;
mod lr_find;
pub(super) mod memory;
mod resume;
mod settings;
mod summary;

pub(super) use build::identity as build_identity;
pub(super) use executors::{ExecutorName, executor, executor_failure, note_reference};
pub(super) use images::{check_batch, checked, first_fold, partition, sides, subset};
pub(super) use memory::check as check_memory;
pub(super) use settings::{SettingFlags, value as setting};
pub(super) use summary::quoted;

use super::{
    device,
    failure::{Failure, Kind},
    images::LoadingFlags,
    interrupt::Interrupt,
    output::Output,
    progress::Progress,
    report,
    show::{input_shape, parse_input, plan},
};
use crate::{
    data::{Dataset, Fit, Normalisation, Partition, Source, preview},
    network::Network,
    spec::{ModelSpec, SourceText, TrainSettings},
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
use init::Beginning;
use nasgen_modules::Blocks;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use summary::{headline, text_report, to_json};

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
    /// them), CIFAR binary files, or MNIST-style IDX files; a CSV table path,label[,split]; or mnist,
    /// fashion-mnist, cifar10 or cifar100, which are downloaded once [default: synthetic].
    #[arg(long, value_name = "SOURCE")]
    data: Option<Source>,
    #[command(flatten)]
    loading: LoadingFlags,
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
    /// What runs the network: the engine (fast) or the reference (plain candle)
    /// [default: engine; reference for networks with custom operations].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
    /// Folder for the results (default: runs/DATE-TIME-NAME).
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Do not train, but say what would happen: images, network, settings with their origin, files, and how
    /// much time, memory and disk it would take, measured by a few steps. Writes nothing.
    #[arg(long, conflicts_with_all = ["resume", "lr_find"])]
    dry_run: bool,
    /// Do not train, but raise the learning rate from 1e-6 to 1 over 100 steps, draw the loss over it
    /// (lr_find.png, lr_find.csv) and suggest the rate at which the loss falls most steeply.
    #[arg(long, conflicts_with_all = ["resume", "kfold"])]
    lr_find: bool,
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
    file.notes.iter().for_each(|note| output.note(note));
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

    /// What runs it, from these weights on.
    pub(super) fn executor(&self, weights: &Weights) -> Result<Box<dyn Executor>, Failure> {
        let (settings, network) = (&self.config.settings, &self.network);
        let device = device::open(&self.config.device)?;
        let name = ExecutorName::from_str(&self.config.executor, false).map_err(Failure::usage)?;
        executor(Some(name), network, weights, OptimizerRule::of(settings), settings.seed, device)
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
    spec.input_size = file.input_size.or(spec.input_size);
    if let Some([channels, height, width]) = arguments.input {
        (spec.input_channel, spec.input_size) = (channels, Some([height, width]));
    }
    let automatic_batch = settings.automatic_batch;
    let (mut config, origins) = effective(arguments, file, path, settings)?;
    device::open(&config.device)?;
    let network = planned(&source, &spec, &config.settings)?;
    init::check(&config, &network)?;
    network.notes.iter().for_each(|note| output.note(note));
    if !origins.contains_key("executor") && network.custom_operation().is_some() {
        note_reference(None, &network, output);
        config.executor = ExecutorName::Reference.to_string();
    }

    if arguments.dry_run {
        arguments.loading.refuse_download(&config.data)?;
    }
    check_given(arguments, &config, &network)?;
    let data = load(&config, &network, &arguments.loading, output)?;
    note_unused_val(&config, &origins, &data, output);
    let changed = arguments.classes.is_some() || arguments.input.is_some() || file.input_size.is_some();
    let model = if changed { spec.to_yaml() } else { source.text.clone() };
    if config.kfold.is_some() && automatic_batch {
        return Err(Failure::usage("--batch auto is not for --kfold; find a size without it first"));
    }
    if arguments.dry_run {
        let parts = match config.kfold {
            Some(folds) => images::first_fold(data, folds, &config)?,
            None => partition(data, &config, output)?,
        };
        if automatic_batch {
            config.settings.batch = batch_size::choose(&config, &network, &parts, output)?;
        }
        check_batch(&network, &parts, &config.settings)?;
        let run = arguments.run.clone().unwrap_or_else(|| Path::new("runs").join(run_name(path)));
        return dry_run::run(&dry_run::Plan { config, origins, network, parts, run }, output);
    }
    if config.kfold.is_some() {
        let folder = make_folder(arguments, path)?;
        folder.write("model.yaml", &model)?;
        folder.write("config.yaml", &config.to_yaml(&origins))?;
        return Folds { config, origins, spec, network, model, folder }.run(data, output);
    }
    let parts = partition(data, &config, output)?;
    if automatic_batch {
        config.settings.batch = batch_size::choose(&config, &network, &parts, output)?;
    }
    check_batch(&network, &parts, &config.settings)?;
    memory::check(&config, &network, &parts)?;
    if arguments.lr_find {
        let run = arguments.run.clone().unwrap_or_else(|| Path::new("runs").join(run_name(path) + "-lr-find"));
        return lr_find::run(&config, &network, &parts, &run, output);
    }
    let folder = make_folder(arguments, path)?;
    write_settings(&folder, &model, &parts, &config, &origins)?;
    let prepared = Prepared { config, spec, network, parts, folder };
    let (summary, _) = go(&prepared, None, output)?;
    output.result(|| text_report(&summary, &prepared), || to_json(&summary, &prepared))
}

/// What the images' size and the kind of command make senseless.
fn check_given(arguments: &Arguments, config: &RunConfig, network: &Network) -> Result<(), Failure> {
    let [_, height, width] = sides(network)?;
    let crop = config.settings.crop;
    if crop >= height.min(width) && crop > 0 {
        return Err(Failure::usage(format!(
            "crop is {crop}: images of {height}×{width} would be moved out of sight; take less than their side"
        )));
    }
    if arguments.lr_find && arguments.settings.given().any(|(name, _)| name == "lr") {
        return Err(Failure::usage("--lr-find looks for the learning rate, and with it --lr cannot be given"));
    }
    Ok(())
}

/// `val` divides what is not divided yet.
fn note_unused_val(config: &RunConfig, origins: &BTreeMap<String, Origin>, data: &Dataset, output: &Output) {
    let why = match (&config.split, config.kfold) {
        (Some(_), _) => "--split says which images validate",
        (_, Some(_)) => "each fold validates on its own part",
        _ if data.validation.is_some() => "the data has validation images of its own",
        _ => return,
    };
    if matches!(origins.get("val"), Some(Origin::Flag | Origin::Set | Origin::Environment | Origin::Spec)) {
        output.note(&format!("val is not used: {why}"));
    }
}

/// The network of a spec as it is trained.
fn planned(source: &SourceText, spec: &ModelSpec, settings: &TrainSettings) -> Result<Network, Failure> {
    with_stochastic_depth(plan(source, spec, input_shape(spec, None))?, settings)
}

/// The network with the branches dropped that the setting asks for.
pub(super) fn with_stochastic_depth(network: Network, settings: &TrainSettings) -> Result<Network, Failure> {
    match settings.stochastic_depth {
        0.0 => Ok(network),
        rate => match network.layers.clone().with_stochastic_depth(rate) {
            Some(layers) => Ok(Network { layers, ..network }),
            None => Err(Failure::usage(format!(
                "stochastic_depth is {rate}, but the network has no residual sums whose branches could be dropped"
            ))),
        },
    }
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
    let Prepared { config, network, parts, folder, .. } = prepared;
    let Beginning { weights, normalisation } = Beginning::of(prepared, from, output)?;
    let metadata = json!(prepared.description(&normalisation)?);
    let mut executor = prepared.executor(&weights)?;
    drop(weights);

    if from.is_none() {
        let seen = preview(&parts.train, &train::augmentation(&config.settings), config.settings.seed);
        let seen = seen.map_err(|error| Failure::new(Kind::Failed, format!("cannot draw aug_preview.png: {error}")))?;
        folder.write_bytes("aug_preview.png", &seen)?;
    }
    output.message(&headline(prepared));
    init::frozen(config, network).iter().for_each(|line| output.message(line));
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
        build: build::identity(),
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

fn make_folder(arguments: &Arguments, config: &Path) -> Result<RunFolder, Failure> {
    let folder = match &arguments.run {
        Some(path) => RunFolder::create(path)?,
        None => RunFolder::create_in(Path::new("runs"), &run_name(config))?,
    };
    folder.point_latest();
    Ok(folder)
}

/// `DATE-TIME-NAME`
fn run_name(config: &Path) -> String {
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    format!("{time}-{}", config.file_stem().unwrap_or_default().to_string_lossy())
}

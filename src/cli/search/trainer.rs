//! Scores a candidate by training it: what a search knows as a scorer.

use super::pictures::Pictures;
use crate::{
    cli::{
        device,
        failure::{Failure, Kind},
        train::{Prepared, build_identity, check_batch, check_memory, executor, with_stochastic_depth, write_settings},
    },
    data::{Images, Normalisation, Partition, evaluation_batch},
    evaluation::Metrics,
    network::Network,
    search::{Assignment, Audience, Ending, Fault, FaultKind, Model, Order, Score, Scorer, taken_over, trial_folder},
    spec::Metric,
    train::{
        self, Checkpoint, EpochReport, Job, Observer, OptimizerRule, RunConfig, RunFolder, RunFolderError, StepReport,
        Summary, TrainError, TrainingData,
    },
    weights::Weights,
};
use serde_json::json;
use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Trains candidates on images.
pub(super) struct Trainer<'a> {
    pub(super) pictures: &'a Pictures,
    /// What all trainings have in common; the settings are the candidate's.
    pub(super) config: &'a RunConfig,
    /// The threads of one training.
    pub(super) pool: rayon::ThreadPool,
    /// Whether each training leaves a folder that `nasgen eval` and `train --resume` take.
    pub(super) whole_runs: bool,
}

impl Trainer<'_> {
    fn train(&self, assignment: &Assignment<'_>, audience: &dyn Audience) -> Result<Ending, Fault> {
        let model = model(assignment)?;
        let parts = self.pictures.parts(&model.network).map_err(|failure| Fault::of_all(failure.text()))?;
        if let [parts] = &parts[..] {
            return self.train_on(assignment, parts, audience);
        }
        let mut done: Vec<Summary> = Vec::with_capacity(parts.len());
        for (index, parts) in parts.iter().enumerate() {
            let folder = assignment.folder.join(format!("fold-{}", index + 1));
            let (metric, halted) = (model.settings.metric, AtomicBool::new(false));
            let fold = Progress { audience, metric, each_epoch: false, halted };
            let Some(summary) = self.run(assignment, model, parts, &folder, &fold)? else { return Ok(Ending::Halted) };
            done.push(summary);
            let last = index + 1 == self.pictures.folds();
            let mean = score(&done).values[metric_name(model.settings.metric)];
            if audience.told(index as u64 + 1, mean) == Order::Halt && !last {
                return Ok(Ending::Halted);
            }
        }
        Ok(Ending::Scored(score(&done)))
    }

    /// One training on these images, of which the audience is told each epoch.
    pub(super) fn train_on(
        &self,
        assignment: &Assignment<'_>,
        parts: &Partition,
        audience: &dyn Audience,
    ) -> Result<Ending, Fault> {
        let model = model(assignment)?;
        let (metric, halted) = (model.settings.metric, AtomicBool::new(false));
        let progress = Progress { audience, metric, each_epoch: true, halted };
        let summary = self.run(assignment, model, parts, assignment.folder, &progress)?;
        Ok(summary.map_or(Ending::Halted, |summary| Ending::Scored(score(&[summary]))))
    }

    /// One training, from the beginning or from its last checkpoint; `None` if it was halted.
    fn run(
        &self,
        assignment: &Assignment<'_>,
        model: &Model,
        parts: &Partition,
        folder: &Path,
        progress: &Progress<'_>,
    ) -> Result<Option<Summary>, Fault> {
        let config = RunConfig { settings: model.settings.clone(), kfold: None, ..self.config.clone() };
        check_batch(&model.network, parts, &config.settings).map_err(|failure| of_trial(&failure))?;
        check_memory(&config, &model.network, parts).map_err(|failure| of_trial(&failure))?;
        let (folder, from) = self.folder(folder, &assignment.proposal.config, parts, &config)?;
        if let Some(checkpoint) = &from {
            tell_again(&folder, checkpoint, progress)?;
        }
        let spec = model.spec.clone();
        let network =
            with_stochastic_depth(model.network.clone(), &config.settings).map_err(|failure| of_trial(&failure))?;
        let prepared = Prepared { config, spec, network, parts: parts.clone(), folder };
        let normalisation = Normalisation::of(&prepared.parts.train);
        let description = prepared.description(&normalisation).map_err(|failure| of_trial(&failure))?;
        let weights = Weights::initial(&prepared.network.layers, prepared.config.settings.seed);
        let mut executor = prepared.executor(&weights).map_err(|failure| of_trial(&failure))?;
        let data = TrainingData {
            train: &prepared.parts.train,
            validation: &prepared.parts.validation,
            classes: prepared.parts.classes.len(),
            normalisation,
        };
        let job = Job {
            data: &data,
            settings: &prepared.config.settings,
            layers: &prepared.network.layers,
            folder: &prepared.folder,
            metadata: &json!(description),
            build: build_identity(),
            stop: &|| progress.halted.load(Ordering::Relaxed) || progress.audience.halt(),
            now: &|| jiff::Timestamp::now().as_duration().as_secs_f64(),
        };
        match train::train(&mut *executor, &job, from.as_ref(), &mut Listening(progress)) {
            Ok(summary) => Ok(Some(summary)),
            Err(TrainError::Stopped { .. }) => Ok(None),
            Err(TrainError::Diverged(divergence)) => Err(Fault::of_trial(FaultKind::Diverged, divergence.to_string())),
            Err(TrainError::Executor(error)) => Err(of_trial(&crate::cli::train::executor_failure(&error.0))),
            Err(TrainError::RunFolder(error)) => Err(Fault::of_all(error.to_string())),
        }
    }

    /// The folder of a training with its last checkpoint.
    fn folder(
        &self,
        path: &Path,
        spec: &str,
        parts: &Partition,
        config: &RunConfig,
    ) -> Result<(RunFolder, Option<Checkpoint>), Fault> {
        let cannot = |error: RunFolderError| Fault::of_all(error.to_string());
        match open(path, spec) {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            // A worker that was thought dead holds it: it must not disturb the one that took over.
            Err(RunFolderError::InUse(_)) => {
                let copy =
                    copied(path).map_err(|error| Fault::of_all(format!("cannot copy {}: {error}", path.display())))?;
                if let Some(opened) = open(&copy, spec).map_err(cannot)? {
                    return Ok(opened);
                }
                return Err(Fault::of_trial(FaultKind::Failed, format!("{} holds no training", copy.display())));
            }
            Err(error) => return Err(cannot(error)),
        }
        let folder = RunFolder::create_anew(path).map_err(cannot)?;
        if self.whole_runs {
            write_settings(&folder, spec, parts, config, &BTreeMap::new())
                .map_err(|failure| Fault::of_all(failure.text()))?;
        } else {
            folder.write("model.yaml", spec).map_err(cannot)?;
            folder.write("config.yaml", &config.to_yaml(&BTreeMap::new())).map_err(cannot)?;
        }
        Ok((folder, None))
    }

    /// Measures the best weights of a training on `images`.
    pub(super) fn measure(
        &self,
        prepared: &Network,
        folder: &Path,
        parts: &Partition,
        images: &Images,
    ) -> Result<Metrics, Failure> {
        let (weights, _) = Weights::load(&folder.join("best.safetensors"))?;
        let device = device::open(&self.config.device)?;
        let mut executor = executor(None, prepared, &weights, OptimizerRule::PLAIN, 0, device)?;
        let normalisation = Normalisation::of(&parts.train);
        let mut scores = Vec::with_capacity(images.len() * parts.classes.len());
        for start in (0..images.len()).step_by(64) {
            let batch = evaluation_batch(images, start..(start + 64).min(images.len()), &normalisation);
            let batch = executor.scores(&batch).map_err(|error| crate::cli::train::executor_failure(&error.0))?;
            scores.extend(batch);
        }
        Ok(Metrics::of(&scores, &images.labels, parts.classes.len()))
    }
}

impl Scorer for Trainer<'_> {
    fn score(&mut self, assignment: &Assignment<'_>, audience: &dyn Audience) -> Result<Ending, Fault> {
        let trained = catch_unwind(AssertUnwindSafe(|| self.pool.install(|| self.train(assignment, audience))));
        trained.unwrap_or_else(|panic| Err(Fault::of_trial(FaultKind::Failed, panicked(&*panic))))
    }

    fn can_go_on(&self) -> bool {
        true
    }
}

fn model<'a>(assignment: &'a Assignment<'_>) -> Result<&'a Model, Fault> {
    let none = || Fault::of_all("the space gives no networks; name what scores its values with --evaluator");
    assignment.proposal.model.as_ref().ok_or_else(none)
}

/// A training that began before; `None` if there is none. One that cannot be read begins anew.
fn open(path: &Path, spec: &str) -> Result<Option<(RunFolder, Option<Checkpoint>)>, RunFolderError> {
    if !path.join("config.yaml").is_file() || fs::read_to_string(path.join("model.yaml")).ok().as_deref() != Some(spec)
    {
        return Ok(None);
    }
    let folder = RunFolder::open(path)?;
    let checkpoint = folder.last().unwrap_or(None);
    Ok(Some((folder, checkpoint)))
}

/// What there is of a training that another process holds, beside it. Its files are whole at any moment.
fn copied(path: &Path) -> std::io::Result<PathBuf> {
    let copy = taken_over(path);
    copy_files(path, &copy)?;
    Ok(copy)
}

/// Copies what stands in `from`, folders included.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (file, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        // Its lock, and files that are being written, are its own.
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if file.is_dir() {
            copy_files(&file, &to.join(name))?;
        } else {
            fs::copy(file, to.join(name))?;
        }
    }
    Ok(())
}

/// Tells what epochs before a checkpoint measured: a kill may have come between the checkpoint and the report.
fn tell_again(folder: &RunFolder, checkpoint: &Checkpoint, progress: &Progress<'_>) -> Result<(), Fault> {
    let path = folder.path().join("results.csv");
    let failed =
        |error: &dyn std::fmt::Display| Fault::of_trial(FaultKind::Failed, format!("{}: {error}", path.display()));
    let mut reader = csv::Reader::from_path(&path).map_err(|error| failed(&error))?;
    for row in reader.deserialize::<BTreeMap<String, f64>>().take(checkpoint.progress.epochs) {
        let row = row.map_err(|error| failed(&error))?;
        let column = format!("val/{}", metric_name(progress.metric));
        if let (true, Some(epoch), Some(value)) = (progress.each_epoch, row.get("epoch"), row.get(&column)) {
            progress.tell(*epoch as u64, *value);
        }
    }
    Ok(())
}

/// Passes epochs on.
struct Progress<'a> {
    audience: &'a dyn Audience,
    metric: Metric,
    /// Whether the audience compares epochs; else it compares folds.
    each_epoch: bool,
    halted: AtomicBool,
}

impl Progress<'_> {
    fn tell(&self, epoch: u64, value: f64) {
        if self.audience.told(epoch, value) == Order::Halt {
            self.halted.store(true, Ordering::Relaxed);
        }
    }
}

struct Listening<'a>(&'a Progress<'a>);

impl Observer for Listening<'_> {
    fn step(&mut self, _: &StepReport) {}

    fn epoch(&mut self, report: &EpochReport) {
        if self.0.each_epoch {
            self.0.tell(report.epoch as u64, metric_value(self.0.metric, &report.validation));
        }
    }
}

/// What a search calls a metric.
pub(super) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Accuracy => "accuracy",
        Metric::MacroF1 => "macro_f1",
        Metric::Loss => "loss",
    }
}

/// The metric that decides about epochs where the objective is called `name`.
pub(super) fn metric_named(name: &str) -> Option<Metric> {
    [Metric::Accuracy, Metric::MacroF1, Metric::Loss].into_iter().find(|metric| metric_name(*metric) == name)
}

pub(super) fn metric_value(metric: Metric, metrics: &Metrics) -> f64 {
    match metric {
        Metric::Accuracy => metrics.accuracy,
        Metric::MacroF1 => metrics.macro_f1,
        Metric::Loss => metrics.loss,
    }
}

/// Values by name: of one training, or means over the folds.
fn score(done: &[Summary]) -> Score {
    let count = done.len() as f64;
    let mean = |metric| done.iter().map(|summary| metric_value(metric, &summary.best.validation)).sum::<f64>() / count;
    let metrics = [Metric::Accuracy, Metric::MacroF1, Metric::Loss];
    let values = metrics.map(|metric| (metric_name(metric).to_owned(), mean(metric))).into();
    let sum = |of: fn(&Summary) -> f64| done.iter().map(of).sum::<f64>();
    let remarks = [
        ("epochs", json!(done.iter().map(|summary| summary.epochs).max())),
        ("best_epoch", json!(done.iter().map(|summary| summary.best.epoch).max())),
        ("seconds", json!(sum(|summary| summary.seconds))),
        ("images_per_second", json!(sum(|summary| summary.images_per_second) / count)),
    ];
    Score { values, remarks: remarks.map(|(name, value)| (name.to_owned(), value)).into() }
}

/// The folder of a finished trial's best weights: its own, or the one that took over.
pub(super) fn weights_folder(study: &Path, number: u64) -> Option<PathBuf> {
    let folder = trial_folder(study, number);
    [taken_over(&folder), folder].into_iter().find(|folder| folder.join("best.safetensors").is_file())
}

fn of_trial(failure: &Failure) -> Fault {
    let kind = match failure.kind {
        Kind::OutOfMemory => FaultKind::OutOfMemory,
        Kind::Diverged => FaultKind::Diverged,
        _ => FaultKind::Failed,
    };
    Fault::of_trial(kind, failure.text())
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the training panicked: {}", words.unwrap_or("it did not say why"))
}

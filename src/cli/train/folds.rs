//! `nasgen train --kfold`: one run for each part of the images.

use super::{
    ExecutorName, Prepared, executor, executor_failure, go,
    images::{check_batch, subset},
    memory,
    resume::go_on,
    summary::{best_json, quoted},
    write_settings,
};
use crate::{
    cli::{
        device,
        failure::{Failure, Kind},
        output::Output,
        report::{PAGE, measure},
    },
    data::{Dataset, Images, Partition, SplitFile, evaluation_batch},
    evaluation::{Answers, Evaluation, Metrics, Vote, probabilities},
    network::Network,
    report::{EpochRow, FoldRow, FoldsReport, Measured, answers_csv, evaluation_text},
    spec::{ModelSpec, SourceText},
    train::{Best, Description, OptimizerRule, Origin, RunConfig, RunFolder, Summary, with_epochs},
};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// A cross-validation before its first fold, or before its next.
pub(super) struct Folds {
    pub(super) config: RunConfig,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) spec: ModelSpec,
    pub(super) network: Network,
    /// The text of `model.yaml`.
    pub(super) model: String,
    pub(super) folder: RunFolder,
}

/// One fold that is done.
struct Done {
    summary: Summary,
    validation: Images,
    /// Class probabilities of the best weights for the fold's validation images.
    answers: Vec<f64>,
}

impl Folds {
    /// Trains the folds that are not done yet; what is said of an image is said by the network that did
    /// not learn from it.
    pub(super) fn run(self, data: Dataset, output: &Output) -> Result<(), Failure> {
        let count = self.config.kfold.unwrap_or_default();
        let classes = data.classes.clone();
        if data.validation.is_some() {
            output.note("the data's own validation images are divided into folds with the training images");
        }
        let mut done = Vec::with_capacity(count);
        for (index, parts) in Partition::folds(data, count, self.config.settings.seed).enumerate() {
            output.message(&format!("fold    {} of {count}", index + 1));
            done.push(self.fold(index, parts, output).map_err(|failure| self.resumable(failure, index))?);
        }
        let probabilities: Vec<f64> = done.iter().flat_map(|fold| fold.answers.iter().copied()).collect();
        let mut images = done[0].validation.clone();
        done[1..].iter().for_each(|fold| images.append(fold.validation.clone()));
        let measured = measure(probabilities.clone(), &images, &classes);
        let answers = Answers::of(&[probabilities], classes.len(), Vote::Soft);
        let csv = answers_csv(&answers, &images.names, Some(&images.labels), &classes);
        self.folder.write("out_of_fold.csv", &csv)?;
        self.folder.write("folds.csv", &table(&done))?;
        let report = self.report(&done, &classes, measured);
        self.folder.write(PAGE, &report.to_html())?;
        let evaluation = &report.measured.evaluation;
        output.result(|| self.text(&done, evaluation), || self.json(&done, evaluation))
    }

    fn report<'a>(&'a self, done: &[Done], classes: &'a [String], measured: Measured) -> FoldsReport<'a> {
        let row = |(index, fold): (usize, &Done)| {
            let folder = fold_name(index);
            let results = fs::read_to_string(self.folder.path().join(&folder).join("results.csv"));
            FoldRow {
                folder,
                images: fold.validation.len(),
                best_epoch: fold.summary.best.epoch,
                measures: fold.summary.best.validation,
                epochs: EpochRow::read(&results.unwrap_or_default()),
            }
        };
        FoldsReport {
            run: quoted(&self.folder.path().display().to_string()),
            data: self.config.data.to_string(),
            network: &self.network,
            classes,
            folds: done.iter().enumerate().map(row).collect(),
            accuracy: spread(done, |best| best.accuracy),
            measured,
        }
    }

    fn fold(&self, index: usize, parts: Partition, output: &Output) -> Result<Done, Failure> {
        let path = self.folder.path().join(fold_name(index));
        let config = RunConfig { kfold: None, ..self.config.clone() };
        let parts = subset(parts, &config)?;
        check_batch(&self.network, &parts, &config.settings)?;
        memory::check(&config, &self.network, &parts)?;
        let begun = path.join("config.yaml").is_file();
        let folder = if begun { RunFolder::open(&path)? } else { RunFolder::create_anew(&path)? };
        let (spec, network) = (self.spec.clone(), self.network.clone());
        let prepared = Prepared { config, spec, network, parts, folder };
        let summary = if begun {
            same_images(&path, &prepared.parts)?;
            raise_epochs(&prepared)?;
            let checkpoint = prepared.folder.last()?;
            go_on(&prepared, checkpoint.as_ref(), output)?
        } else {
            write_settings(&prepared.folder, &self.model, &prepared.parts, &prepared.config, &self.origins)?;
            go(&prepared, None, output)?.0
        };
        let answers = best_answers(&prepared)?;
        Ok(Done { summary, validation: prepared.parts.validation, answers })
    }

    /// A fold that is stopped is resumed with the others.
    fn resumable(&self, failure: Failure, index: usize) -> Failure {
        match failure.kind {
            Kind::Interrupted | Kind::Terminated => {
                let run = quoted(&self.folder.path().display().to_string());
                let message =
                    format!("stopped in fold {} and saved; go on with: nasgen train --resume {run}", index + 1);
                Failure::new(failure.kind, message)
            }
            _ => failure,
        }
    }

    fn text(&self, done: &[Done], evaluation: &Evaluation) -> String {
        let line = |(index, fold): (usize, &Done)| {
            let Best { epoch, validation } = fold.summary.best;
            let accuracy = validation.accuracy * 100.0;
            format!("fold {:<2}  {accuracy:.1} % of {} images, best epoch {epoch}", index + 1, fold.validation.len())
        };
        let lines: Vec<String> = done.iter().enumerate().map(line).collect();
        let (mean, deviation) = spread(done, |best| best.accuracy);
        format!(
            "{}\nmean     {:.1} ± {:.1} % (deviation between the folds)\n\nout of fold, {} images:\n{}\n\n\
             files    {run}: fold-1 to fold-{}, report.html, out_of_fold.csv, folds.csv\n\
             next:    nasgen predict {run}/fold-* photo.jpg",
            lines.join("\n"),
            mean * 100.0,
            deviation * 100.0,
            evaluation.images,
            evaluation_text(evaluation),
            done.len(),
            run = self.folder.path().display(),
        )
    }

    fn json(&self, done: &[Done], evaluation: &Evaluation) -> Value {
        let fold = |(index, fold): (usize, &Done)| {
            json!({
                "run": self.folder.path().join(fold_name(index)),
                "epochs": fold.summary.epochs,
                "val_images": fold.validation.len(),
                "best": best_json(&fold.summary.best, &fold.validation),
            })
        };
        let measure = |of: fn(&Metrics) -> f64| {
            let (mean, deviation) = spread(done, of);
            json!({"mean": mean, "deviation": deviation})
        };
        json!({
            "run": self.folder.path(),
            "kfold": done.len(),
            "params": self.network.params(),
            "macs": self.network.macs(),
            "device": self.config.device,
            "executor": self.config.executor,
            "folds": done.iter().enumerate().map(fold).collect::<Vec<_>>(),
            "accuracy": measure(|metrics| metrics.accuracy),
            "macro_f1": measure(|metrics| metrics.macro_f1),
            "loss": measure(|metrics| metrics.loss),
            "out_of_fold": evaluation,
        })
    }
}

fn fold_name(index: usize) -> String {
    format!("fold-{}", index + 1)
}

/// The epochs of the whole cross-validation may have been raised since the fold began.
fn raise_epochs(Prepared { config, folder, .. }: &Prepared) -> Result<(), Failure> {
    let text = SourceText::read(&folder.path().join("config.yaml"))?;
    let epochs = config.settings.epochs;
    if RunConfig::parse(&text)?.settings.epochs < epochs {
        folder.write("config.yaml", &with_epochs(&text.text, epochs))?;
    }
    Ok(())
}

fn same_images(fold: &Path, parts: &Partition) -> Result<(), Failure> {
    let path = fold.join("split.csv");
    if SplitFile::read(&path)? == parts.split_file() {
        return Ok(());
    }
    let message = format!("the images are not those that the cross-validation began with ({})", path.display());
    Err(Failure::new(Kind::Data, message))
}

/// What the best epoch's network says of the images that it did not learn from.
fn best_answers(prepared: &Prepared) -> Result<Vec<f64>, Failure> {
    let Prepared { config, network, parts, folder, .. } = prepared;
    let (description, weights) = Description::read(&folder.path().join("best.safetensors"))?;
    let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
    let device = device::open(&config.device)?;
    let mut executor = executor(Some(name), network, &weights, OptimizerRule::PLAIN, 0, device)?;
    let normalisation = description.normalisation();
    let (images, size) = (&parts.validation, config.settings.batch);
    let mut answers = Vec::with_capacity(images.len() * parts.classes.len());
    for start in (0..images.len()).step_by(size) {
        let batch = evaluation_batch(images, start..(start + size).min(images.len()), &normalisation);
        let scores = executor.scores(&batch).map_err(|error| executor_failure(&error.0))?;
        answers.extend(probabilities(&scores, parts.classes.len()));
    }
    Ok(answers)
}

/// Mean over the folds and the deviation between them (divided by the number of folds less one).
fn spread(done: &[Done], of: impl Fn(&Metrics) -> f64) -> (f64, f64) {
    let values: Vec<f64> = done.iter().map(|fold| of(&fold.summary.best.validation)).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

fn table(done: &[Done]) -> String {
    let row = |(index, fold): (usize, &Done)| {
        let Best { epoch, validation: Metrics { accuracy, macro_f1, loss } } = fold.summary.best;
        format!("{},{},{epoch},{accuracy:.6},{macro_f1:.6},{loss:.6}\n", index + 1, fold.validation.len())
    };
    let rows: String = done.iter().enumerate().map(row).collect();
    format!("fold,val_images,best_epoch,val/accuracy,val/macro_f1,val/loss\n{rows}")
}

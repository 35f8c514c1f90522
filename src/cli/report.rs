//! `nasgen report`: a run as one page.

use super::{
    device,
    failure::{Failure, Kind},
    images::LoadingFlags,
    output::Output,
    show::{input_shape, plan},
    train::{ExecutorName, executor, executor_failure},
};
use crate::{
    data::{Images, Partition, Source, SplitFile, evaluation_batch, picture},
    evaluation::{Answers, Evaluation, Vote, probabilities, reliability, worst_mistakes},
    files,
    network::Network,
    report::{EpochRow, Measured, RunReport, Setting},
    spec::{ModelSpec, SourceText},
    train::{Description, OptimizerRule, RunConfig},
};
use clap::ValueEnum;
use nasgen_modules::Blocks;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Mistakes that are shown.
const MISTAKES: usize = 36;
/// The page in a run's folder.
pub(super) const PAGE: &str = "report.html";

/// Write report.html of a run again: curves, confusions, mistakes, the network, how to repeat it.
///
/// Training writes it too, at its end. It is one file that needs no network. Where the images are not there any
/// more, it lacks what they show.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The folder of a training, finished or not.
    run: PathBuf,
    /// Where to write it [default: report.html in the run's folder].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the run's images are now.
    #[arg(long, value_name = "SOURCE")]
    data: Option<Source>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let Arguments { run, out, data } = arguments;
    if !run.join("config.yaml").is_file() {
        let message = format!("{} is no run: it has no config.yaml; wanted the folder of a training", run.display());
        return Err(Failure::usage(message));
    }
    let mut config = RunConfig::parse(&SourceText::read(&run.join("config.yaml"))?)?;
    if config.kfold.is_some() {
        let message = "it is a cross-validation, whose report.html is written at its end; wanted one of its folds";
        return Err(Failure::usage(format!("{}: {message}, such as {}/fold-1", run.display(), run.display())));
    }
    if let Some(data) = data {
        config.data = data.clone();
    }
    let source = SourceText::read(&run.join("model.yaml"))?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let network = plan(&source, &spec, input_shape(&spec, None))?;
    let validation = match images(run, &config) {
        Ok(images) => images,
        Err(failure) if data.is_some() => return Err(failure),
        Err(_) => {
            output.note(
                "the run's images are not where they were: the report lacks classes and mistakes; --data names them",
            );
            None
        }
    };
    let page = page(run, &config, &network, validation.as_ref())?;
    let path = out.clone().unwrap_or_else(|| run.join(PAGE));
    save(&path, &page)?;
    output.result(|| format!("wrote {}", path.display()), || json!({"report": path, "run": run}))
}

/// Writes the page of a training that has just ended.
pub(super) fn write(run: &Path, config: &RunConfig, network: &Network, parts: &Partition) -> Result<(), Failure> {
    save(&run.join(PAGE), &page(run, config, network, Some(&parts.validation))?)
}

pub(super) fn save(path: &Path, page: &str) -> Result<(), Failure> {
    files::write_whole(path, page.as_bytes())
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display())))
}

/// The run's validation images; none before it has weights that could be asked.
fn images(run: &Path, config: &RunConfig) -> Result<Option<Images>, Failure> {
    let weights = run.join("best.safetensors");
    if !weights.is_file() {
        return Ok(None);
    }
    let (description, _) = Description::read(&weights)?;
    let format = description.image_format().map_err(|problem| Failure::usage(format!("fit {problem}")))?;
    let data = config.data.load(&format, &LoadingFlags::default().room())?;
    let parts = Partition::by(&SplitFile::read(&run.join("split.csv"))?, data, true)?;
    Ok(Some(parts.validation))
}

fn page(run: &Path, config: &RunConfig, network: &Network, validation: Option<&Images>) -> Result<String, Failure> {
    let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap_or_default();
    let weights = run.join("best.safetensors");
    let best = if weights.is_file() { Some(Description::read(&weights)?) } else { None };
    let file = SplitFile::read(&run.join("split.csv"))?;
    let classes = best.as_ref().map_or_else(|| file.classes(), |(description, _)| description.classes.clone());
    let measured = match (&best, validation) {
        (Some((description, weights)), Some(images)) => {
            let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
            let device = device::open(&config.device)?;
            let mut executor = executor(Some(name), network, weights, OptimizerRule::PLAIN, 0, device)?;
            let normalisation = description.normalisation();
            let mut answers = Vec::with_capacity(images.len() * classes.len());
            let size = config.settings.batch;
            for start in (0..images.len()).step_by(size) {
                let batch = evaluation_batch(images, start..(start + size).min(images.len()), &normalisation);
                let scores = executor.scores(&batch).map_err(|error| executor_failure(&error.0))?;
                answers.extend(probabilities(&scores, classes.len()));
            }
            Some(measure(answers, images, &classes))
        }
        _ => None,
    };
    let report = RunReport {
        run: run.display().to_string(),
        network,
        data: config.data.to_string(),
        splits: file.counts(&classes),
        classes: &classes,
        epochs: EpochRow::read(&read("results.csv")),
        steps: steps(&read("events.jsonl")),
        best_epoch: best_epoch(&weights),
        measured,
        preview: std::fs::read(run.join("aug_preview.png")).ok(),
        settings: Setting::read(&read("config.yaml")),
        nasgen: best.map_or_else(|| env!("CARGO_PKG_VERSION").into(), |(description, _)| description.nasgen),
    };
    Ok(report.to_html())
}

pub(super) fn measure(answers: Vec<f64>, images: &Images, classes: &[String]) -> Measured {
    let mistakes = worst_mistakes(&answers, &images.labels, classes.len(), MISTAKES);
    let pictured = mistakes.into_iter().filter_map(|mistake| {
        let png = picture(images, mistake.image).ok()?;
        Some((mistake, images.names[mistake.image].clone(), png))
    });
    let mistakes = pictured.collect();
    let answers = Answers::of(&[answers], classes.len(), Vote::Soft);
    let reliability = reliability(&answers, &images.labels, classes.len());
    Measured { evaluation: Evaluation::of(&answers, &images.labels, classes), mistakes, reliability }
}

/// The losses of single steps in `events.jsonl`, against the epochs done.
fn steps(events: &str) -> Vec<[f64; 2]> {
    let events: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_kind = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let steps = of_kind("step").filter_map(|event| event["step"].as_u64()).max().unwrap_or(1);
    let place = |event: &Value| {
        let (epoch, step) = (event["epoch"].as_f64()?, event["step"].as_f64()?);
        Some([epoch - 1.0 + step / steps as f64, event["loss"].as_f64()?])
    };
    of_kind("step").filter_map(place).collect()
}

fn best_epoch(weights: &Path) -> Option<usize> {
    let (_, metadata) = crate::weights::Weights::load(weights).ok()?;
    let metadata: Value = serde_json::from_str(metadata.get("nasgen")?).ok()?;
    metadata["epoch"].as_u64().map(|epoch| epoch as usize)
}

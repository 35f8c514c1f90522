//! `nasgen train --lr-find`: which learning rate to begin with.

use super::{ExecutorName, executor, executor_failure, summary::quoted};
use crate::{
    cli::{
        device,
        failure::{Failure, Kind},
        output::Output,
    },
    data::{Normalisation, Partition},
    files,
    network::Network,
    report::lr_chart,
    train::{
        OptimizerRule, RATE_STEPS, RATES, RangeTest, RunConfig, RunFolderError, TrainError, TrainingData, range_test,
    },
    weights::Weights,
};
use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::json;
use std::{fs, io::IsTerminal, path::Path};

pub(super) fn run(
    config: &RunConfig,
    network: &Network,
    parts: &Partition,
    folder: &Path,
    output: &Output,
) -> Result<(), Failure> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RunFolderError::NotEmpty(folder.display().to_string()).into());
    }
    let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
    let (rule, seed) = (OptimizerRule::of(&config.settings), config.settings.seed);
    let weights = Weights::initial(&network.layers, seed);
    let mut executor = executor(Some(name), network, &weights, rule, seed, device::open(&config.device)?)?;
    let data = TrainingData {
        train: &parts.train,
        validation: &parts.validation,
        classes: parts.classes.len(),
        normalisation: Normalisation::of(&parts.train),
    };
    let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(RATE_STEPS as u64));
    let test = range_test(&mut *executor, &data, &config.settings, &mut |_| {
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let test = test.map_err(|error| match error {
        TrainError::Executor(error) => executor_failure(&error.0),
        other => Failure::new(Kind::Failed, other.to_string()),
    })?;
    write(&test, folder)?;
    output.result(|| text(&test, folder), || {
        json!({
            "run": folder,
            "suggestion": test.suggestion(),
            "exploded": test.exploded,
            "points": test.points.iter().map(|point| [point.learning_rate, point.loss, point.smoothed]).collect::<Vec<_>>(),
        })
    })
}

fn write(test: &RangeTest, folder: &Path) -> Result<(), Failure> {
    let chart = lr_chart(test).map_err(|error| Failure::new(Kind::Failed, format!("cannot draw: {error}")))?;
    let failed =
        |error: std::io::Error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    files::write_whole(&folder.join("lr_find.csv"), test.to_csv().as_bytes()).map_err(failed)?;
    files::write_whole(&folder.join("lr_find.png"), &chart).map_err(failed)
}

/// The same command as a training: all that was set counts in it.
fn without_range_test(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["nasgen".to_owned()];
    let mut is_value_of_run = false;
    for argument in arguments {
        let is_run = argument == "--run" || argument.starts_with("--run=");
        if !is_value_of_run && !is_run && argument != "--lr-find" {
            words.push(quoted(&argument));
        }
        is_value_of_run = argument == "--run";
    }
    words.join(" ")
}

fn text(test: &RangeTest, folder: &Path) -> String {
    let [lowest, highest] = RATES;
    let tried = test.points.last().map_or(highest, |point| point.learning_rate);
    let end = if test.exploded { ", where the loss exploded" } else { "" };
    let next = match test.suggestion() {
        Some(rate) => format!(
            "suggested learning rate {rate:.2e}: the loss falls most steeply there; a good rate lies left of the \
             lowest point, and the picture shows whether chance decided\n\
             next:    {} --lr {rate:.2e}",
            without_range_test(std::env::args().skip(1)),
        ),
        None => "no suggestion: the loss does not fall".into(),
    };
    format!(
        "tried    {lowest:e} to {tried:.1e} in {} steps{end}\nfiles    {folder}: lr_find.png, lr_find.csv\n{next}",
        test.points.len(),
        folder = folder.display(),
    )
}

//! `nasgen train --dry-run`: what a training would do and need.

use super::{
    ExecutorName, executor, executor_failure,
    init::{Beginning, frozen},
    memory,
    summary::data_and_model,
};
use crate::{
    bench::{EpochTiming, measure_epoch},
    cli::{device, failure::Failure, output::Output},
    data::Partition,
    forecast::{disk_bytes, training_bytes},
    network::Network,
    numbers::{grouped, short},
    train::{OptimizerRule, Origin, RunConfig, TrainingData},
};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// How long steps are measured.
const PATIENCE: Duration = Duration::from_secs(1);

/// A training that does not take place.
pub(super) struct Plan {
    pub(super) config: RunConfig,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) network: Network,
    /// Of a cross-validation those of the first fold.
    pub(super) parts: Partition,
    pub(super) run: PathBuf,
}

/// What it would need.
struct Needs {
    timing: EpochTiming,
    seconds: f64,
    memory: u64,
    disk: u64,
}

pub(super) fn run(plan: &Plan, output: &Output) -> Result<(), Failure> {
    memory::check(&plan.config, &plan.network, &plan.parts)?;
    let needs = plan.needs(output)?;
    output.result(|| plan.text(&needs), || plan.json(&needs))
}

impl Plan {
    fn needs(&self, output: &Output) -> Result<Needs, Failure> {
        let Self { config, network, parts, .. } = self;
        let settings = &config.settings;
        let Beginning { weights, normalisation } = Beginning::anew(config, network, parts, output)?;
        frozen(config, network).iter().for_each(|line| output.message(line));
        let data = TrainingData {
            train: &parts.train,
            validation: &parts.validation,
            classes: parts.classes.len(),
            normalisation,
        };
        let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
        let device = device::open(&config.device)?;
        let rule = OptimizerRule::of(settings);
        let mut executor = executor(Some(name), network, &weights, rule, settings.seed, device)?;
        let timing = measure_epoch(&mut *executor, &data, settings, PATIENCE);
        let timing = timing.map_err(|error| executor_failure(&error.0))?;
        let runs = config.kfold.unwrap_or(1);
        let batch = settings.batch.min(parts.train.len()) as u64;
        let images = parts.train.memory_bytes() + parts.validation.memory_bytes();
        Ok(Needs {
            seconds: timing.seconds * (settings.epochs * runs) as f64,
            timing,
            memory: training_bytes(network, &config.executor, batch) + images,
            disk: disk_bytes(network, settings, &data) * runs as u64,
        })
    }

    fn files(&self) -> String {
        let files = "best.safetensors, last.safetensors, report.html, results.csv, events.jsonl, tb, split.csv, \
                     model.yaml, config.yaml, aug_preview.png";
        match self.config.kfold {
            Some(folds) => {
                format!("fold-1 to fold-{folds}, each with {files}; report.html, out_of_fold.csv, folds.csv")
            }
            None => files.to_owned(),
        }
    }

    fn text(&self, needs: &Needs) -> String {
        let Self { config, network, parts, origins, run } = self;
        let settings: String = config.to_yaml(origins).lines().skip(1).map(|line| format!("  {line}\n")).collect();
        let folds = config.kfold.map_or_else(String::new, |folds| format!(" in {folds} folds"));
        let left = memory::available().map_or_else(String::new, |bytes| format!(" ({}B are free)", short(bytes)));
        format!(
            "{}\nsettings\n{settings}\
             files    {}: {}\n\
             time     {} for {} epochs{folds}: {:.0} images per second, measured by {} steps\n\
             memory   {}B{left}\n\
             disk     {}B\n\
             This was a dry run: nothing was trained or written.",
            data_and_model(config, network, parts),
            run.display(),
            self.files(),
            duration(needs.seconds),
            grouped(config.settings.epochs as u64),
            needs.timing.images_per_second,
            needs.timing.steps,
            short(needs.memory),
            short(needs.disk),
        )
    }

    fn json(&self, needs: &Needs) -> Value {
        let Self { config, network, parts, origins, run } = self;
        let origin = |name: &str| origins.get(name).copied().unwrap_or_default().to_string();
        let setting = |(name, value): (String, Value)| {
            let setting = json!({"value": value, "origin": origin(&name)});
            (name, setting)
        };
        json!({
            "dry_run": true,
            "run": run,
            "data": config.data.to_string(),
            "classes": parts.classes,
            "train_images": parts.train.len(),
            "val_images": parts.validation.len(),
            "params": network.params(),
            "macs": network.macs(),
            "device": config.device,
            "executor": config.executor,
            "kfold": config.kfold,
            "settings": config.settings.effective().into_iter().map(setting).collect::<Map<_, _>>(),
            "images_per_second": needs.timing.images_per_second,
            "seconds": needs.seconds,
            "memory_bytes": needs.memory,
            "disk_bytes": needs.disk,
        })
    }
}

/// `1 h 20 min`, `45 s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(1.0) as u64;
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let written = [0.2, 59.4, 61.0, 3599.6, 90_000.0].map(duration);
        assert_eq!(written, ["1 s", "59 s", "1 min 1 s", "1 h 0 min", "25 h 0 min"]);
    }
}

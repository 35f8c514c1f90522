//! What is said of a training before and after it.

use super::Prepared;
use crate::{
    data::{Images, Partition, Source},
    evaluation::{Interval, Metrics},
    network::Network,
    numbers::{grouped, short},
    report::GUESSING,
    train::{Best, RunConfig, Summary},
};
use serde_json::{Value, json};

pub(super) fn headline(Prepared { config, network, parts, folder, .. }: &Prepared) -> String {
    format!("{}\nrun     {}", data_and_model(config, network, parts), folder.path().display())
}

pub(super) fn data_and_model(config: &RunConfig, network: &Network, parts: &Partition) -> String {
    format!(
        "data    {}: {} training and {} validation images, {} classes; decoded, they take {}\n\
         model   {}: {} parameters, {} MACs on {}",
        parts.name,
        grouped(parts.train.len() as u64),
        grouped(parts.validation.len() as u64),
        parts.classes.len(),
        places(parts),
        config.config,
        grouped(network.params()),
        short(network.macs()),
        network.input,
    )
}

/// Where the images are, and how much of it they take.
fn places(parts: &Partition) -> String {
    let bytes = |of: fn(&Images) -> u64| of(&parts.train) + of(&parts.validation);
    let places = [(bytes(Images::memory_bytes), "memory"), (bytes(Images::disk_bytes), "disk")];
    let taken = places.into_iter().filter(|(bytes, _)| *bytes > 0);
    taken.map(|(bytes, place)| format!("{}B of {place}", short(bytes))).collect::<Vec<_>>().join(" and ")
}

pub(super) fn text_report(summary: &Summary, Prepared { config, folder, parts, .. }: &Prepared) -> String {
    let Summary { best, epochs, images_per_second, seconds } = summary;
    let run = folder.path().display();
    let interval = interval(best.validation.accuracy, &parts.validation);
    // The run's own model has what --classes and --input changed.
    let model = quoted(&format!("{run}/model.yaml"));
    let more = if matches!(config.data, Source::Synthetic) {
        format!("nasgen train {model} --data FOLDER_OF_YOUR_IMAGES --classes N")
    } else if stopped_early(summary, config) {
        format!("nasgen report {}", quoted(&run.to_string()))
    } else {
        format!("nasgen train --resume {} --epochs {}", quoted(&run.to_string()), epochs * 2)
    };
    let early = match config.settings.patience {
        Some(patience) if stopped_early(summary, config) => {
            format!(
                "early   it ended before epoch {}: no better one in {patience} (patience)\n",
                config.settings.epochs
            )
        }
        _ => String::new(),
    };
    let is_guessing = best.validation.accuracy < GUESSING / parts.classes.len() as f64;
    let hint = if is_guessing {
        "hint:   hardly better than guessing; --lr-find suggests a learning rate, or give it more epochs\n"
    } else {
        ""
    };
    format!(
        "best    epoch {} of {epochs}: validation accuracy {:.1} % (95 % interval {:.1} to {:.1}), macro-F1 {:.3}, loss {:.3}\n\
         {early}time    {seconds:.0} s, {images_per_second:.0} images per second\n\
         files   {run}: best.safetensors, last.safetensors, report.html, results.csv, tb, model.yaml, config.yaml\n\
         {hint}next:   {more}\n\
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

/// Whether `patience` ended it before its last epoch.
fn stopped_early(summary: &Summary, config: &RunConfig) -> bool {
    summary.epochs < config.settings.epochs
}

pub(super) fn best_json(best: &Best, validation: &Images) -> Value {
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

/// A path as a shell takes it.
pub(in crate::cli) fn quoted(path: &str) -> String {
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

pub(super) fn to_json(summary: &Summary, prepared: &Prepared) -> Value {
    let Prepared { config, network, parts, folder, .. } = prepared;
    json!({
        "run": folder.path(),
        "epochs": summary.epochs,
        "stopped_early": stopped_early(summary, config),
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

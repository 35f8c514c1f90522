//! All settings of a training that begins: flags, the file of `--config`, defaults.

use super::{Arguments, ExecutorName, settings::Settings};
use crate::{
    cli::failure::Failure,
    data::{Source, UnknownFit},
    spec::{Diagnostic, SourceText, legacy_keys, read_data_file, yaml},
    train::{Origin, RunConfig},
};
use clap::ValueEnum;
use nasgen_modules::nearest;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// All settings of a run that begins, and where those that are not the default came from.
pub(super) fn effective(
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
    let executor = executor.unwrap_or_else(|| ExecutorName::Engine.to_string());
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

/// A path that means the same in another folder.
fn absolute(path: String) -> String {
    std::path::absolute(&path).map_or(path, |path| path.display().to_string())
}

/// The file of `--config`.
#[derive(Default)]
pub(super) struct SettingsFile {
    /// All but `train`.
    values: Map<String, Value>,
    pub(super) train: Map<String, Value>,
    /// Height and width, which only the Python project's files say here.
    pub(super) input_size: Option<[usize; 2]>,
    pub(super) notes: Vec<String>,
}

impl SettingsFile {
    const KEYS: [&str; 10] =
        ["config", "data", "fit", "device", "executor", "split", "subset", "init", "kfold", "train"];

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let source = SourceText::read(path)?;
        let yaml = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        let entries = yaml.as_map().unwrap_or_default();
        let known = || Self::KEYS.into_iter().chain(legacy_keys());
        // The Python project's files have keys for programs of their own; its keys are in capitals.
        let is_theirs = entries.iter().any(|entry| legacy_keys().any(|key| key == entry.key));
        let (foreign, own): (Vec<&yaml::Entry>, Vec<&yaml::Entry>) =
            entries.iter().filter(|entry| !known().any(|key| key == entry.key)).partition(|entry| {
                let is_typo = nearest(&entry.key, legacy_keys()).is_some();
                is_theirs && !is_typo && entry.key.chars().all(|letter| !letter.is_lowercase())
            });
        if let Some(entry) = own.first() {
            let near = nearest(&entry.key, known()).map(|near| format!("did you mean `{near}`?"));
            let diagnostic = Diagnostic::new(format!("unknown setting `{}`", entry.key)).at(entry.key_span).help(near);
            return Err(source.error(vec![diagnostic]).into());
        }
        let mut legacy = read_data_file(entries).map_err(|diagnostics| source.error(diagnostics))?;
        if !foreign.is_empty() {
            let names: Vec<&str> = foreign.iter().map(|entry| entry.key.as_str()).collect();
            legacy.notes.push(format!("unknown and not used: {}", names.join(", ")));
        }
        let Value::Object(mut values) = yaml.to_json() else {
            return Err(source.error(vec![Diagnostic::new("wanted a map of settings").at(yaml.span)]).into());
        };
        let mut train = legacy.train;
        if let Some(Value::Object(own)) = values.shift_remove("train") {
            train.extend(own);
        }
        if let Some(data) = legacy.data {
            values.entry("data").or_insert(data.into());
        }
        Ok(Self { values, train, input_size: legacy.input_size, notes: legacy.notes })
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(Into::into)
    }
}

//! All settings of a training that begins: flags, the file of `--config`, defaults.

use super::{Arguments, ExecutorName, settings::Settings};
use crate::{
    cli::failure::Failure,
    data::{Source, UnknownFit},
    spec::{Diagnostic, SourceText, yaml},
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
        kfold,
        settings: settings.values,
    };
    Ok((config, origins))
}

/// The file of `--config`.
#[derive(Default)]
pub(super) struct SettingsFile {
    /// All but `train`.
    values: Map<String, Value>,
    pub(super) train: Map<String, Value>,
}

impl SettingsFile {
    const KEYS: [&str; 9] = ["config", "data", "fit", "device", "executor", "split", "subset", "kfold", "train"];

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
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

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(Into::into)
    }
}

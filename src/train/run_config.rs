//! `config.yaml` of a run: all that it was asked for.

use crate::{
    data::{Fit, Source},
    spec::{Diagnostic, SourceText, SpecError, TrainSettings, emit_inline, yaml},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// The effective settings of a run. The network itself is in its `model.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// The model spec, as the user named it.
    pub config: String,
    /// Where the images are.
    pub data: Source,
    /// How images of another size are fitted.
    pub fit: Fit,
    /// `cpu`, `cuda` or `cuda:INDEX`.
    pub device: String,
    /// `engine` or `reference`.
    pub executor: String,
    /// The file of splits that it was given.
    pub split: Option<String>,
    /// How many of the training images it uses, if not all.
    pub subset: Option<String>,
    /// The weights that it begins with, if not random ones.
    pub init: Option<String>,
    /// Of a cross-validation, the number of folds; each is a run of its own in the run's folder.
    pub kfold: Option<usize>,
    /// How it is trained.
    pub settings: TrainSettings,
}

/// Where the value of a setting came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// `--set NAME=VALUE`.
    Set,
    /// A variable of the environment.
    Environment,
    /// The file of `--config`.
    File,
    /// `train:` in the model spec.
    Spec,
    /// Nobody set it.
    #[default]
    Default,
}

impl Origin {
    /// For messages about a setting that is not on the command line before the reader's eyes: ` (from NASGEN_LR)`.
    pub fn whence(self, setting: &str) -> String {
        match self {
            Self::Environment => format!(" (from NASGEN_{})", setting.to_uppercase()),
            Self::File => " (from the file of --config)".into(),
            Self::Spec => " (from `train:` of the spec)".into(),
            Self::Flag | Self::Set | Self::Default => String::new(),
        }
    }

    fn comment(self, setting: &str) -> String {
        match self {
            Self::Flag => format!("flag --{}", setting.replace('_', "-")),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Set => "--set",
            Self::Environment => "the environment",
            Self::File => "the file of --config",
            Self::Spec => "the spec",
            Self::Default => "default",
        })
    }
}

impl RunConfig {
    /// The file's text: every setting with its origin as a comment.
    pub fn to_yaml(&self, origins: &BTreeMap<String, Origin>) -> String {
        let line = |name: &str, value: &str| {
            let origin = origins.get(name).copied().unwrap_or_default();
            format!("{name}: {value}  # {}\n", origin.comment(name))
        };
        let quoted = |text: String| emit_inline(&Value::String(text));
        let mut text = format!(
            "# nasgen {}: the effective settings of this run, each with where it came from.\nconfig: {}\n",
            env!("CARGO_PKG_VERSION"),
            quoted(self.config.clone()),
        );
        text += &line("data", &quoted(self.data.to_string()));
        text += &line("fit", &self.fit.to_string());
        text += &line("device", &self.device);
        text += &line("executor", &self.executor);
        let kfold = self.kfold.map(|folds| folds.to_string());
        for (name, value) in [("split", &self.split), ("subset", &self.subset), ("init", &self.init), ("kfold", &kfold)]
        {
            text += &value.as_ref().map_or_else(String::new, |value| line(name, &quoted(value.clone())));
        }
        text += "train:\n";
        for (name, value) in self.settings.effective() {
            text += &format!("  {}", line(&name, &emit_inline(&value)));
        }
        text
    }

    /// Reads what [`RunConfig::to_yaml`] wrote.
    ///
    /// # Errors
    /// When a key is missing or unknown, or a value is not what it should be.
    pub fn parse(source: &SourceText) -> Result<Self, SpecError> {
        let yaml = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        let Value::Object(mut values) = yaml.to_json() else {
            return Err(source.error(vec![Diagnostic::new("wanted a map of settings").at(yaml.span)]));
        };
        let wrong = |key: &str, problem: String| {
            let span = yaml.get(key).map_or(yaml.span, |value| value.span);
            source.error(vec![Diagnostic::new(format!("{key}: {problem}")).at(span)])
        };
        let mut text = |key: &str| match values.shift_remove(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(key, format!("wanted a text, got {other}"))),
            None => Err(wrong(key, "it is missing".into())),
        };
        let (config, data, fit) = (text("config")?, text("data")?, text("fit")?);
        let (device, executor) = (text("device")?, text("executor")?);
        let fit = fit.parse().map_err(|problem| wrong("fit", format!("{problem}")))?;
        let Ok(data) = data.parse();
        let mut optional = |key: &str| match values.shift_remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(wrong(key, format!("wanted a text, got {other}"))),
        };
        let (split, subset, init) = (optional("split")?, optional("subset")?, optional("init")?);
        let kfold = optional("kfold")?.map(|text| text.parse().map_err(|_| wrong("kfold", format!("got {text}"))));
        let kfold = kfold.transpose()?;
        let settings = match values.shift_remove("train") {
            Some(Value::Object(settings)) => settings,
            _ => Map::new(),
        };
        let settings = TrainSettings::parse(&settings).map_err(|errors| {
            wrong("train", errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "))
        })?;
        match values.keys().next() {
            Some(key) => Err(wrong(key, "there is no such setting".into())),
            None => Ok(Self { config, data, fit, device, executor, split, subset, init, kfold, settings }),
        }
    }
}

/// `text`, the file of a run, with another number of epochs.
pub fn with_epochs(text: &str, epochs: usize) -> String {
    let line = |line: &str| match line.strip_prefix("  epochs: ") {
        Some(before) => {
            let before = before.split_whitespace().next().unwrap_or_default();
            format!("  epochs: {epochs}  # flag --epochs of a resume; before: {before}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_comes_back_as_it_was_written() {
        let settings = serde_json::json!({"lr": 0.02, "epochs": 7, "flip": false, "optimizer": "adamw"});
        let config = RunConfig {
            config: "my cfg: 'one'.yml".into(),
            data: Source::Folder("/data/flowers #2".into()),
            fit: Fit::Crop,
            device: "cpu".into(),
            executor: "reference".into(),
            split: Some("my split.csv".into()),
            subset: Some("10%".into()),
            init: Some("mobile net.pth".into()),
            kfold: Some(5),
            settings: TrainSettings::parse(settings.as_object().unwrap()).unwrap(),
        };
        let origins = BTreeMap::from([("lr".to_owned(), Origin::Flag), ("epochs".to_owned(), Origin::Spec)]);
        let text = config.to_yaml(&origins);
        assert!(text.contains("  lr: 0.02  # flag --lr\n") && text.contains("  epochs: 7  # the spec\n"), "{text}");
        let read = |text: &str| RunConfig::parse(&SourceText { name: "config.yaml".into(), text: text.to_owned() });
        let back = read(&text).unwrap();
        assert_eq!(back.settings.effective(), config.settings.effective());
        assert_eq!(back, RunConfig { settings: back.settings.clone(), ..config });

        let raised = with_epochs(&text, 12);
        assert_eq!(read(&raised).unwrap().settings.epochs, 12);
        assert!(raised.contains("  epochs: 12  # flag --epochs of a resume; before: 7\n"));
        for (wrong, message) in [
            (text.replace("fit: crop", "fit: croop"), "fit: must be letterbox"),
            (text.replace("  lr: 0.02", "  lr: fast"), "setting `lr`"),
            (text.replace("device:", "devise:"), "device: it is missing"),
            (format!("{text}shape: 3\n"), "shape: there is no such setting"),
        ] {
            let error = read(&wrong).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

//! The settings of a training with where each came from.

use crate::{
    cli::failure::Failure,
    spec::{TrainSettings, unfolded, yaml},
    train::Origin,
};
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use nasgen_modules::{Place, nearest};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::LazyLock};

/// The flags that were given for settings: one flag for each setting, its name and help the setting's.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct SettingFlags {
    given: Vec<(&'static str, String)>,
}

/// A setting as a flag.
struct Flag {
    setting: String,
    long: String,
    help: String,
    is_list: bool,
}

static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let flag = |argument: nasgen_modules::arguments::Argument| {
        let wanted = argument.wanted();
        let default = match &argument.default {
            Some(Value::Null) | None => String::new(),
            Some(Value::Array(list)) if list.is_empty() => " [default: none]".into(),
            Some(Value::String(text)) => format!(" [default: {text}]"),
            Some(value) => format!(" [default: {value}]"),
        };
        let choices = if wanted.starts_with("one of") { format!(": {wanted}") } else { String::new() };
        Flag {
            long: argument.name.replace('_', "-"),
            help: format!("{}{choices}{default}", argument.meaning.trim_end_matches('.')),
            is_list: wanted.starts_with("a list"),
            setting: argument.name,
        }
    };
    TrainSettings::signature().arguments.into_iter().map(flag).collect()
});

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let argument = |flag: &'static Flag| {
            let argument = Arg::new(flag.setting.as_str()).long(flag.long.as_str()).help(flag.help.as_str());
            let argument = argument.value_name("X").allow_hyphen_values(true).help_heading("Settings of the training");
            match flag.setting.as_str() {
                "epochs" => argument.short('e'),
                "batch" => argument.short('b'),
                _ => argument,
            }
        };
        command.args(FLAGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |flag: &'static Flag| {
            let text = matches.get_one::<String>(&flag.setting)?;
            Some((flag.setting.as_str(), text.clone()))
        };
        Ok(Self { given: FLAGS.iter().filter_map(value).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Effective settings.
pub(in crate::cli) struct Settings {
    pub(in crate::cli) values: TrainSettings,
    /// Of those that are not the default.
    pub(in crate::cli) origins: BTreeMap<String, Origin>,
    /// Whether the size of a batch is to be measured.
    pub(super) automatic_batch: bool,
}

impl SettingFlags {
    /// The flags that were given, by the name of the setting.
    pub(in crate::cli) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(name, text)| (*name, text.as_str()))
    }

    /// These flags over `--set`, over the environment, over the file of `--config`, over the spec's
    /// `train:`, over the defaults.
    pub(in crate::cli) fn over(
        &self,
        sets: &[String],
        file: &Map<String, Value>,
        spec: &Map<String, Value>,
    ) -> Result<Settings, Failure> {
        let mut layers = Layers::default();
        spec.iter().for_each(|(name, value)| layers.put(name, value.clone(), Origin::Spec));
        file.iter().for_each(|(name, value)| layers.put(name, value.clone(), Origin::File));
        for (name, text) in environment()? {
            layers.put(name, value(name, &text), Origin::Environment);
        }
        for text in sets {
            let (name, text) = assignment(text)?;
            layers.put(name, value(name, text), Origin::Set);
        }
        self.given().for_each(|(name, text)| layers.put(name, value(name, text), Origin::Flag));
        let Layers { mut values, origins } = layers;
        let from = |place: &Place| match place {
            Place::Argument(name) => origins.get(name).map_or_else(String::new, |origin| origin.whence(name)),
            _ => String::new(),
        };
        let automatic_batch = values.get("batch").and_then(Value::as_str) == Some("auto");
        if automatic_batch {
            values.shift_remove("batch");
        }
        let values = TrainSettings::parse(&values).map_err(|errors| {
            let line = |error: &nasgen_modules::Error| {
                let help = error.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
                format!("{}{help}{}", error.message, from(&error.place))
            };
            Failure::usage(errors.iter().map(line).collect::<Vec<_>>().join("\nerror: "))
        })?;
        Ok(Settings { values, origins, automatic_batch })
    }
}

/// Values with where each came from; a later one takes the place of an earlier one.
#[derive(Default)]
struct Layers {
    values: Map<String, Value>,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    fn put(&mut self, name: &str, value: Value, origin: Origin) {
        let whole = Map::from_iter([(name.to_owned(), value)]);
        // What cannot be taken apart is wrong, and is said to be so later.
        for (name, value) in unfolded(&whole).unwrap_or(whole) {
            self.origins.insert(name.clone(), origin);
            self.values.insert(name, value);
        }
    }
}

/// `lr=0.02` or `train.lr=0.02`.
fn assignment(text: &str) -> Result<(&str, &str), Failure> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Failure::usage(format!("--set: wanted NAME=VALUE, such as lr=0.02, got `{text}`")));
    };
    let name = name.trim();
    Ok((name.strip_prefix("train.").unwrap_or(name), value.trim()))
}

/// Variables that stand for no setting of a training, without `NASGEN_`: where downloads go, and what is for nasgen's
/// tests (tests/reporting.rs) and reaches the programs that these start.
const OTHER_VARIABLES: [&str; 4] = ["CACHE", "REQUIRE", "OPTUNA", "PYTHON"];

/// What `NASGEN_LR` and the like say; a variable that stands for no setting is an error.
fn environment() -> Result<Vec<(&'static str, String)>, Failure> {
    let mut found = Vec::new();
    for (variable, text) in std::env::vars_os() {
        let (Some(variable), Some(text)) = (variable.to_str(), text.to_str()) else { continue };
        let Some(name) = variable.strip_prefix("NASGEN_").filter(|name| !OTHER_VARIABLES.contains(name)) else {
            continue;
        };
        let name = name.to_lowercase();
        match FLAGS.iter().find(|flag| flag.setting == name) {
            Some(flag) => found.push((flag.setting.as_str(), text.to_owned())),
            None => {
                let near = nearest(&name, FLAGS.iter().map(|flag| flag.setting.as_str()));
                let near =
                    near.map_or_else(String::new, |near| format!("; did you mean NASGEN_{}?", near.to_uppercase()));
                return Err(Failure::usage(format!("the environment has {variable}, which is no setting{near}")));
            }
        }
    }
    Ok(found)
}

/// A flag's text means what it would mean in YAML; a list needs no brackets.
pub(in crate::cli) fn value(name: &str, text: &str) -> Value {
    let is_list = FLAGS.iter().any(|flag| flag.is_list && flag.setting == name) && !text.starts_with('[');
    let text = if is_list { format!("[{text}]") } else { text.to_owned() };
    let parsed = match text.starts_with(['[', '{']) {
        true => yaml::parse(&text).ok().map(|yaml| yaml.to_json()),
        false => serde_json::from_str(&text).ok(),
    };
    parsed.unwrap_or(Value::String(text))
}

//! The settings of a training with where each came from.

use crate::{
    cli::failure::Failure,
    spec::{TrainSettings, yaml},
    train::Origin,
};
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::LazyLock};

/// The flags that were given for settings: one flag for each setting, its name and help the setting's.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags {
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
pub(super) struct Settings {
    pub(super) values: TrainSettings,
    /// Of those that are not the default.
    pub(super) origins: BTreeMap<String, Origin>,
}

impl SettingFlags {
    /// The flags that were given, by the name of the setting.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(name, text)| (*name, text.as_str()))
    }

    /// These flags over the spec's `train:` over the defaults.
    pub(super) fn over(&self, spec: &Map<String, Value>) -> Result<Settings, Failure> {
        let mut values = spec.clone();
        for (name, text) in self.given() {
            values.insert(name.to_owned(), value(name, text));
        }
        let parsed = TrainSettings::parse(&values).map_err(|errors| {
            let line = |error: &nasgen_modules::Error| {
                let help = error.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
                format!("{}{help}", error.message)
            };
            Failure::usage(errors.iter().map(line).collect::<Vec<_>>().join("\nerror: "))
        })?;
        let from_spec = spec.keys().map(|name| (name.clone(), Origin::Spec));
        let from_flags = self.given().map(|(name, _)| (name.to_owned(), Origin::Flag));
        Ok(Settings { values: parsed, origins: from_spec.chain(from_flags).collect() })
    }
}

/// A flag's text means what it would mean in YAML; a list needs no brackets.
fn value(name: &str, text: &str) -> Value {
    let is_list = FLAGS.iter().any(|flag| flag.is_list && flag.setting == name) && !text.starts_with('[');
    let text = if is_list { format!("[{text}]") } else { text.to_owned() };
    let parsed = match text.starts_with(['[', '{']) {
        true => yaml::parse(&text).ok().map(|yaml| yaml.to_json()),
        false => serde_json::from_str(&text).ok(),
    };
    parsed.unwrap_or(Value::String(text))
}

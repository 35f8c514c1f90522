//! What users may set on a sampler or a pruner: a struct with a default for every field.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::fmt;

/// Settings that cannot be used, or a name that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError(pub String);

impl fmt::Display for SettingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for SettingError {}

/// Settings with their ranges.
pub(crate) trait Settings: Default + Serialize + DeserializeOwned {
    /// What is wrong with the values, if anything.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// Reads `given` over the defaults of `owner`, the name in messages.
pub(crate) fn read<S: Settings>(owner: &str, given: &Map<String, Value>) -> Result<S, SettingError> {
    let failed = |problem: String| SettingError(format!("settings of `{owner}`: {problem}"));
    let mut merged = defaults::<S>();
    if let Some(unknown) = given.keys().find(|key| !merged.contains_key(*key)) {
        let known: Vec<&str> = merged.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
        return Err(failed(format!("there is no `{unknown}`; {known}")));
    }
    merged.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
    let settings: S = serde_json::from_value(Value::Object(merged)).map_err(|error| failed(error.to_string()))?;
    settings.problem().map_or(Ok(settings), |problem| Err(failed(problem)))
}

/// Every setting with its default, in order.
pub(crate) fn defaults<S: Settings>() -> Map<String, Value> {
    match serde_json::to_value(S::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A problem unless `value` is at least `least`.
pub(crate) fn at_least(name: &str, value: f64, least: f64) -> Option<String> {
    (value.is_nan() || value < least).then(|| format!("`{name}` is {value}, wanted at least {least}"))
}

//! The sampler and the pruner of a search, with the settings that follow from how it is searched.

use super::Arguments;
use crate::cli::failure::Failure;
use nasgen_search::{Objective, Pruner, Sampler, pruners, samplers};
use serde_json::{Map, Value, json};

/// The pruner of nasgen's own trainings when none is named. An evaluator's are not stopped unless one is: what it
/// reports may not be what it answers in the end.
const PRUNER: &str = "asha";

/// A sampler or a pruner.
pub(super) struct Chosen<T: ?Sized> {
    pub(super) by: Box<T>,
    /// As it could be spelled.
    pub(super) text: String,
}

/// The sampler. Where neither a number of trials nor an evaluator says otherwise, one that can weigh a gain against its
/// cost does: what ends the search is time, or something that is to be found soon.
pub(super) fn sampler(
    arguments: &Arguments,
    objectives: &[Objective],
    seed: u64,
) -> Result<Chosen<dyn Sampler>, Failure> {
    let wrong = |problem: String| Failure::usage(format!("--sampler: {problem}"));
    let (name, mut given) = named(&arguments.sampler).map_err(wrong)?;
    let by_time = arguments.evaluator.is_none() && objectives.len() == 1 && arguments.trials.is_none();
    let weighs = samplers().iter().any(|kind| kind.name == name && (kind.defaults)().contains_key(COST_EXPONENT));
    if weighs && by_time {
        given.entry(COST_EXPONENT).or_insert_with(|| json!(1));
    }
    let by = nasgen_search::sampler(name, seed, &given).map_err(|error| wrong(error.to_string()))?;
    Ok(Chosen { by, text: spelled(name, &given) })
}

/// The pruner; `steps` are those of a whole training where they are known.
pub(super) fn pruner(arguments: &Arguments, steps: Option<usize>) -> Result<Chosen<dyn Pruner>, Failure> {
    let wrong = |problem: String| Failure::usage(format!("--pruner: {problem}"));
    let default = if arguments.evaluator.is_some() { "none" } else { PRUNER };
    let text = arguments.pruner.as_deref().unwrap_or(default);
    let (name, mut given) = named(text).map_err(wrong)?;
    let asks = pruners().iter().any(|kind| kind.name == name && (kind.defaults)().contains_key(MAX_RESOURCE));
    if let Some(steps) = steps.filter(|_| asks) {
        given.entry(MAX_RESOURCE).or_insert_with(|| json!(steps));
    }
    // What an evaluator scores cannot be taken up again: a beaten trial ends, and the first at a rung is not beaten.
    let promotes = pruners().iter().any(|kind| kind.name == name && (kind.defaults)().contains_key(PROMOTION));
    if promotes && arguments.evaluator.is_some() {
        given.entry(PROMOTION).or_insert_with(|| json!(false));
    }
    let by = nasgen_search::pruner(name, &given).map_err(|error| wrong(error.to_string()))?;
    // The steps stand in the study as the epochs of its trials.
    Ok(Chosen { by, text: text.to_owned() })
}

/// The setting of samplers that weighs gains against costs.
const COST_EXPONENT: &str = "cost_exponent";
/// The setting of pruners that says whether what is beaten may go on later.
const PROMOTION: &str = "promotion";
/// The setting of pruners that says how long a whole training is.
const MAX_RESOURCE: &str = "max_resource";

fn spelled(name: &str, given: &Map<String, Value>) -> String {
    let pairs: Vec<String> = given.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}:{}", pairs.join(",")) }
}

/// `tpe:n_startup_trials=20,group=false`: a name and its settings.
fn named(text: &str) -> Result<(&str, Map<String, Value>), String> {
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    let setting = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("wanted NAME:KEY=VALUE,…, got `{text}`"))?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok((key.trim().to_owned(), value))
    };
    let settings = settings.split(',').filter(|pair| !pair.trim().is_empty()).map(setting);
    Ok((name, settings.collect::<Result<_, String>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_settings() {
        let (name, settings) = named("tpe:n_startup_trials=20, group=false,kind=x").unwrap();
        assert_eq!(
            (name, Value::Object(settings)),
            ("tpe", json!({"n_startup_trials": 20, "group": false, "kind": "x"}))
        );
        assert_eq!(named("auto").unwrap(), ("auto", Map::new()));
        assert!(named("tpe:20").unwrap_err().contains("KEY=VALUE"));
    }
}

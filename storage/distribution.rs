//! Params as Optuna stores them: a distribution as JSON, and a real number for the value.
//!
//! Optuna's choices are null, booleans, numbers and texts. Lists and maps stand there as their JSON text; which
//! texts are such is kept beside ([`StructuredTexts`]), so that they come back as what they were.

use crate::{Error, Result};
use nasgen_modules::{Distribution, real};
use nasgen_search::Param;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// By param, the texts among its choices that spell a list or a map.
pub(crate) type StructuredTexts = BTreeMap<String, BTreeSet<String>>;

/// The texts that [`stored_choice`] makes of the lists and maps in `choices`.
pub(crate) fn structured_texts(choices: &[Value]) -> BTreeSet<String> {
    choices.iter().filter(|choice| is_structured(choice)).map(Value::to_string).collect()
}

fn is_structured(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// `choice` as Optuna can have it.
pub(crate) fn stored_choice(choice: &Value) -> Value {
    if is_structured(choice) { Value::String(choice.to_string()) } else { choice.clone() }
}

/// What `stored` was, where `texts` are the structured ones of its param.
pub(crate) fn original_choice(stored: Value, texts: Option<&BTreeSet<String>>) -> Value {
    match (&stored, texts) {
        (Value::String(text), Some(texts)) if texts.contains(text) => serde_json::from_str(text).unwrap_or(stored),
        _ => stored,
    }
}

/// Optuna's JSON of a distribution.
pub(crate) fn to_json(distribution: &Distribution) -> Value {
    match distribution {
        Distribution::Choice(choices) => {
            let choices: Vec<Value> = choices.iter().map(stored_choice).collect();
            json!({"name": "CategoricalDistribution", "attributes": {"choices": choices}})
        }
        Distribution::Int { low, high, step, log } => json!({
            "name": "IntDistribution",
            "attributes": {"log": log, "step": step, "low": low, "high": high},
        }),
        Distribution::Float { low, high, step, log } => json!({
            "name": "FloatDistribution",
            "attributes": {"step": step, "low": low, "high": high, "log": log},
        }),
    }
}

/// The distribution of the param called `name`.
pub(crate) fn from_json(text: &str, name: &str, structured: &StructuredTexts) -> Result<Distribution> {
    let whole = parse(text)?;
    let wrong = || Error::Unreadable {
        what: format!("the distribution {text} of param {name:?}"),
        why: "wanted Optuna's CategoricalDistribution, IntDistribution or FloatDistribution".to_owned(),
    };
    let attributes = &whole["attributes"];
    let log = || attributes["log"].as_bool().unwrap_or(false);
    let number = |key: &str| attributes[key].as_f64().ok_or_else(wrong);
    let whole_number = |key: &str| attributes[key].as_i64().ok_or_else(wrong);
    match whole["name"].as_str().ok_or_else(wrong)? {
        "CategoricalDistribution" => {
            let choices = attributes["choices"].as_array().ok_or_else(wrong)?;
            let texts = structured.get(name);
            Ok(Distribution::Choice(choices.iter().map(|choice| original_choice(choice.clone(), texts)).collect()))
        }
        "IntDistribution" => Ok(Distribution::Int {
            low: whole_number("low")?,
            high: whole_number("high")?,
            step: whole_number("step")?,
            log: log(),
        }),
        "FloatDistribution" => Ok(Distribution::Float {
            low: number("low")?,
            high: number("high")?,
            step: attributes["step"].as_f64(),
            log: log(),
        }),
        _ => Err(wrong()),
    }
}

/// The number that Optuna stores for a param's value: the value itself, or the index of a choice.
pub(crate) fn stored_value(param: &Param) -> Result<f64> {
    let wrong = |why: &str| Error::Unstorable {
        what: format!("{} as the value of param {:?}", param.value, param.name),
        why: why.to_owned(),
    };
    match &param.distribution {
        Distribution::Choice(choices) => {
            let index = choices.iter().position(|choice| *choice == param.value);
            index.map(|index| index as f64).ok_or_else(|| wrong("wanted one of its choices"))
        }
        Distribution::Int { .. } => {
            let value = param.value.as_i64().ok_or_else(|| wrong("wanted a whole number"))?;
            let stored = value as f64;
            (stored as i64 == value)
                .then_some(stored)
                .ok_or_else(|| wrong("a real number, as Optuna stores it, holds whole numbers up to 2^53"))
        }
        Distribution::Float { .. } => param.value.as_f64().ok_or_else(|| wrong("wanted a number")),
    }
}

/// The value that `stored` stands for.
pub(crate) fn original_value(stored: f64, distribution: &Distribution, name: &str) -> Result<Value> {
    match distribution {
        Distribution::Choice(choices) => choices.get(stored as usize).cloned().ok_or_else(|| Error::Unreadable {
            what: format!("choice {stored} of param {name:?}"),
            why: format!("there are {}", choices.len()),
        }),
        Distribution::Int { .. } => Ok(Value::from(stored as i64)),
        Distribution::Float { .. } => Ok(real(stored)),
    }
}

/// JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` become texts of these names.
pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .or_else(|_| serde_json::from_str(&quoted_tokens(text)))
        .map_err(|error| Error::Unreadable { what: format!("the JSON text {text:?}"), why: error.to_string() })
}

fn quoted_tokens(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    let (mut within, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !within && let Some(token) = ["NaN", "Infinity", "-Infinity"].into_iter().find(|t| rest.starts_with(t)) {
            quoted.extend(["\"", token, "\""]);
            rest = &rest[token.len()..];
            continue;
        }
        match character {
            '"' if !escaped => within = !within,
            _ => {}
        }
        escaped = within && character == '\\' && !escaped;
        quoted.push(character);
        rest = &rest[character.len_utf8()..];
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(distribution: Distribution, value: Value) -> Param {
        Param { name: "p".to_owned(), distribution, value }
    }

    #[test]
    fn what_is_stored_comes_back_as_what_it_was() {
        let choices =
            vec![json!([1, {"a": null}]), json!("[1]"), json!({"k": [2.0]}), Value::Null, json!(3), json!(0.5)];
        let cases = [
            param(Distribution::Int { low: -4, high: 8, step: 4, log: false }, json!(4)),
            param(Distribution::Int { low: 1, high: 1000, step: 1, log: true }, json!(999)),
            param(Distribution::Float { low: 1e-7, high: 0.1, step: None, log: true }, json!(3.3e-5)),
            param(Distribution::Float { low: 0.0, high: 1.0, step: Some(0.1), log: false }, json!(0.30000000000000004)),
        ];
        let chosen = choices.iter().map(|value| param(Distribution::Choice(choices.clone()), value.clone()));
        for param in cases.into_iter().chain(chosen) {
            let mut structured = StructuredTexts::new();
            if let Distribution::Choice(choices) = &param.distribution {
                structured.insert("p".to_owned(), structured_texts(choices));
            }
            let distribution = from_json(&to_json(&param.distribution).to_string(), "p", &structured).unwrap();
            assert_eq!(distribution, param.distribution);
            let value = original_value(stored_value(&param).unwrap(), &distribution, "p").unwrap();
            assert_eq!(value, param.value);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let ints = Distribution::Int { low: 0, high: i64::MAX, step: 1, log: false };
        assert!(stored_value(&param(ints.clone(), json!((1_i64 << 53) + 1))).is_err());
        assert!(stored_value(&param(ints, json!("4"))).is_err());
        assert!(stored_value(&param(Distribution::Choice(vec![json!(1)]), json!(2))).is_err());
    }

    #[test]
    fn json_of_python_is_read() {
        let value = parse(r#"{"a": [NaN, -Infinity, 1e400], "NaN\"": "Infinity"}"#.replace("1e400", "2").as_str());
        assert_eq!(value.unwrap(), json!({"a": ["NaN", "-Infinity", 2], "NaN\"": "Infinity"}));
        assert!(parse("{").is_err());
    }
}

//! Sets of values: what a space draws from.

use super::{
    diagnostic::{Diagnostic, Span},
    emit::emit_inline,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{
    Distribution, SET_KEYS,
    expression::{Amount, Expression},
    nearest,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a set may be.
const KINDS: [&str; 3] = ["choice", "int", "float"];

/// An option as the value of a draw: scalars as they are, all else as its text.
pub fn option_label(option: &Yaml) -> Value {
    match &option.node {
        Node::Scalar(value) => value.clone(),
        _ => Value::String(emit_inline(&option.to_json())),
    }
}

/// A choice between labels; each stands once.
///
/// # Errors
/// With the place of what is wrong.
pub fn labels(choice: &Yaml, label: fn(&Yaml) -> Value) -> Result<Distribution, Diagnostic> {
    let options = choice.as_list().filter(|options| !options.is_empty()).ok_or_else(|| {
        Diagnostic::new(format!("choice: wanted a list of values, got {}", choice.describe())).at(choice.span)
    })?;
    let labels: Vec<Value> = options.iter().map(label).collect();
    // Two options that are called by the same word are called by their texts.
    let mut twins: BTreeMap<String, usize> = BTreeMap::new();
    for label in &labels {
        *twins.entry(label.to_string()).or_default() += 1;
    }
    let unique = |(label, option): (Value, &Yaml)| {
        if twins[&label.to_string()] == 1 { label } else { option_label(option) }
    };
    let labels: Vec<Value> = labels.into_iter().zip(options).map(unique).collect();
    let mut seen = BTreeSet::new();
    match labels.iter().position(|label| !seen.insert(label.to_string())) {
        Some(twin) => Err(Diagnostic::new("choice: this value stands twice").at(options[twin].span)),
        None => Ok(Distribution::Choice(labels)),
    }
}

/// Whether a map is a set of values.
pub fn is_set(entries: &[Entry]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| SET_KEYS.contains(&entry.key.as_str()))
}

/// What is wrong with a map that was meant as a set, if one was: a key that no set has, beside a list
/// under a kind of set, or under a word that is nearly one. Where maps of any keys may stand
/// (`is_free`), every key must be like one of a set.
pub fn mistyped_set(entries: &[Entry], is_free: bool) -> Option<Diagnostic> {
    let stray = entries.iter().find(|entry| !SET_KEYS.contains(&entry.key.as_str()))?;
    let like = |entry: &Entry| SET_KEYS.contains(&entry.key.as_str()) || nearest(&entry.key, SET_KEYS).is_some();
    let ranges = |kind: &str| KINDS.contains(&kind);
    let is_kind = |entry: &&Entry| entry.value.as_list().is_some() && ranges(&entry.key);
    let is_like_kind =
        |entry: &&Entry| entry.value.as_list().is_some() && nearest(&entry.key, SET_KEYS).is_some_and(ranges);
    let has_kind = entries.iter().any(|entry| is_kind(&entry));
    let is_meant = match has_kind && !is_free {
        true => true,
        false => entries.iter().all(like) && entries.iter().any(|entry| is_kind(&entry) || is_like_kind(&entry)),
    };
    is_meant.then(|| {
        let help = nearest(&stray.key, SET_KEYS).map_or_else(
            || "a set is {choice: […]}, {int: [low, high]} or {float: [low, high]}, with step, log and name".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Diagnostic::new(format!("unknown key `{}` in a set of values", stray.key)).at(stray.key_span).help(help)
    })
}

/// The first place where a spec is not one network: a set of values, cells, or keys of a space.
pub fn first_of_a_space(file: &Yaml) -> Option<Span> {
    // Blocks say with sets what they draw; what was drawn is no set any more.
    let inert = |entry: &&Entry| !["blocks", "sample"].contains(&entry.key.as_str());
    let is_cells = |yaml: &Yaml| matches!(yaml.as_map(), Some([Entry { key, .. }]) if key == "cells");
    file.as_map()?.iter().filter(inert).find_map(|entry| {
        let rows = entry.value.as_list().unwrap_or_default();
        let cells = || rows.iter().find(|row| is_cells(row)).map(|row| row.span);
        first_set(&entry.value).or_else(cells)
    })
}

fn first_set(yaml: &Yaml) -> Option<Span> {
    match &yaml.node {
        Node::Scalar(_) => None,
        Node::List(items) => items.iter().find_map(first_set),
        Node::Map(entries) => {
            let has_kind = KINDS.iter().chain(&["ref"]).any(|kind| yaml.get(kind).is_some());
            let inner = || entries.iter().find_map(|entry| first_set(&entry.value));
            if has_kind && is_set(entries) { Some(yaml.span) } else { inner() }
        }
    }
}

/// Exactly one kind of set, with what belongs to it.
///
/// # Errors
/// With the place of the set.
pub fn check_set(yaml: &Yaml) -> Result<(), Diagnostic> {
    let wrong = |message: &str| Err(Diagnostic::new(message).at(yaml.span));
    if KINDS.into_iter().filter(|kind| yaml.get(kind).is_some()).count() != 1 {
        return wrong("a set of values has exactly one of choice, int, float");
    }
    if yaml.get("choice").is_some() && (yaml.get("step").is_some() || yaml.get("log").is_some()) {
        return wrong("choice takes neither step nor log");
    }
    Ok(())
}

/// What a set draws from; `stage` is what `i` means in its bounds, if anything.
///
/// # Errors
/// With the place of what is wrong.
pub fn distribution(yaml: &Yaml, stage: Option<usize>) -> Result<Distribution, Diagnostic> {
    check_set(yaml)?;
    let (step, log) = (yaml.get("step"), yaml.get("log"));
    match (yaml.get("choice"), yaml.get("int"), yaml.get("float")) {
        (Some(choice), ..) => labels(choice, option_label),
        (None, Some(int), _) => whole_numbers(int, step, log, stage),
        (None, None, Some(float)) => reals(float, step, log, stage),
        (None, None, None) => unreachable!("check_set found one of them"),
    }
}

/// Whether a bound in `yaml` depends on the stage.
pub fn uses_stage(yaml: &Yaml) -> bool {
    let bounds = ["int", "float", "step"].into_iter().filter_map(|key| yaml.get(key));
    bounds
        .flat_map(|bounds| bounds.as_list().unwrap_or(std::slice::from_ref(bounds)))
        .any(|bound| bound.as_str().is_some())
}

/// A bound: a number, or an expression of the stage `i`.
fn bound(yaml: &Yaml, stage: Option<usize>) -> Result<Option<f64>, Diagnostic> {
    let Some(text) = yaml.as_str() else { return Ok(yaml.as_f64()) };
    let wrong = |message: String| Diagnostic::new(format!("bound `{text}`: {message}")).at(yaml.span);
    let expression = Expression::parse(text).map_err(|error| wrong(error.to_string()))?;
    let stranger = expression.names().into_iter().map(|(name, _)| name).find(|name| *name != "i" || stage.is_none());
    let help = match (stranger, stage) {
        (None, _) => None,
        (Some("i"), _) => {
            let help = "it has one in cells that draw for each stage (mode: free; of growing ones, in n)".to_owned();
            return Err(wrong("`i`, the stage, has no meaning here".to_owned()).help(help));
        }
        (Some(_), Some(_)) => Some("a bound is made of numbers and `i`, the stage, from 1".to_owned()),
        (Some(_), None) => Some("a bound here is made of numbers alone".to_owned()),
    };
    if let Some(name) = stranger {
        return Err(wrong(format!("`{name}` has no value here")).help(help));
    }
    let meaning = |name: &str| stage.filter(|_| name == "i").map(|stage| Amount::Number(stage as f64));
    expression.number(&meaning).map(Some).map_err(|error| wrong(error.to_string()))
}

/// `[low, high]`; `number` says what is wrong with one of them.
fn bounds<T: PartialOrd>(
    kind: &str,
    yaml: &Yaml,
    stage: Option<usize>,
    number: impl Fn(f64) -> Result<T, String>,
) -> Result<[T; 2], Diagnostic> {
    let at_stage = || stage.filter(|_| has_expression(yaml)).map_or(String::new(), |i| format!(" in stage {i}"));
    let wrong = |span: Span| {
        let got = emit_inline(&yaml.to_json());
        let message = format!("{kind}: wanted [low, high] with low ≤ high, got {got}{}", at_stage());
        Diagnostic::new(message).at(span)
    };
    let Some([low, high]) = yaml.as_list() else { return Err(wrong(yaml.span)) };
    let one = |bound_yaml: &Yaml| {
        let value = bound(bound_yaml, stage)?.ok_or_else(|| wrong(bound_yaml.span))?;
        number(value).map_err(|problem| Diagnostic::new(format!("{kind}: {problem}{}", at_stage())).at(bound_yaml.span))
    };
    let (low, high) = (one(low)?, one(high)?);
    if low <= high { Ok([low, high]) } else { Err(wrong(yaml.span)) }
}

fn has_expression(yaml: &Yaml) -> bool {
    yaml.as_list().is_some_and(|items| items.iter().any(|item| item.as_str().is_some()))
}

fn is_log(log: Option<&Yaml>) -> Result<bool, Diagnostic> {
    match log.map(|log| (&log.node, log.span)) {
        None => Ok(false),
        Some((Node::Scalar(Value::Bool(log)), _)) => Ok(*log),
        Some((_, span)) => Err(Diagnostic::new("log: wanted true or false").at(span)),
    }
}

/// `number`, where it is whole and not beyond what every reader of the file keeps exactly.
fn whole(number: f64) -> Result<i64, String> {
    const LARGEST: f64 = (1u64 << 53) as f64;
    if number.abs() >= LARGEST {
        return Err(format!("wanted a whole number between -2^53 and 2^53, got {number}"));
    }
    if number.fract() != 0.0 {
        return Err(format!("wanted a whole number, got {number}; {{float: […]}} draws others"));
    }
    Ok(number as i64)
}

fn whole_numbers(
    yaml: &Yaml,
    step: Option<&Yaml>,
    log: Option<&Yaml>,
    stage: Option<usize>,
) -> Result<Distribution, Diagnostic> {
    let [low, high] = bounds("int", yaml, stage, whole)?;
    let log = is_log(log)?;
    let wrong = |message: &str, span| Err(Diagnostic::new(message).at(span));
    let step = match step {
        None => 1,
        Some(step) => match bound(step, stage)?.and_then(|size| whole(size).ok()) {
            _ if log => return wrong("step: a logarithmic set has no step", step.span),
            Some(size) if size > 0 => size,
            _ => return wrong("step: wanted a whole number of at least 1", step.span),
        },
    };
    if log && low < 1 {
        return wrong("int: a logarithmic set begins at 1 or above", yaml.span);
    }
    Ok(Distribution::Int { low, high: low + (high - low) / step * step, step, log })
}

fn reals(
    yaml: &Yaml,
    step: Option<&Yaml>,
    log: Option<&Yaml>,
    stage: Option<usize>,
) -> Result<Distribution, Diagnostic> {
    let [low, high] = bounds("float", yaml, stage, Ok)?;
    let log = is_log(log)?;
    let wrong = |message: &str, span| Err(Diagnostic::new(message).at(span));
    let step = match step {
        None => None,
        Some(step) => match bound(step, stage)? {
            _ if log => return wrong("step: a logarithmic set has no step", step.span),
            Some(size) if size > 0.0 && (high - low) / size < 1e9 => Some(size),
            _ => return wrong("step: wanted a number above 0", step.span),
        },
    };
    if log && low <= 0.0 {
        return wrong("float: a logarithmic set begins above 0", yaml.span);
    }
    Ok(Distribution::Float { low, high, step, log })
}

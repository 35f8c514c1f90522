//! Sets of values: what a space draws from.

use super::{
    diagnostic::Diagnostic,
    emit::emit_inline,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{
    Distribution, SET_KEYS,
    expression::{Amount, Expression},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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

/// Exactly one kind of set, with what belongs to it.
///
/// # Errors
/// With the place of the set.
pub fn check_set(yaml: &Yaml) -> Result<(), Diagnostic> {
    let wrong = |message: &str| Err(Diagnostic::new(message).at(yaml.span));
    if ["choice", "int", "float"].into_iter().filter(|kind| yaml.get(kind).is_some()).count() != 1 {
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
    let wrong = |message: String| Diagnostic::new(message).at(yaml.span);
    let expression = Expression::parse(text).map_err(|error| wrong(format!("bound `{text}`: {error}")))?;
    let Some(stage) = stage else {
        return Err(wrong(format!("bound `{text}`: `i`, the stage, has no meaning here"))
            .help("it has one in cells that draw for each stage (mode: free; of growing ones, in n)".to_owned()));
    };
    let meaning = |name: &str| (name == "i").then_some(Amount::Number(stage as f64));
    let number = expression
        .number(&meaning)
        .map_err(|error| wrong(format!("bound `{text}`: {error}")).help("`i` is the stage, from 1".to_owned()))?;
    Ok(Some(number))
}

/// `[low, high]`.
fn bounds<T>(
    kind: &str,
    yaml: &Yaml,
    stage: Option<usize>,
    number: impl Fn(f64) -> Option<T>,
) -> Result<[T; 2], Diagnostic>
where
    T: PartialOrd,
{
    let bounds = match yaml.as_list() {
        Some([low, high]) => bound(low, stage)?.and_then(&number).zip(bound(high, stage)?.and_then(&number)),
        _ => None,
    };
    match bounds {
        Some((low, high)) if low <= high => Ok([low, high]),
        _ => {
            let at_stage = stage.filter(|_| has_expression(yaml)).map_or(String::new(), |i| format!(" in stage {i}"));
            let got = emit_inline(&yaml.to_json());
            let message = format!("{kind}: wanted [low, high] with low ≤ high, got {got}{at_stage}");
            Err(Diagnostic::new(message).at(yaml.span))
        }
    }
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

fn whole(number: f64) -> Option<i64> {
    const LARGEST: f64 = (1u64 << 53) as f64;
    (number.fract() == 0.0 && number.abs() < LARGEST).then_some(number as i64)
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
        Some(step) => match bound(step, stage)?.and_then(whole) {
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
    let [low, high] = bounds("float", yaml, stage, Some)?;
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

//! The values that steps give to what they name.

use crate::spec::{
    diagnostic::{Diagnostic, Span},
    yaml::{Node, Yaml},
};
use nasgen_modules::{
    Activation,
    composition::{FUNCTIONS, LayerDefault, NAMES, Parameter, Scalar},
    expression::Expression,
    nearest,
};
use serde_json::Value;

pub(super) fn default_scalar(default: LayerDefault) -> Option<Scalar> {
    match default {
        LayerDefault::Required => None,
        LayerDefault::Number(number) => Some(Scalar::Expression(Expression::constant(number))),
        LayerDefault::No => Expression::parse("false").ok().map(Scalar::Expression),
        LayerDefault::Null => Some(Scalar::Null),
        LayerDefault::Function(activation) => Some(Scalar::Activation(Some(activation))),
    }
}

/// The arguments that are given, by name.
pub(super) fn given(
    noun: &str,
    names: &[&str],
    arguments: Option<&Yaml>,
    parameters: &[Parameter],
) -> Result<Vec<(String, Scalar)>, Diagnostic> {
    let takes = || match names {
        [] => "it takes no arguments".to_owned(),
        names => format!("it takes {}", names.join(", ")),
    };
    let Some(yaml) = arguments else { return Ok(Vec::new()) };
    let pairs: Vec<(&str, &Yaml, Span)> = match &yaml.node {
        // `norm:` with nothing behind it.
        Node::Scalar(Value::Null) if names.is_empty() => Vec::new(),
        Node::Map(entries) => entries.iter().map(|entry| (entry.key.as_str(), &entry.value, entry.key_span)).collect(),
        Node::List(items) if items.len() > names.len() => {
            let message = format!("{noun}: {}, got {}", takes(), items.len());
            return Err(Diagnostic::new(message).at(items[names.len()].span));
        }
        Node::List(items) => names.iter().copied().zip(items).map(|(name, item)| (name, item, item.span)).collect(),
        Node::Scalar(_) => match names.first() {
            Some(first) => vec![(*first, yaml, yaml.span)],
            None => return Err(Diagnostic::new(format!("{noun}: {}", takes())).at(yaml.span)),
        },
    };
    let mut given = Vec::new();
    for (name, value, place) in pairs {
        if !names.contains(&name) {
            let help =
                nearest(name, names.iter().copied()).map_or_else(takes, |near| format!("did you mean `{near}`?"));
            return Err(Diagnostic::new(format!("{noun}: unknown argument `{name}`")).at(place).help(help));
        }
        given.push((name.to_owned(), scalar(noun, value, parameters)?));
    }
    Ok(given)
}

/// A number, a condition, an activation, null, or an argument of the block.
pub(super) fn scalar(noun: &str, yaml: &Yaml, parameters: &[Parameter]) -> Result<Scalar, Diagnostic> {
    match &yaml.node {
        Node::Scalar(Value::Null) => Ok(Scalar::Null),
        Node::Scalar(Value::String(word)) => {
            if parameters.iter().any(|parameter| parameter.name == *word) {
                return Ok(Scalar::Argument(word.clone()));
            }
            match Activation::named(word) {
                Some(activation) => Ok(Scalar::Activation(Some(activation))),
                None => expression(noun, yaml, parameters).map(Scalar::Expression),
            }
        }
        _ => expression(noun, yaml, parameters).map(Scalar::Expression),
    }
}

/// Arithmetic on the block's arguments and the channels that reach it.
pub(super) fn expression(noun: &str, yaml: &Yaml, parameters: &[Parameter]) -> Result<Expression, Diagnostic> {
    let text = match &yaml.node {
        Node::Scalar(Value::String(text)) => text.clone(),
        Node::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => {
            let message = format!("{noun}: wanted a number or an expression, got {}", yaml.describe());
            return Err(Diagnostic::new(message).at(yaml.span));
        }
    };
    // Numbers as JSON writes them may have an exponent, which expressions do not know.
    if let Some(number) = yaml.as_f64() {
        return Ok(Expression::constant(number));
    }
    let at = |offset: usize, message: String| {
        // Within quotes the text begins one character later.
        let quoted = usize::from(yaml.span.end - yaml.span.start > text.len());
        let start = (yaml.span.start + quoted + offset).min(yaml.span.end);
        Diagnostic::new(format!("{noun}: {message}")).at(Span { start, end: yaml.span.end })
    };
    let parsed = Expression::parse(&text).map_err(|error| at(error.at, error.message))?;
    let known = || parameters.iter().map(|parameter| parameter.name.as_str()).chain(NAMES.map(|(name, _)| name));
    for (name, offset) in parsed.names() {
        if !known().any(|known| known == name) {
            let help = nearest(name, known()).map_or_else(
                || format!("names are {}", known().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(at(offset, format!("unknown name `{name}`")).help(help));
        }
    }
    for (name, offset) in parsed.functions() {
        if !FUNCTIONS.iter().any(|(known, _)| *known == name) {
            let help = "functions are min, max, floor, ceil, round, channels".to_owned();
            return Err(at(offset, format!("unknown function `{name}`")).help(help));
        }
    }
    Ok(parsed)
}

pub(super) fn label_of(noun: &str, yaml: &Yaml) -> Result<String, Diagnostic> {
    let label = yaml.as_str().filter(|label| {
        !label.is_empty()
            && label.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'))
    });
    label.map(str::to_owned).ok_or_else(|| {
        let message = format!("{noun}.label: wanted words of letters and digits, got {}", yaml.describe());
        Diagnostic::new(message).at(yaml.span)
    })
}

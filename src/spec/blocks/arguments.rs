//! The arguments of a block: types, defaults, ranges, and what they are drawn from.

use super::Definer;
use crate::spec::{
    diagnostic::{Diagnostic, Span},
    set::distribution,
    yaml::{Entry, Yaml},
};
use nasgen_modules::{
    Distribution, SET_KEYS,
    composition::{NAMES, Parameter, ParameterKind},
    expression::Expression,
    nearest,
};
use serde_json::Value;

const ARGUMENT_KEYS: [&str; 5] = ["type", "default", "range", "draw", "meaning"];

impl Definer<'_> {
    pub(super) fn parameters(&mut self, block: &str, yaml: &Yaml) -> Vec<Parameter> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("{block}.args: wanted a map from names to types, got {}", yaml.describe());
            self.wrong.push(Diagnostic::new(message).at(yaml.span));
            return Vec::new();
        };
        let mut parameters = Vec::new();
        let mut optional: Option<&str> = None;
        for entry in entries {
            match self.parameter(block, entry) {
                Ok(parameter) => {
                    if let (None, Some(optional)) = (&parameter.default, optional) {
                        let message = format!(
                            "{block}.args: `{}` must be given, but stands after `{optional}`, which need not",
                            entry.key
                        );
                        self.wrong.push(Diagnostic::new(message).at(entry.key_span));
                    }
                    optional = optional.or(parameter.default.is_some().then_some(entry.key.as_str()));
                    parameters.push(parameter);
                }
                Err(diagnostic) => {
                    self.wrong.push(diagnostic);
                    // Layers may name it all the same: one mistake is one error.
                    parameters.push(plain_parameter(&entry.key));
                }
            }
        }
        parameters
    }

    /// `int`, `{int: 3}`, `{int: 3, draw: …}` or `{type: int, draw: …}`.
    fn parameter(&mut self, block: &str, Entry { key, key_span, value }: &Entry) -> Result<Parameter, Diagnostic> {
        let noun = format!("{block}.args.{key}");
        let taken = SET_KEYS.contains(&key.as_str()) || NAMES.iter().any(|(name, _)| name == key);
        let is_name = Expression::parse(key).is_ok_and(|expression| expression.names() == [(key.as_str(), 0)]);
        if taken || !is_name {
            let message = format!("{noun}: no argument can have this name");
            return Err(Diagnostic::new(message).at(*key_span).help("it has a meaning of its own".to_owned()));
        }
        let kind_of = |name: &str, span: Span| {
            let known = ParameterKind::NAMES;
            known.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let message = format!("{noun}: wanted a type, one of {}, got `{name}`", names.join(", "));
                let near = nearest(name, names.iter().copied());
                Diagnostic::new(message).at(span).help(near.map(|near| format!("did you mean `{near}`?")))
            })
        };
        let mut parameter = plain_parameter(key);
        if let Some(name) = value.as_str() {
            return Ok(Parameter { kind: kind_of(name, value.span)?, ..parameter });
        }
        let Some(entries) = value.as_map().filter(|entries| !entries.is_empty()) else {
            let message = format!("{noun}: wanted a type such as int, or {{int: default}}, got {}", value.describe());
            return Err(Diagnostic::new(message).at(value.span));
        };
        let short = entries.iter().find(|entry| ParameterKind::NAMES.iter().any(|(name, _)| *name == entry.key));
        match (short, value.get("type")) {
            (Some(entry), None) => {
                parameter.kind = kind_of(&entry.key, entry.key_span)?;
                parameter.default = Some(entry.value.to_json());
            }
            (None, Some(kind)) => parameter.kind = kind_of(kind.as_str().unwrap_or_default(), kind.span)?,
            _ => {
                let message = format!("{noun}: wanted one type, as {{int: default}} or as {{type: int}}");
                return Err(Diagnostic::new(message).at(value.span));
            }
        }
        for entry in entries {
            self.argument_key(&noun, entry, &mut parameter)?;
        }
        let accepted = |value: &Value, span: Span| {
            parameter.accepts(value).map_err(|error| Diagnostic::new(format!("{noun}: {}", error.message)).at(span))
        };
        if let Some(default) = &parameter.default {
            accepted(default, value.span)?;
        }
        if let (Some(draw), Some(yaml)) = (&parameter.draw, value.get("draw")) {
            let last = draw.count().unwrap_or(1).saturating_sub(1);
            for index in [0, last] {
                accepted(&draw.value(index), yaml.span)?;
            }
            for drawn in draw.values(64).unwrap_or_default() {
                accepted(&drawn, yaml.span)?;
            }
        }
        Ok(parameter)
    }

    fn argument_key(&self, noun: &str, entry: &Entry, parameter: &mut Parameter) -> Result<(), Diagnostic> {
        let Entry { key, key_span, value } = entry;
        let wrong = |wanted: &str| {
            Diagnostic::new(format!("{noun}.{key}: wanted {wanted}, got {}", value.describe())).at(value.span)
        };
        match key.as_str() {
            "type" => {}
            "default" => parameter.default = Some(value.to_json()),
            "meaning" => parameter.meaning = value.as_str().ok_or_else(|| wrong("a sentence"))?.to_owned(),
            "range" => {
                let bounds = value.as_list().and_then(|bounds| match bounds {
                    [low, high] => low.as_f64().zip(high.as_f64()).filter(|(low, high)| low <= high),
                    _ => None,
                });
                let (low, high) = bounds.ok_or_else(|| wrong("[low, high] with low ≤ high"))?;
                parameter.range = Some([low, high]);
            }
            "draw" if value.as_map().is_some() => parameter.draw = Some(distribution(value, None)?),
            "draw" => parameter.draw = Some(Distribution::Choice(vec![value.to_json()])),
            name if ParameterKind::NAMES.iter().any(|(known, _)| *known == name) => {}
            _ => {
                let help = nearest(key, ARGUMENT_KEYS).map_or_else(
                    || format!("known keys: {}", ARGUMENT_KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(Diagnostic::new(format!("{noun}: unknown key `{key}`")).at(*key_span).help(help));
            }
        }
        Ok(())
    }
}

/// A whole number that must be given.
fn plain_parameter(name: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        meaning: format!("The argument `{name}`."),
        kind: ParameterKind::Int,
        default: None,
        range: None,
        draw: None,
    }
}

//! `modules:`: distributions in the place of those that a block draws for itself from.

use super::{
    cells::site_of,
    pattern::{Pattern, PatternReader},
};
use crate::{
    chance::Chance,
    spec::{
        Diagnostic,
        yaml::{Entry, Yaml},
    },
};
use nasgen_modules::{BlockEntry, Blocks, Distribution, Narrowing, Role, Trial, nearest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Reads the map under `modules:`; what is wrong goes to the reader.
pub(super) fn read(yaml: &Yaml, blocks: &Blocks, reader: &mut PatternReader) -> Narrowing {
    let mut narrowing = Narrowing::new();
    for entry in entries(yaml, "modules: wanted a map from modules to their arguments", reader) {
        let block = match blocks.get(&entry.key) {
            Ok(block) => block,
            Err(error) => {
                let message = format!("modules: {}", error.message);
                reader.diagnostics.push(Diagnostic::new(message).at(entry.key_span).help(error.help));
                continue;
            }
        };
        let asked = asked_names(block);
        let mut distributions = BTreeMap::new();
        for argument in entries(&entry.value, "modules: wanted a map from arguments to sets", reader) {
            match read_argument(block, argument, &asked, reader) {
                Ok(distribution) => {
                    distributions.insert(argument.key.clone(), distribution);
                }
                Err(diagnostic) => reader.diagnostics.push(diagnostic),
            }
        }
        narrowing.insert(entry.key.clone(), distributions);
    }
    narrowing
}

fn entries<'a>(yaml: &'a Yaml, wanted: &str, reader: &mut PatternReader) -> &'a [Entry] {
    yaml.as_map().unwrap_or_else(|| {
        reader.diagnostics.push(Diagnostic::new(format!("{wanted}, got {}", yaml.describe())).at(yaml.span));
        &[]
    })
}

fn read_argument(
    block: &BlockEntry,
    entry: &Entry,
    asked: &BTreeSet<String>,
    reader: &mut PatternReader,
) -> Result<Distribution, Diagnostic> {
    let (name, key) = (block.name(), &entry.key);
    if !asked.contains(key) {
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it draws {}", known.join(", ")),
        };
        return Err(Diagnostic::new(format!("modules.{name}: it never draws `{key}`")).at(entry.key_span).help(help));
    }
    let distribution = match reader.read(&entry.value, &format!("modules.{name}.{key}")) {
        Pattern::Set(set) => set.distribution,
        Pattern::Fixed(yaml) => Distribution::Choice(vec![yaml.to_json()]),
        _ => {
            let message = format!("modules.{name}.{key}: wanted a set of values, got {}", entry.value.describe());
            return Err(Diagnostic::new(message).at(entry.value.span));
        }
    };
    let argument = block.signature.arguments.iter().find(|argument| argument.name == *key);
    for value in extremes(&distribution) {
        if let Some(Err(error)) = argument.map(|argument| argument.accepts(&value)) {
            let message = format!("modules.{name}: {}", error.message);
            return Err(Diagnostic::new(message).at(entry.value.span).help(error.help));
        }
    }
    Ok(distribution)
}

/// Values that fit only if all do.
fn extremes(distribution: &Distribution) -> Vec<Value> {
    match distribution {
        Distribution::Choice(values) => values.clone(),
        Distribution::Int { low, high, .. } => vec![Value::from(*low), Value::from(*high)],
        Distribution::Float { low, high, .. } => vec![Value::from(*low), Value::from(*high)],
    }
}

/// Every name that the block asks for as a cell, found by asking it.
fn asked_names(block: &BlockEntry) -> BTreeSet<String> {
    let narrowing = Narrowing::new();
    let mut names = BTreeSet::new();
    for role in [Role::NormalCell, Role::ReductionCell] {
        for stream in 0..16 {
            let mut draw = super::RandomDraw::new(Chance::new(0, "try out", stream));
            // A role that the block cannot play asks for nothing.
            let _ = block.suggest(&mut Trial::new(&mut draw, "", block.name(), &narrowing), &site_of(role));
            let prefix = format!(".{}.", block.name());
            names.extend(draw.draws.keys().filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned())));
        }
    }
    names
}

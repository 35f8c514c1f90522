//! Distributions in the place of those that a block draws for itself from: `modules:`, and what
//! stands beside a block's name.

use super::{block_choice::asked_names, pattern::PatternReader};
use crate::spec::{
    Diagnostic, distribution, is_set, mistyped_set, uses_stage,
    yaml::{Entry, Yaml},
};
use nasgen_modules::{BlockEntry, Blocks, Distribution, nearest};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the space says under `modules:`.
#[derive(Clone, Debug, Default)]
pub(super) struct Modules {
    blocks: BTreeMap<String, Vec<Entry>>,
    places: Vec<Entry>,
}

impl Modules {
    /// Reads the map under `modules:`; what is wrong goes to the reader.
    pub(super) fn read(yaml: &Yaml, blocks: &Blocks, reader: &mut PatternReader) -> Self {
        let mut modules = Self::default();
        let before = reader.diagnostics.len();
        for entry in map_entries(yaml, "modules: wanted a map from modules to their arguments", reader) {
            let block = match blocks.get(&entry.key) {
                Ok(block) => block,
                Err(error) => {
                    let message = format!("modules: {}", error.message);
                    reader.wrong(Diagnostic::new(message).at(entry.key_span).help(error.help));
                    continue;
                }
            };
            let own = map_entries(&entry.value, "modules: wanted a map from arguments to sets", reader);
            let noun = "modules";
            for argument in own {
                let stage = usize::from(uses_stage(&argument.value));
                let read = read_argument(block, argument, noun, stage);
                reader.keep(read);
            }
            modules.blocks.insert(entry.key.clone(), own.to_vec());
            modules.places.push(entry.clone());
        }
        if reader.diagnostics.len() > before {
            // What is wrong here must not be reported again wherever it is used.
            return Self::default();
        }
        modules
    }

    /// What `block` draws from in `stage` (0: none): the space's sets, and over them its place's `own`.
    pub(super) fn narrow(
        &self,
        block: &BlockEntry,
        own: &[&Entry],
        noun: &str,
        stage: usize,
        reader: &mut PatternReader,
    ) -> BTreeMap<String, Distribution> {
        let mut narrowed = BTreeMap::new();
        let shared = self.blocks.get(block.name()).into_iter().flatten().map(|entry| (entry, "modules"));
        for (entry, noun) in shared.chain(own.iter().map(|entry| (*entry, noun))) {
            let read = read_argument(block, entry, noun, stage);
            narrowed.extend(reader.keep(read).map(|distribution| (entry.key.clone(), distribution)));
        }
        narrowed
    }

    /// An error for each block whose arguments nothing draws.
    pub(super) fn reject_unused(&self, reader: &mut PatternReader) {
        for entry in &self.places {
            if !reader.drawn_blocks.contains(&entry.key) {
                let message = format!("modules.{}: nothing in the space draws its arguments", entry.key);
                let help = "cells and rows of two draw them; in a row of three they stand in the row".to_owned();
                reader.wrong(Diagnostic::new(message).at(entry.key_span).help(help));
            }
        }
    }
}

/// The entries of an optional map.
pub(super) fn entries<'a>(yaml: Option<&'a Yaml>, noun: &str, reader: &mut PatternReader) -> &'a [Entry] {
    yaml.map_or(&[], |yaml| map_entries(yaml, &format!("{noun}: wanted a map from arguments to sets"), reader))
}

fn map_entries<'a>(yaml: &'a Yaml, wanted: &str, reader: &mut PatternReader) -> &'a [Entry] {
    yaml.as_map().unwrap_or_else(|| {
        reader.wrong(Diagnostic::new(format!("{wanted}, got {}", yaml.describe())).at(yaml.span));
        &[]
    })
}

fn read_argument(block: &BlockEntry, entry: &Entry, noun: &str, stage: usize) -> Result<Distribution, Diagnostic> {
    let (name, key) = (block.name(), &entry.key);
    let asked = asked_names(block);
    if !asked.contains(key) {
        let help = match nearest(key, asked.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if asked.is_empty() => "it draws nothing".into(),
            None => format!("it draws {}", asked.join(", ")),
        };
        return Err(Diagnostic::new(format!("{noun}.{name}: it never draws `{key}`")).at(entry.key_span).help(help));
    }
    let distribution = match entry.value.as_map() {
        Some(entries) if is_set(entries) => {
            if let Some(named) = entry.value.get("name") {
                let message = format!("{noun}.{name}.{key}: what a block draws has its place's name already");
                return Err(Diagnostic::new(message).at(named.span));
            }
            distribution(&entry.value, (stage > 0).then_some(stage))?
        }
        None if entry.value.as_list().is_none() => Distribution::Choice(vec![entry.value.to_json()]),
        Some(entries) if let Some(mistyped) = mistyped_set(entries, false) => return Err(mistyped),
        _ => {
            let message = format!("{noun}.{name}.{key}: wanted a set of values, got {}", entry.value.describe());
            return Err(Diagnostic::new(message).at(entry.value.span));
        }
    };
    let argument = block.signature.arguments.iter().find(|argument| argument.name == *key);
    for value in extremes(&distribution) {
        if let Some(Err(error)) = argument.map(|argument| argument.accepts(&value)) {
            let message = format!("{noun}.{name}: {}", error.message);
            return Err(Diagnostic::new(message).at(entry.value.span).help(error.help));
        }
    }
    Ok(distribution)
}

/// Values that fit only if all do.
fn extremes(distribution: &Distribution) -> Vec<Value> {
    match distribution {
        Distribution::Choice(values) => values.clone(),
        _ => distribution.ends().to_vec(),
    }
}

//! `blocks:`: blocks that a spec defines for itself.

mod arguments;
mod places;
mod steps;
mod values;

pub use places::StepPlaces;

use super::{
    diagnostic::{Diagnostic, SourceText, SpecError},
    row::PASS,
    yaml::{self, Entry, Yaml},
};
use nasgen_modules::{
    Activation, BlockDefinition, Blocks,
    composition::{Composition, Layer, MAX_LAYERS, Striding},
    nearest,
};
use std::{collections::BTreeMap, sync::Arc};

/// Blocks within blocks within blocks.
const MAX_NESTING: usize = 16;
const DEFINITION_KEYS: [&str; 4] = ["meaning", "args", "stride_on", "layers"];
/// Steps that are no layer and no block.
const FORMS: [&str; 3] = ["layers", "residual", "branches"];

/// `base` and the blocks that the file of `source`, a spec or a space, defines.
///
/// # Errors
/// What is wrong with the definitions.
pub fn with_blocks_of(source: &SourceText, base: &Blocks) -> Result<Blocks, SpecError> {
    let tree = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
    with_definitions(&tree, base).map_err(|diagnostics| source.error(diagnostics))
}

/// `base` and the blocks under the key `blocks` of a file.
pub fn with_definitions(file: &Yaml, base: &Blocks) -> Result<Blocks, Vec<Diagnostic>> {
    let Some(yaml) = file.get("blocks") else { return Ok(base.clone()) };
    let Some(entries) = yaml.as_map() else {
        let message = format!("blocks: wanted a map from names to definitions, got {}", yaml.describe());
        return Err(vec![Diagnostic::new(message).at(yaml.span)]);
    };
    let mut definer = Definer {
        entries,
        blocks: base.clone(),
        open: Vec::new(),
        levels: BTreeMap::new(),
        done: Vec::new(),
        wrong: Vec::new(),
    };
    for entry in entries {
        definer.define(entry);
    }
    if definer.wrong.is_empty() { Ok(definer.blocks) } else { Err(definer.wrong) }
}

/// Defines blocks, each after those that it is made of.
struct Definer<'a> {
    entries: &'a [Entry],
    blocks: Blocks,
    /// Blocks whose definition is being read.
    open: Vec<&'a str>,
    /// How deep the blocks are nested that each is made of, so far.
    levels: BTreeMap<&'a str, usize>,
    done: Vec<&'a str>,
    wrong: Vec<Diagnostic>,
}

impl<'a> Definer<'a> {
    fn define(&mut self, entry: &'a Entry) {
        if self.done.contains(&entry.key.as_str()) {
            return;
        }
        if self.open.len() > MAX_NESTING || self.levels.get(entry.key.as_str()) > Some(&MAX_NESTING) {
            return self.nested_too_deeply(entry);
        }
        self.open.push(&entry.key);
        let before = self.wrong.len();
        let composition = self.composition(entry);
        self.open.pop();
        self.done.push(&entry.key);
        let Some(composition) = composition.filter(|_| self.wrong.len() == before) else { return };
        if self.levels.get(entry.key.as_str()) > Some(&MAX_NESTING) {
            return self.nested_too_deeply(entry);
        }
        if composition.written_layers() > MAX_LAYERS {
            let message =
                format!("{}: wanted at most {MAX_LAYERS} layers, got {}", entry.key, composition.written_layers());
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return;
        }
        let definition: Arc<dyn BlockDefinition> = Arc::new(composition);
        match self.blocks.defining([definition]) {
            Ok(blocks) => self.blocks = blocks,
            Err(error) => self.wrong.push(Diagnostic::new(error.message).at(entry.key_span).help(error.help)),
        }
    }

    fn nested_too_deeply(&mut self, entry: &Entry) {
        let message = format!("{}: blocks are nested in it more than {MAX_NESTING} deep", entry.key);
        let diagnostic = Diagnostic::new(message).at(entry.key_span);
        if !self.wrong.contains(&diagnostic) {
            self.wrong.push(diagnostic);
        }
    }

    fn composition(&mut self, entry: &'a Entry) -> Option<Composition> {
        let name = &entry.key;
        let before = self.wrong.len();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || name == PASS {
            let message = format!("`{name}` cannot name a block; wanted letters, digits and _, and not Pass");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        }
        // In the layers of other blocks the word would mean the layer.
        let is_layer = Layer::ALL.iter().any(|(layer, _)| layer == name) || FORMS.contains(&name.as_str());
        if is_layer || Activation::named(name).is_some() {
            let message = format!("`{name}` cannot name a block: it is a layer");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        }
        let Some(parts) = entry.value.as_map() else {
            let message = format!("{name}: wanted a map with args and layers, got {}", entry.value.describe());
            self.wrong.push(Diagnostic::new(message).at(entry.value.span));
            return None;
        };
        self.check_keys(name, parts, &DEFINITION_KEYS);
        let parameters = match entry.value.get("args") {
            None => Vec::new(),
            Some(args) => self.parameters(name, args),
        };
        let striding = match entry.value.get("stride_on").map(|yaml| (yaml.as_str(), yaml)) {
            None | Some((Some("first"), _)) => Striding::First,
            Some((Some("last"), _)) => Striding::Last,
            Some((Some("all"), _)) => Striding::All,
            Some((_, yaml)) => {
                let message = format!("{name}.stride_on: wanted first, last or all, got {}", yaml.describe());
                self.wrong.push(Diagnostic::new(message).at(yaml.span));
                Striding::First
            }
        };
        let meaning = match entry.value.get("meaning").map(|yaml| (yaml.as_str(), yaml)) {
            None => "A block that the spec defines.".to_owned(),
            Some((Some(text), _)) => text.to_owned(),
            Some((None, yaml)) => {
                let message = format!("{name}.meaning: wanted a sentence, got {}", yaml.describe());
                self.wrong.push(Diagnostic::new(message).at(yaml.span));
                String::new()
            }
        };
        let Some(layers) = entry.value.get("layers") else {
            let message = format!("{name}: missing key `layers`: what the block is made of");
            self.wrong.push(Diagnostic::new(message).at(entry.key_span));
            return None;
        };
        let steps = self.steps(name, layers, "layers", &parameters);
        let composition = Composition { name: name.clone(), meaning, parameters, striding, steps };
        if self.wrong.len() == before {
            self.reject_unused(&composition, entry.value.get("args"));
        }
        Some(composition)
    }

    /// An error for each argument that no layer uses.
    fn reject_unused(&mut self, composition: &Composition, args: Option<&Yaml>) {
        let entries = args.and_then(Yaml::as_map).unwrap_or_default();
        for parameter in composition.unused_parameters() {
            let Some(entry) = entries.iter().find(|entry| entry.key == parameter.name) else { continue };
            let message = format!("{}.args.{}: no layer uses it", composition.name, entry.key);
            let help = format!("name `{}` in `layers`, or leave it out", entry.key);
            self.wrong.push(Diagnostic::new(message).at(entry.key_span).help(help));
        }
    }

    fn check_keys(&mut self, noun: &str, entries: &[Entry], known: &[&str]) {
        for Entry { key, key_span, .. } in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let help = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.wrong.push(Diagnostic::new(format!("{noun}: unknown key `{key}`")).at(*key_span).help(help));
        }
    }
}

//! Search spaces: model specs in which any value may be a set of values.

mod cells;
mod narrowing;
mod pattern;
mod random;
mod sample;

pub use random::RandomDraw;
pub use sample::{Attempt, Budget, Cost, MAX_ATTEMPTS, Sample, SampleError, Sampler};

use crate::{
    chance::Chance,
    spec::{
        Diagnostic, KEYS, ModelSpec, SourceText, SpecError, scaled_repeat,
        yaml::{self, Entry, Node, Yaml},
    },
};
use cells::Cells;
use nasgen_modules::{Blocks, Draw, Narrowing, Result, nearest};
use pattern::{Drawn, Pattern, PatternReader};
use serde_json::json;

/// The space that `nasgen sample` draws from when none is named.
pub const DEFAULT: (&str, &str) = ("cells", include_str!("../../model_configs/spaces/cells.yml"));

/// Draws that try out a space when it is read.
const TRIES: u64 = 64;
/// Keys that a space has beside those of a spec.
const SPACE_KEYS: [&str; 1] = ["modules"];
/// Keys of the language that no version understands yet.
const LATER_KEYS: [&str; 3] = ["constraints", "params", "blocks"];

/// A set of model specs.
#[derive(Clone)]
pub struct Space {
    /// What messages and samples call it.
    pub name: String,
    source: SourceText,
    entries: Vec<SpaceEntry>,
    narrowing: Narrowing,
}

#[derive(Clone)]
struct SpaceEntry {
    entry: Entry,
    value: EntryPattern,
}

#[derive(Clone)]
enum EntryPattern {
    Value(Pattern),
    Rows(Vec<RowPattern>),
}

#[derive(Clone)]
enum RowPattern {
    Row(Pattern),
    Cells(Cells),
}

impl Space {
    /// Reads a space. All that is wrong is reported at once.
    ///
    /// # Errors
    /// With the user's lines and carets.
    pub fn parse(name: &str, source: &SourceText, blocks: &Blocks) -> Result<Self, SpecError> {
        let tree = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        let mut reader = PatternReader::default();
        let space = Self::read(name, source, &tree, blocks, &mut reader);
        match space {
            Some(space) if reader.diagnostics.is_empty() => space.try_out(blocks),
            _ => {
                reader.diagnostics.sort_by_key(|diagnostic| diagnostic.span.unwrap_or_default().start);
                Err(source.error(reader.diagnostics))
            }
        }
    }

    /// Draws a few specs: a value that no spec may have is a mistake in the space, and most show at
    /// once.
    fn try_out(self, blocks: &Blocks) -> Result<Self, SpecError> {
        for number in 0..TRIES {
            let mut draw = RandomDraw::new(Chance::new(0, "try out", number));
            let Ok(tree) = self.resolve(&mut draw, blocks) else { continue };
            if let Err(mistakes) = ModelSpec::read(&tree, blocks) {
                return Err(self.source.error(mistakes));
            }
        }
        Ok(self)
    }

    /// The text that diagnostics of its samples point into.
    pub fn source(&self) -> &SourceText {
        &self.source
    }

    fn read(name: &str, source: &SourceText, tree: &Yaml, blocks: &Blocks, reader: &mut PatternReader) -> Option<Self> {
        let Some(entries) = tree.as_map() else {
            let message = format!("a space is a map with `backbone:`, got {}", tree.describe());
            reader.diagnostics.push(Diagnostic::new(message).at(tree.span));
            return None;
        };
        if tree.get("backbone").is_none() {
            let message = "missing key `backbone`: the list of the network's rows";
            reader.diagnostics.push(Diagnostic::new(message).at(tree.span));
        }
        let mut space =
            Self { name: name.to_owned(), source: source.clone(), entries: Vec::new(), narrowing: Narrowing::new() };
        let mut cells = 0;
        for entry in entries {
            match entry.key.as_str() {
                "modules" => space.narrowing = narrowing::read(&entry.value, blocks, reader),
                "sample" => {}
                "backbone" | "head" => {
                    let rows = read_rows(entry, blocks, reader, &mut cells);
                    space.entries.push(SpaceEntry { entry: entry.clone(), value: EntryPattern::Rows(rows) });
                }
                key if KEYS.contains(&key) => {
                    let value = EntryPattern::Value(reader.read(&entry.value, key));
                    space.entries.push(SpaceEntry { entry: entry.clone(), value });
                }
                _ => reader.diagnostics.push(unknown_key(entry)),
            }
        }
        Some(space)
    }

    /// One spec of the space, as a tree whose places are those of the space's file.
    fn resolve(&self, draw: &mut dyn Draw, blocks: &Blocks) -> Result<Yaml> {
        let mut drawn = Drawn::new();
        let mut entries = Vec::new();
        let mut has_cells = false;
        let mut plain_rows = Vec::new();
        for SpaceEntry { entry, value } in &self.entries {
            let value = match value {
                EntryPattern::Value(pattern) => pattern.resolve(draw, &mut drawn)?,
                EntryPattern::Rows(patterns) => {
                    let mut rows = Vec::new();
                    for pattern in patterns {
                        match pattern {
                            RowPattern::Row(pattern) => {
                                plain_rows.push((entries.len(), rows.len()));
                                rows.push(pattern.resolve(draw, &mut drawn)?);
                            }
                            RowPattern::Cells(cells) => {
                                has_cells = true;
                                rows.extend(cells.resolve(draw, &mut drawn, blocks, &self.narrowing)?);
                            }
                        }
                    }
                    Yaml { span: entry.value.span, node: Node::List(rows) }
                }
            };
            entries.push(Entry { value, ..entry.clone() });
        }
        if has_cells {
            apply_depth(&mut entries, &plain_rows);
        }
        let span = entries.first().map_or_else(Default::default, |entry| entry.key_span);
        Ok(Yaml { span, node: Node::Map(entries) })
    }
}

/// Cells ignore the depth multiple: it is worked into the other rows, at `rows`, and written as 1.
fn apply_depth(entries: &mut [Entry], rows: &[(usize, usize)]) {
    let Some(depth) = entries.iter_mut().find(|entry| ["depth_multiply", "depth_multiple"].contains(&&*entry.key))
    else {
        return;
    };
    // What is no number is left for the spec to complain about.
    let Some(multiple) = depth.value.as_f64().filter(|multiple| (0.001..=100.0).contains(multiple)) else { return };
    depth.value = Yaml::from_json(&json!(1.0), depth.value.span);
    for (entry, row) in rows {
        if let Node::List(items) = &mut entries[*entry].value.node
            && let Node::List(columns) = &mut items[*row].node
        {
            let repeat = usize::from(columns.len() > 3);
            if let Some(column) = columns.get_mut(repeat)
                && let Some(copies) = column.as_i64().and_then(|copies| usize::try_from(copies).ok())
            {
                *column = Yaml::from_json(&json!(scaled_repeat(copies, multiple)), column.span);
            }
        }
    }
}

fn unknown_key(entry: &Entry) -> Diagnostic {
    let key = entry.key.as_str();
    if LATER_KEYS.contains(&key) {
        return Diagnostic::new(format!("`{key}` is not supported yet")).at(entry.key_span);
    }
    let known = || KEYS.into_iter().chain(SPACE_KEYS);
    let help = match nearest(key, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys: {}", known().collect::<Vec<_>>().join(", ")),
    };
    Diagnostic::new(format!("unknown key `{key}`")).at(entry.key_span).help(help)
}

fn read_rows(entry: &Entry, blocks: &Blocks, reader: &mut PatternReader, cells: &mut usize) -> Vec<RowPattern> {
    let Some(rows) = entry.value.as_list().filter(|rows| !rows.is_empty()) else {
        let message = format!("{}: wanted a list of rows, got {}", entry.key, entry.value.describe());
        reader.diagnostics.push(Diagnostic::new(message).at(entry.value.span));
        return Vec::new();
    };
    let section = if entry.key == "head" { "head" } else { "r" };
    let mut patterns = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match row.as_map() {
            Some([Entry { key, value, .. }]) if key == "cells" => {
                *cells += 1;
                let prefix = if *cells == 1 { String::new() } else { format!("c{cells}.") };
                patterns.extend(Cells::read(value, &prefix, blocks, reader).map(RowPattern::Cells));
            }
            _ => patterns.push(RowPattern::Row(read_row(row, &format!("{section}{index}"), blocks, reader))),
        }
    }
    patterns
}

/// Draws in a row are named after the block's arguments where the block is fixed: `r1.Conv.out`.
fn read_row(row: &Yaml, path: &str, blocks: &Blocks, reader: &mut PatternReader) -> Pattern {
    let Some([repeat, module, arguments]) = row.as_list() else { return reader.read(row, path) };
    let block = module.as_str().and_then(|name| blocks.get(name).ok());
    let (Some(block), Some(values)) = (block, arguments.as_list()) else { return reader.read(row, path) };
    let repeat = reader.read(repeat, &format!("{path}.repeat"));
    let module = reader.read(module, &format!("{path}.module"));
    let names = block.signature.arguments.iter().map(|argument| argument.name.clone());
    let names = names.chain((block.signature.arguments.len()..).map(|index| index.to_string()));
    let values =
        values.iter().zip(names).map(|(value, name)| reader.read(value, &format!("{path}.{}.{name}", block.name())));
    let arguments = Pattern::List(arguments.span, values.collect());
    Pattern::List(row.span, vec![repeat, module, arguments])
}

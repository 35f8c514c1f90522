//! Search spaces: model specs in which any value may be a set of values.

mod block_choice;
mod cells;
mod constraints;
mod ends;
mod narrowing;
mod pattern;
mod replay;
mod rows;
mod sample;
mod structure;
mod survey;
mod tune;

pub use nasgen_search::RandomDraw;
pub use replay::Replay;
pub use sample::{Attempt, Budget, Cost, MAX_ATTEMPTS, Sample, SampleError, Sampler};
pub use survey::{Count, Extreme, Survey, Surveyor, ValueShare};
pub use tune::Tuning;

use crate::{
    chance::Chance,
    spec::{
        Diagnostic, KEYS, ModelSpec, SourceText, Span, SpecError, TrainSettings, is_set, scaled_repeat, sides,
        with_definitions,
        yaml::{self, Entry, Node, Yaml},
    },
};
use cells::Dealing;
use constraints::{Constraints, Placement, impossible_parts};
use narrowing::Modules;
use nasgen_modules::{Blocks, Draw, Error, Place, Result, Shape, nearest};
use pattern::{Drawn, Pattern, PatternReader};
use rows::{RowPattern, Rows, RowsReader};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};
use structure::{Goal, Node as Part, Recorder, Scripted};

/// The space that `nasgen sample` draws from when none is named.
pub const DEFAULT: (&str, &str) = ("cells", include_str!("../../model_configs/spaces/cells.yml"));

/// The spaces that can be named without a file: names and texts.
pub const SHIPPED: [(&str, &str); 5] = [
    DEFAULT,
    ("lecture_fixed", include_str!("../../model_configs/spaces/lecture_fixed.yml")),
    ("lecture_growing", include_str!("../../model_configs/spaces/lecture_growing.yml")),
    ("lecture_free", include_str!("../../model_configs/spaces/lecture_free.yml")),
    ("search_model", include_str!("../../model_configs/spaces/search_model.yml")),
];

/// Draws that try out a space when it is read.
const TRIES: u64 = 64;
/// Keys that a space has beside those of a spec.
const SPACE_KEYS: [&str; 2] = ["modules", "constraints"];

/// Keys that decide nothing about the network.
const SETTINGS: [&str; 2] = ["train", "params"];

/// A set of model specs.
#[derive(Clone)]
pub struct Space {
    /// What messages and samples call it.
    pub name: String,
    source: SourceText,
    blocks: Blocks,
    entries: Vec<SpaceEntry>,
    constraints: Constraints,
    /// What each entry draws, in order.
    parts: Vec<Arc<Part>>,
    /// Those of them that decide about the network, not about its training.
    network_parts: Vec<Arc<Part>>,
    /// The others.
    setting_parts: Vec<Arc<Part>>,
    /// Sizes that the space gives its images, one for each class of the parts; `None` if unknown.
    sizes: Vec<Option<[usize; 2]>>,
    /// How strides are placed; `None` where nothing asks for it, or where draws that other places
    /// refer to decide about strides.
    placement: Option<Placement>,
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

/// One spec of a space, as a tree whose places are those of the space's file, and how it was drawn.
struct Resolved {
    tree: Yaml,
    draws: Map<String, Value>,
}

impl Space {
    /// Reads a space. All that is wrong is reported at once.
    ///
    /// # Errors
    /// With the user's lines and carets.
    pub fn parse(name: &str, source: &SourceText, blocks: &Blocks) -> Result<Self, SpecError> {
        let tree = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        Self::read(name, source, &tree, blocks)
    }

    /// A fixed spec whose training settings are sets.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn tune(name: &str, source: &SourceText, tuning: &Tuning, blocks: &Blocks) -> Result<Self, SpecError> {
        let mut tree = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        tuning.apply(&mut tree).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        Self::read(name, source, &tree, blocks)
    }

    fn read(name: &str, source: &SourceText, tree: &Yaml, blocks: &Blocks) -> Result<Self, SpecError> {
        let failed = |diagnostics: Vec<Diagnostic>| source.error(in_order(diagnostics));
        let blocks = &with_definitions(tree, blocks).map_err(failed)?;
        let mut reader = PatternReader::default();
        let space = SpaceReader { blocks, reader: &mut reader }.space(name, source, tree);
        let space = match space {
            Some(space) if reader.diagnostics.is_empty() => space,
            _ => return Err(failed(reader.diagnostics)),
        };
        space.try_out()?;
        let impossible = impossible_parts(&space.parts, &space.goal(None), &space.constraints);
        if impossible.is_empty() { Ok(space) } else { Err(failed(impossible)) }
    }

    /// Tries both ends of every range, every option, and a few specs at random: a value that no spec may
    /// have is a mistake in the space.
    fn try_out(&self) -> Result<(), SpecError> {
        if !self.has_network() {
            return Ok(());
        }
        let mut mistakes: Vec<Diagnostic> = Vec::new();
        for script in ends::scripts(&self.entries) {
            for mistake in self.mistakes(&mut Scripted::new(&script, false)) {
                let start = |mistake: &Diagnostic| mistake.span.map(|span| span.start);
                let is_known =
                    |known: &Diagnostic| (&known.message, start(known)) == (&mistake.message, start(&mistake));
                if !mistakes.iter().any(is_known) {
                    mistakes.push(mistake);
                }
            }
        }
        let mut numbers = 0..TRIES;
        while mistakes.is_empty()
            && let Some(number) = numbers.next()
        {
            mistakes = self.mistakes(&mut RandomDraw::new(Chance::new(0, "try out", number)));
        }
        if mistakes.is_empty() { Ok(()) } else { Err(self.source.error(in_order(mistakes))) }
    }

    /// What is wrong with the spec that `draw` gives, whether or not its layers can stand.
    fn mistakes(&self, draw: &mut dyn Draw) -> Vec<Diagnostic> {
        match self.resolve_with(draw) {
            Ok(tree) => ModelSpec::read_defined(&tree, &self.blocks).err().unwrap_or_default(),
            Err(Misdraw { is_chance: true, .. }) => Vec::new(),
            Err(Misdraw { reason, .. }) => vec![reason],
        }
    }

    /// The text that diagnostics of its samples point into.
    pub fn source(&self) -> &SourceText {
        &self.source
    }

    /// What its rows can name.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Whether it gives networks, or only named values (`params:`).
    pub fn has_network(&self) -> bool {
        self.entries.iter().any(|entry| entry.entry.key == "backbone")
    }

    /// Whether it holds one network alone: no draw decides about it.
    pub fn is_fixed(&self) -> bool {
        self.has_network() && draws_nothing(&self.network_parts)
    }

    /// Whether everything in it stands: there is nothing to search.
    pub fn draws_nothing(&self) -> bool {
        draws_nothing(&self.parts)
    }

    /// What strides must come to, for images of that shape if it is not the space's own.
    fn goal(&self, input: Option<Shape>) -> Goal {
        match input.and_then(Shape::size) {
            None => self.constraints.goal(&self.sizes),
            Some(size) => self.constraints.goal(&vec![Some(size); self.sizes.len()]),
        }
    }

    fn resolve(&self, draw: &mut dyn Draw, input: Option<Shape>) -> Result<Resolved, Misdraw> {
        let placed = match (&self.placement, input) {
            (None, _) => Default::default(),
            (Some(placement), None) => placement.place(draw).map_err(|error| Misdraw::of(error, None))?,
            (Some(_), input) => {
                let placement = Placement::new(&self.parts, self.goal(input));
                placement.place(draw).map_err(|error| Misdraw::of(error, None))?
            }
        };
        let mut recorder = Recorder::new(placed, draw);
        let tree = self.resolve_with(&mut recorder)?;
        Ok(Resolved { tree, draws: recorder.draws })
    }

    fn resolve_with(&self, draw: &mut dyn Draw) -> Result<Yaml, Misdraw> {
        let mut drawn = Drawn::new();
        let mut entries = Vec::new();
        let mut has_cells = false;
        let mut plain_rows = Vec::new();
        for SpaceEntry { entry, value } in &self.entries {
            let value = match value {
                EntryPattern::Value(pattern) => {
                    let at_entry = |error| Misdraw::of(error, Some(entry.value.span));
                    let value = pattern.resolve(draw, &mut drawn).map_err(at_entry)?;
                    if entry.key == "train" { flat_settings(value) } else { value }
                }
                EntryPattern::Rows(patterns) => {
                    let mut rows = Rows::default();
                    let mut dealing = Dealing { draw, drawn: &mut drawn, blocks: &self.blocks };
                    for pattern in patterns {
                        let resolved = pattern.resolve(&mut dealing, &mut rows);
                        resolved.map_err(|error| Misdraw::of(error, Some(pattern.span())))?;
                    }
                    if rows.rows.is_empty() && entry.key == "backbone" {
                        let error = Error::row("every row of the backbone is absent");
                        return Err(Misdraw::of(error, Some(entry.key_span)));
                    }
                    has_cells |= rows.has_cells;
                    plain_rows.extend(rows.plain.iter().map(|row| (entries.len(), *row)));
                    Yaml { span: entry.value.span, node: Node::List(rows.rows) }
                }
            };
            entries.push(Entry { value, ..entry.clone() });
        }
        if has_cells {
            apply_depth(&mut entries, &plain_rows);
        }
        // A head whose rows are all absent is no head.
        entries.retain(|entry| entry.key != "head" || entry.value.as_list().is_none_or(|rows| !rows.is_empty()));
        let span = entries.first().map_or_else(Default::default, |entry| entry.key_span);
        Ok(Yaml { span, node: Node::Map(entries) })
    }
}

/// The settings that there are.
static SETTING_NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| TrainSettings::signature().arguments.into_iter().map(|setting| setting.name).collect());

/// Settings that came with a value, `optimizer: {adamw: {weight_decay: …}}`, beside the others.
fn flat_settings(settings: Yaml) -> Yaml {
    let Node::Map(entries) = settings.node else { return settings };
    let mut flat: Vec<Entry> = Vec::new();
    for Entry { key, key_span, value } in entries {
        let value = match value.node {
            Node::Map(mut chosen) if chosen.len() == 1 && chosen[0].value.as_map().is_some() => {
                let word = chosen.swap_remove(0);
                let own = word.value.as_map().unwrap_or_default().to_vec();
                flat.push(Entry { key, key_span, value: Yaml::from_json(&json!(word.key), word.key_span) });
                flat.extend(own);
                continue;
            }
            node => Yaml { span: value.span, node },
        };
        // What is wrong with a value that was drawn is its limit's, or its option's.
        let key_span = if SETTING_NAMES.contains(&key) { value.span } else { key_span };
        flat.push(Entry { key, key_span, value });
    }
    Yaml { span: settings.span, node: Node::Map(flat) }
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

/// Reads one space.
struct SpaceReader<'a> {
    blocks: &'a Blocks,
    reader: &'a mut PatternReader,
}

impl SpaceReader<'_> {
    fn space(&mut self, name: &str, source: &SourceText, tree: &Yaml) -> Option<Space> {
        let Some(entries) = tree.as_map() else {
            let message = format!("a space is a map with `backbone:`, got {}", tree.describe());
            self.reader.wrong(Diagnostic::new(message).at(tree.span));
            return None;
        };
        let modules = match tree.get("modules") {
            Some(modules) => Modules::read(modules, self.blocks, self.reader),
            None => Modules::default(),
        };
        let constraints = self.constraints(tree);
        if tree.get("backbone").is_none() && tree.get("params").is_none() {
            let message = "missing key `backbone`: the list of the network's rows";
            self.reader.wrong(Diagnostic::new(message).at(tree.span));
        }
        let mut rows = RowsReader::new(self.blocks, &modules);
        let mut read = Vec::new();
        for entry in entries {
            let value = match entry.key.as_str() {
                "modules" | "constraints" | "sample" => continue,
                "backbone" | "head" => EntryPattern::Rows(rows.section(entry, self.reader)),
                // Sets in definitions are the blocks' own.
                "blocks" => EntryPattern::Value(Pattern::Fixed(entry.value.clone())),
                "train" => EntryPattern::Value(self.settings(&entry.value)),
                "params" if entry.value.as_map().is_none() => {
                    let message = format!("params: wanted a map of named values, got {}", entry.value.describe());
                    self.reader.wrong(Diagnostic::new(message).at(entry.value.span));
                    continue;
                }
                // Alone they are called what the user's own program calls them, in a study of Optuna's too.
                "params" => {
                    let stand_alone = tree.get("backbone").is_none() && !entry.value.as_map().is_some_and(is_set);
                    let path = if stand_alone { "" } else { "params" };
                    EntryPattern::Value(self.reader.read_free(&entry.value, path))
                }
                key if KEYS.contains(&key) => EntryPattern::Value(self.reader.read(&entry.value, key)),
                _ => {
                    self.reader.wrong(unknown_key(entry));
                    continue;
                }
            };
            read.push(SpaceEntry { entry: entry.clone(), value });
        }
        if self.reader.diagnostics.is_empty() {
            modules.reject_unused(self.reader);
        }
        let mut space = Space {
            name: name.to_owned(),
            source: source.clone(),
            blocks: self.blocks.clone(),
            entries: read,
            constraints,
            parts: Vec::new(),
            network_parts: Vec::new(),
            setting_parts: Vec::new(),
            sizes: Vec::new(),
            placement: None,
        };
        if self.reader.diagnostics.is_empty() {
            self.describe(&mut space);
        }
        Some(space)
    }

    fn constraints(&mut self, tree: &Yaml) -> Constraints {
        let Some(yaml) = tree.get("constraints") else { return Constraints::default() };
        if tree.get("backbone").is_none() {
            let message = "constraints are about networks, and the space has no `backbone`";
            self.reader.wrong(Diagnostic::new(message).at(yaml.span));
        }
        match Constraints::read(yaml) {
            Ok(constraints) => constraints,
            Err(diagnostics) => {
                diagnostics.into_iter().for_each(|diagnostic| self.reader.wrong(diagnostic));
                Constraints::default()
            }
        }
    }

    /// `train:`, where an option may bring settings of its own.
    fn settings(&mut self, yaml: &Yaml) -> Pattern {
        let Some(entries) = yaml.as_map().filter(|entries| !is_set(entries)) else {
            return self.reader.read(yaml, "train");
        };
        let mut read = Vec::new();
        for Entry { key, key_span, value } in entries {
            let path = format!("train.{key}");
            let is_set = value.as_map().is_some_and(is_set);
            let value = match is_set {
                true => self.reader.read_set(value, &path, PatternReader::word),
                false => self.reader.read(value, &path),
            };
            read.push((key.clone(), *key_span, value));
        }
        self.reject_twins(entries);
        Pattern::Map(yaml.span, read)
    }

    /// A setting that stands by itself, and comes with the value of another as well.
    fn reject_twins(&mut self, settings: &[Entry]) {
        let mut set: Vec<(&str, Span, &str)> = Vec::new();
        for Entry { key, key_span, value } in settings {
            let options = value.get("choice").and_then(Yaml::as_list).unwrap_or(std::slice::from_ref(value));
            let own = options.iter().filter_map(|option| match option.as_map() {
                Some([Entry { value, .. }]) => value.as_map(),
                _ => None,
            });
            let brought = own.flatten().map(|inner| (inner.key.as_str(), inner.key_span, key.as_str()));
            for (name, span, by) in std::iter::once((key.as_str(), *key_span, key.as_str())).chain(brought) {
                let twin = set.iter().find(|(known, _, first)| *known == name && *first != by);
                if let Some((_, first, _)) = twin {
                    let message =
                        format!("train: `{name}` is set twice: by itself, and with the value of another setting");
                    self.reader.wrong(Diagnostic::new(message).at(span).also(*first, "the other"));
                }
                set.push((name, span, by));
            }
        }
    }

    /// Fills in what follows from the entries.
    fn describe(&self, space: &mut Space) {
        let places = space.constraints.place_strides();
        let multiple = |key: &str| {
            let entry = space.entries.iter().find(|entry| entry.entry.key.starts_with(key));
            match entry.map(|entry| &entry.value) {
                Some(EntryPattern::Value(pattern)) => pattern.fixed().and_then(|yaml| yaml.as_f64()).unwrap_or(1.0),
                _ => 1.0,
            }
        };
        let depth = places.then(|| multiple("depth_multipl"));
        let mut sizes = vec![Some([32, 32])];
        let mut parts = Vec::new();
        let (mut network_parts, mut setting_parts) = (Vec::new(), Vec::new());
        for SpaceEntry { entry, value } in &space.entries {
            let before = parts.len();
            match value {
                EntryPattern::Value(pattern) if entry.key == "input_size" => {
                    let (part, known) = image_sizes(pattern);
                    sizes = known;
                    parts.push(part);
                }
                EntryPattern::Value(pattern) => parts.push(pattern.structure()),
                EntryPattern::Rows(rows) => {
                    let part = |row: &RowPattern| row.structure(&space.blocks, &self.reader.baselines, depth);
                    parts.extend(rows.iter().map(part));
                }
            }
            let decided = if SETTINGS.contains(&entry.key.as_str()) { &mut setting_parts } else { &mut network_parts };
            decided.extend_from_slice(&parts[before..]);
        }
        space.parts = parts;
        space.network_parts = network_parts;
        space.setting_parts = setting_parts;
        space.sizes = sizes;
        if places && !self.strides_by_reference(space) {
            space.placement = Some(Placement::new(&space.parts, space.goal(None)));
        }
    }

    /// Whether what a row refers to decides about its strides: then no draw is free to place them.
    fn strides_by_reference(&self, space: &Space) -> bool {
        let [first, last] = &self.reader.baselines;
        let rows = space.entries.iter().filter_map(|entry| match &entry.value {
            EntryPattern::Rows(rows) => Some(rows),
            EntryPattern::Value(_) => None,
        });
        let strides = |row: &RowPattern, drawn: &Drawn| {
            let part = row.structure(&space.blocks, &[drawn.clone(), drawn.clone()], Some(1.0));
            let possible = |strides: usize| {
                let goal = Goal::new(strides, vec![Some(strides)]);
                structure::worth::<f64>(&part, &goal, &goal.end())[0]
            };
            (0..8).map(possible).collect::<Vec<f64>>()
        };
        rows.flatten().filter(|row| row.refers()).any(|row| strides(row, first) != strides(row, last))
    }
}

/// What `input_size` draws, and the size of each class that it makes.
fn image_sizes(pattern: &Pattern) -> (Arc<Part>, Vec<Option<[usize; 2]>>) {
    if let Some(yaml) = pattern.fixed() {
        return (Arc::new(Part::Nothing), vec![sides(&yaml)]);
    }
    let unknown = || (pattern.structure(), vec![None]);
    let Pattern::Set(set) = pattern else { return unknown() };
    let Some(values) = set.distribution.values(64) else { return unknown() };
    let size = |(index, value): (usize, &Value)| match set.options.get(index) {
        Some(option) => option.fixed(),
        None => Some(Yaml::from_json(value, Span::default())),
    };
    let Some(options) = values.iter().enumerate().map(size).collect::<Option<Vec<Yaml>>>() else { return unknown() };
    let branches = (0..options.len()).map(|class| Arc::new(Part::Size(class))).collect();
    let part = Part::branching(&set.name, &set.distribution, set.span, set.spans.clone(), Some(branches));
    (part, options.iter().map(sides).collect())
}

fn unknown_key(entry: &Entry) -> Diagnostic {
    let key = entry.key.as_str();
    let known = || KEYS.into_iter().chain(SPACE_KEYS);
    let help = match nearest(key, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys: {}", known().collect::<Vec<_>>().join(", ")),
    };
    Diagnostic::new(format!("unknown key `{key}`")).at(entry.key_span).help(help)
}

fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.unwrap_or_default().start);
    diagnostics
}

/// Why a draw gave no spec.
struct Misdraw {
    reason: Diagnostic,
    /// Whether it is about this draw alone, so that another may do.
    is_chance: bool,
}

impl Misdraw {
    fn of(error: Error, span: Option<Span>) -> Self {
        let is_chance = matches!(error.place, Place::Row | Place::Step(_));
        let reason = Diagnostic { span, ..Diagnostic::new(error.message).help(error.help) };
        Self { reason, is_chance }
    }
}

fn draws_nothing(parts: &[Arc<Part>]) -> bool {
    let mut draws = 0;
    parts.iter().for_each(|part| part.each_draw(&mut |_| draws += 1));
    draws == 0
}

//! A model spec: a network and how to train it.

use super::{
    blocks::{StepPlaces, with_definitions},
    diagnostic::{Diagnostic, SourceText, Span, SpecError},
    emit::emit,
    legacy, row,
    row::Row,
    set::first_of_a_space,
    train::TrainSettings,
    yaml::{self, Entry, Node, Yaml},
};
use nasgen_modules::{Blocks, Error, NetworkRules, Norm, Place, Rounding, nearest};
use serde_json::{Map, Value, json};

/// The keys of a model spec.
pub const KEYS: [&str; 15] = [
    "input_channel",
    "input_size",
    "depth_multiply",
    "depth_multiple",
    "width_multiply",
    "width_multiple",
    "channel_divisor",
    "norm",
    "legacy_padding",
    "blocks",
    "backbone",
    "head",
    "train",
    "params",
    "sample",
];

/// What a model spec says.
#[derive(Clone)]
pub struct ModelSpec {
    /// Channels of the images.
    pub input_channel: usize,
    /// Height and width of the images, if the spec says so.
    pub input_size: Option<[usize; 2]>,
    /// Factor on the repeats of rows that are repeated.
    pub depth_multiply: f64,
    /// Width multiple, rounding, norm.
    pub rules: NetworkRules,
    /// The rows of `backbone:`, then those of `head:`.
    pub rows: Vec<Row>,
    /// What the rows can name: the blocks that the spec was read with, and its own.
    pub blocks: Blocks,
    /// What stands under `blocks:`.
    pub definitions: Option<Value>,
    /// Where it says each step of each of these blocks, as [`nasgen_modules::Place::Step`] names it.
    pub steps: StepPlaces,
    /// The settings under `train:`, as given; they are valid.
    pub train: Map<String, Value>,
    /// The values under `params:`, which mean nothing to nasgen: they are for evaluators outside.
    pub params: Map<String, Value>,
    /// How this spec was drawn, if it was.
    pub sample: Option<Value>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl ModelSpec {
    /// Reads a spec. All that is wrong is reported at once.
    pub fn parse(source: &SourceText, blocks: &Blocks) -> Result<Self, SpecError> {
        let yaml = yaml::parse(&source.text).map_err(|diagnostic| source.error(vec![diagnostic]))?;
        Self::read(&yaml, blocks).map_err(|diagnostics| source.error(diagnostics))
    }

    /// Reads a spec from a tree, whose places the diagnostics point at.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read(yaml: &Yaml, blocks: &Blocks) -> Result<Self, Vec<Diagnostic>> {
        if let Some(place) = first_of_a_space(yaml) {
            let message = "this file is a search space, not one network: here it leaves something to draw";
            let help = "`nasgen sample SPACE --out cfg.yml` draws a network from it".to_owned();
            return Err(vec![Diagnostic::new(message).at(place).help(help)]);
        }
        match with_definitions(yaml, blocks) {
            Ok(blocks) => Self::read_defined(yaml, &blocks),
            // Rows cannot be read without their blocks.
            Err(diagnostics) => Err(diagnostics),
        }
    }

    /// The same where `blocks` has those that the spec defines already.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read_defined(yaml: &Yaml, blocks: &Blocks) -> Result<Self, Vec<Diagnostic>> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("a model spec is a map with `backbone:`, got {}", yaml.describe());
            return Err(vec![Diagnostic::new(message).at(yaml.span)]);
        };
        let mut reader = Reader { diagnostics: Vec::new(), notes: Vec::new() };
        let spec = reader.spec(yaml, entries, blocks);
        match spec {
            Some(spec) if reader.diagnostics.is_empty() => Ok(Self { notes: reader.notes, ..spec }),
            _ => {
                reader.diagnostics.sort_by_key(|diagnostic| diagnostic.span.unwrap_or_default().start);
                Err(reader.diagnostics)
            }
        }
    }

    /// This error about `row`, pointed at the part of the file that it is about.
    pub fn diagnostic(&self, row: &Row, error: Error) -> Diagnostic {
        let step = match &error.place {
            Place::Step(path) => self.steps.get(path),
            _ => None,
        };
        let at_row = row.place.diagnostic(error);
        match step {
            None => at_row,
            Some(step) => Diagnostic { span: Some(step), ..at_row }.also(row.place.span(), "this row uses it"),
        }
    }

    /// Copies of `row` after the depth multiple.
    pub fn copies(&self, row: &Row) -> usize {
        scaled_repeat(row.repeat, if self.in_kindle_head(row) { 1.0 } else { self.depth_multiply })
    }

    /// The rules for `row`: in files of kindle's form no multiple applies to the head.
    pub fn rules(&self, row: &Row) -> NetworkRules {
        if self.in_kindle_head(row) {
            NetworkRules { width_multiply: 1.0, channel_divisor: 1, ..self.rules }
        } else {
            self.rules
        }
    }

    /// The same spec with `classes` outputs in its last row that has an argument `out`.
    ///
    /// # Errors
    /// When no row has one.
    pub fn with_classes(&self, classes: usize) -> Result<Self, String> {
        let mut spec = self.clone();
        let has_out = |row: &&mut Row| row.module.arguments().contains_key("out");
        let Some(row) = spec.rows.iter_mut().rev().find(has_out) else {
            return Err("no layer of the network has an argument `out`".into());
        };
        let mut arguments = row.module.arguments();
        arguments.insert("out".into(), Value::from(classes));
        let block = self.blocks.get(&row.block).map_err(|error| error.message)?;
        row.module = block.parse(&[], &arguments).map_err(|errors| errors[0].message.clone())?;
        row.arguments = block.list(&*row.module);
        Ok(spec)
    }

    /// This spec as a file.
    pub fn to_yaml(&self) -> String {
        let mut file = Map::new();
        let mut put = |key: &str, value: Value| file.insert(key.to_owned(), value);
        put("input_channel", self.input_channel.into());
        if let Some(size) = self.input_size {
            put("input_size", json!(size));
        }
        put("depth_multiply", json!(self.depth_multiply));
        put("width_multiply", json!(self.rules.width_multiply));
        if self.rules.channel_divisor != 8 {
            put("channel_divisor", self.rules.channel_divisor.into());
        }
        if self.rules.norm != Norm::default() {
            put("norm", json!({ "eps": self.rules.norm.eps, "momentum": self.rules.norm.momentum }));
        }
        if let Some(legacy) = self.rules.legacy_padding {
            put("legacy_padding", legacy.into());
        }
        if let Some(definitions) = &self.definitions {
            put("blocks", definitions.clone());
        }
        let rows = |in_head: bool| -> Vec<Value> {
            self.rows.iter().filter(|row| row.in_head == in_head).map(|row| self.row_to_json(row)).collect()
        };
        put("backbone", rows(false).into());
        if self.rows.iter().any(|row| row.in_head) {
            put("head", rows(true).into());
        }
        if !self.train.is_empty() {
            put("train", Value::Object(self.train.clone()));
        }
        if !self.params.is_empty() {
            put("params", Value::Object(self.params.clone()));
        }
        if let Some(sample) = &self.sample {
            put("sample", sample.clone());
        }
        emit(&file)
    }

    /// Files of kindle's form keep its columns: they are what marks its rules.
    fn row_to_json(&self, row: &Row) -> Value {
        match (self.rules.rounding, row.from.as_slice()) {
            (Rounding::Nearest, _) => json!([row.repeat, row.block, row.arguments]),
            (Rounding::Up, [from]) => json!([from, row.repeat, row.block, row.arguments]),
            (Rounding::Up, from) => json!([from, row.repeat, row.block, row.arguments]),
        }
    }

    fn in_kindle_head(&self, row: &Row) -> bool {
        row.in_head && self.rules.rounding == Rounding::Up
    }
}

/// `repeat` times the depth multiple: only where it is above 1, at least 1, half to even as Python
/// rounds.
pub fn scaled_repeat(repeat: usize, depth_multiply: f64) -> usize {
    if repeat > 1 { ((repeat as f64 * depth_multiply).round_ties_even() as usize).max(1) } else { 1 }
}

struct Reader {
    diagnostics: Vec<Diagnostic>,
    notes: Vec<String>,
}

impl Reader {
    fn spec(&mut self, yaml: &Yaml, entries: &[Entry], blocks: &Blocks) -> Option<ModelSpec> {
        let legacy = legacy::read(entries);
        self.notes.extend(legacy.notes);
        self.diagnostics.extend(legacy.diagnostics);
        self.check_keys(entries);

        let kindle =
            ["backbone", "head"].iter().filter_map(|key| yaml.get(key)?.as_list()).flatten().any(row::has_from);
        let input_size = self.input_size(yaml).or(legacy.input_size);
        let rules = self.rules(yaml, kindle);
        let depth_multiply = self.multiple(yaml, "depth");
        let input_channel = self.whole(yaml, "input_channel", 4096).unwrap_or(3);
        let train = self.train(yaml, legacy.train);
        let rows = self.rows(yaml, blocks);
        let params = self.params(yaml);
        let sample = yaml.get("sample").map(Yaml::to_json);
        Some(ModelSpec {
            input_channel,
            input_size,
            depth_multiply,
            rules,
            rows: rows?,
            blocks: blocks.clone(),
            definitions: yaml.get("blocks").map(Yaml::to_json),
            steps: StepPlaces::of(yaml),
            train,
            params,
            sample,
            notes: Vec::new(),
        })
    }

    fn wrong(&mut self, span: Span, message: String) {
        self.diagnostics.push(Diagnostic::new(message).at(span));
    }

    fn check_keys(&mut self, entries: &[Entry]) {
        for Entry { key, key_span, .. } in entries {
            if KEYS.contains(&key.as_str()) || legacy::is_known(key) {
                continue;
            }
            let help = match nearest(key, KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None if ["modules", "constraints"].contains(&key.as_str()) => {
                    "this key belongs to a search space: `nasgen sample FILE` draws a network from one".into()
                }
                None => format!("known keys: {}", KEYS.join(", ")),
            };
            self.diagnostics.push(Diagnostic::new(format!("unknown key `{key}`")).at(*key_span).help(help));
        }
        for (one, other) in [("depth_multiply", "depth_multiple"), ("width_multiply", "width_multiple")] {
            let find = |key| entries.iter().find(|entry| entry.key == key);
            if let (Some(first), Some(second)) = (find(one), find(other)) {
                let message = format!("`{one}` and `{other}` are two names of one key");
                self.diagnostics.push(Diagnostic::new(message).at(second.key_span).also(first.key_span, "the other"));
            }
        }
    }

    fn whole(&mut self, yaml: &Yaml, key: &str, most: usize) -> Option<usize> {
        let value = yaml.get(key)?;
        let whole = value.as_i64().and_then(|whole| usize::try_from(whole).ok());
        let fits = whole.filter(|whole| (1..=most).contains(whole));
        if fits.is_none() {
            self.wrong(value.span, format!("{key}: wanted a whole number from 1 to {most}, got {}", value.describe()));
        }
        fits
    }

    fn multiple(&mut self, yaml: &Yaml, what: &str) -> f64 {
        let keys = [format!("{what}_multiply"), format!("{what}_multiple")];
        let Some((key, value)) = keys.iter().find_map(|key| Some((key, yaml.get(key)?))) else { return 1.0 };
        let number = value.as_f64().filter(|number| (0.001..=100.0).contains(number));
        number.unwrap_or_else(|| {
            self.wrong(value.span, format!("{key}: wanted a number from 0.001 to 100, got {}", value.describe()));
            1.0
        })
    }

    fn flag(&mut self, yaml: &Yaml, key: &str) -> Option<bool> {
        let value = yaml.get(key)?;
        if let Node::Scalar(Value::Bool(flag)) = value.node {
            return Some(flag);
        }
        self.wrong(value.span, format!("{key}: wanted true or false, got {}", value.describe()));
        None
    }

    fn input_size(&mut self, yaml: &Yaml) -> Option<[usize; 2]> {
        let value = yaml.get("input_size")?;
        let size = sides(value);
        if size.is_none() {
            let message = format!("input_size: wanted [height, width], each from 1 to 8192, got {}", value.describe());
            self.wrong(value.span, message);
        }
        size
    }

    fn rules(&mut self, yaml: &Yaml, kindle: bool) -> NetworkRules {
        NetworkRules {
            width_multiply: self.multiple(yaml, "width"),
            channel_divisor: self.whole(yaml, "channel_divisor", 1024).unwrap_or(8),
            rounding: if kindle { Rounding::Up } else { Rounding::Nearest },
            norm: self.norm(yaml),
            legacy_padding: self.flag(yaml, "legacy_padding"),
        }
    }

    fn norm(&mut self, yaml: &Yaml) -> Norm {
        let mut norm = Norm::default();
        let Some(value) = yaml.get("norm") else { return norm };
        let Some(entries) = value.as_map() else {
            self.wrong(value.span, format!("norm: wanted {{eps: …, momentum: …}}, got {}", value.describe()));
            return norm;
        };
        for Entry { key, key_span, value } in entries {
            let (target, range) = match key.as_str() {
                "eps" => (&mut norm.eps, 1e-12..=1.0),
                "momentum" => (&mut norm.momentum, 0.0..=1.0),
                _ => {
                    self.wrong(*key_span, format!("norm: unknown key `{key}`; it has eps and momentum"));
                    continue;
                }
            };
            match value.as_f64().filter(|number| range.contains(number)) {
                Some(number) => *target = number,
                None => {
                    let (low, high) = range.into_inner();
                    let message = format!("norm.{key}: wanted a number from {low} to {high}, got {}", value.describe());
                    self.wrong(value.span, message);
                }
            }
        }
        norm
    }

    /// The values under `train:` over those that older files have beside the network.
    fn train(&mut self, yaml: &Yaml, mut settings: Map<String, Value>) -> Map<String, Value> {
        let Some(value) = yaml.get("train") else { return settings };
        let Node::Map(entries) = &value.node else {
            self.wrong(value.span, format!("train: wanted a map of settings, got {}", value.describe()));
            return settings;
        };
        settings.extend(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())));
        for error in TrainSettings::parse(&settings).err().into_iter().flatten() {
            let named = |entry: &&Entry| error.place == Place::Argument(entry.key.clone());
            let span = entries.iter().find(named).map_or(value.span, |entry| entry.key_span.to(entry.value.span));
            self.diagnostics.push(Diagnostic::new(format!("train: {}", error.message)).at(span).help(error.help));
        }
        settings
    }

    fn params(&mut self, yaml: &Yaml) -> Map<String, Value> {
        match yaml.get("params").map(|params| (params.to_json(), params)) {
            None => Map::new(),
            Some((Value::Object(params), _)) => params,
            Some((_, params)) => {
                self.wrong(params.span, format!("params: wanted a map of named values, got {}", params.describe()));
                Map::new()
            }
        }
    }

    fn rows(&mut self, yaml: &Yaml, blocks: &Blocks) -> Option<Vec<Row>> {
        let Some(backbone) = yaml.get("backbone") else {
            self.wrong(Span::point(yaml.span.start), "missing key `backbone`: the list of the network's rows".into());
            return None;
        };
        let sections = [(Some(backbone), "backbone"), (yaml.get("head"), "head")];
        let mut rows = Vec::new();
        for (section, key) in sections.into_iter().filter_map(|(section, key)| Some((section?, key))) {
            let Some(items) = section.as_list().filter(|items| !items.is_empty()) else {
                self.wrong(section.span, format!("{key}: wanted a list of rows, got {}", section.describe()));
                continue;
            };
            for item in items {
                match row::read(item, key == "head", blocks) {
                    Ok(row) => rows.push(row),
                    Err(diagnostics) => self.diagnostics.extend(diagnostics),
                }
            }
        }
        Some(rows)
    }
}

/// `[height, width]`, or one number for both.
pub fn sides(yaml: &Yaml) -> Option<[usize; 2]> {
    let side = |yaml: &Yaml| usize::try_from(yaml.as_i64()?).ok().filter(|side| (1..=8192).contains(side));
    match yaml.as_list() {
        Some([height, width]) => Some([side(height)?, side(width)?]),
        Some(_) => None,
        None => side(yaml).map(|side| [side; 2]),
    }
}

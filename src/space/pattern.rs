//! Values and sets of values.

use super::structure::{Node as Part, Scripted, Values};
use crate::spec::{
    Diagnostic, Span, check_set, distribution, is_set, labels, mistyped_set, option_label,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{Distribution, Draw, Result, nearest};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A part of a space: a value in which any part may be drawn.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// Always the same.
    Fixed(Yaml),
    /// A list of patterns.
    List(Span, Vec<Pattern>),
    /// A map of patterns.
    Map(Span, Vec<(String, Span, Pattern)>),
    /// Drawn.
    Set(Set),
    /// What the draw of this name gave, here.
    Reference(String, Span),
}

/// A set of values, one of which is drawn under a name.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) distribution: Distribution,
    /// For a choice: what each value of the distribution stands for.
    pub(super) options: Vec<Pattern>,
    /// For a choice: where each option stands.
    pub(super) spans: Vec<Span>,
    /// For a range: where its ends stand.
    bounds: Option<[Span; 2]>,
}

/// The values that names gave so far in one sample.
pub(super) type Drawn = BTreeMap<String, Yaml>;

/// Reads patterns; keeps all that is wrong and all names in use.
#[derive(Default)]
pub(super) struct PatternReader {
    pub(super) diagnostics: Vec<Diagnostic>,
    names: Vec<UsedName>,
    /// Names of the sets whose options are being read.
    open: Vec<String>,
    /// Whether a map may have any keys here, as under `params:`.
    any_keys: bool,
    /// What each name gives when all draws give their first, and their last, value.
    pub(super) baselines: [Drawn; 2],
    /// Blocks whose arguments some part of the space draws.
    pub(super) drawn_blocks: BTreeSet<String>,
}

struct UsedName {
    name: String,
    /// Whether what follows can rely on its being drawn.
    always: bool,
}

impl PatternReader {
    /// Keeps what is wrong; the same mistake once, however often it is read.
    pub(super) fn wrong(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Keeps what is wrong with `result`.
    pub(super) fn keep<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.wrong(diagnostic)).ok()
    }

    /// Reads a value that stands at `path`, after which its draws are named.
    pub(super) fn read(&mut self, yaml: &Yaml, path: &str) -> Pattern {
        match &yaml.node {
            Node::Scalar(_) => Pattern::Fixed(yaml.clone()),
            Node::List(items) => {
                let items =
                    items.iter().enumerate().map(|(index, item)| self.read(item, &join(path, &index.to_string())));
                Pattern::List(yaml.span, items.collect())
            }
            Node::Map(entries) if is_set(entries) => self.read_set(yaml, path, option_label),
            Node::Map(entries) => {
                if let Some(mistyped) = mistyped_set(entries, self.any_keys) {
                    self.wrong(mistyped);
                    return Pattern::Fixed(yaml.clone());
                }
                let entry = |entry: &Entry| {
                    (entry.key.clone(), entry.key_span, self.read(&entry.value, &join(path, &entry.key)))
                };
                Pattern::Map(yaml.span, entries.iter().map(entry).collect())
            }
        }
    }

    /// Reads named values whose names at `path` are the user's own.
    pub(super) fn read_free(&mut self, yaml: &Yaml, path: &str) -> Pattern {
        self.any_keys = true;
        let pattern = self.read(yaml, path);
        self.any_keys = false;
        pattern
    }

    /// Reads a set that stands at `path`, whose options `label` names.
    pub(super) fn read_set(&mut self, yaml: &Yaml, path: &str, label: fn(&Yaml) -> Value) -> Pattern {
        let read = self.set(yaml, path, label);
        self.keep(read).unwrap_or_else(|| Pattern::Fixed(yaml.clone()))
    }

    fn set(&mut self, yaml: &Yaml, path: &str, label: fn(&Yaml) -> Value) -> Result<Pattern, Diagnostic> {
        if let Some(reference) = self.reference(yaml)? {
            return Ok(Pattern::Reference(reference, yaml.span));
        }
        let name = self.name(yaml, path)?;
        let (distribution, options, spans) = match yaml.get("choice") {
            Some(choice) => {
                check_set(yaml)?;
                let distribution = labels(choice, label)?;
                self.claim(&name, yaml.span)?;
                self.open.push(name.clone());
                let options = choice.as_list().unwrap_or_default();
                let read = |(index, option): (usize, &Yaml)| {
                    // An option that is called by its word names its draws after it.
                    let by_word = label(option) != option_label(option);
                    let path = if by_word { path.to_owned() } else { join(path, &index.to_string()) };
                    self.within_option(|reader| reader.read(option, &path))
                };
                let patterns = options.iter().enumerate().map(read).collect();
                self.open.pop();
                (distribution, patterns, options.iter().map(|option| option.span).collect())
            }
            None => {
                let distribution = distribution(yaml, None)?;
                self.claim(&name, yaml.span)?;
                (distribution, Vec::new(), Vec::new())
            }
        };
        let ends = ["int", "float"].into_iter().find_map(|kind| match yaml.get(kind)?.as_list() {
            Some([low, high]) => Some([low.span, high.span]),
            _ => None,
        });
        let set = Set { name, span: yaml.span, distribution, options, spans, bounds: ends };
        self.remember(&set);
        Ok(Pattern::Set(set))
    }

    /// What the set's name gives in the two plainest samples.
    fn remember(&mut self, set: &Set) {
        for (last, baseline) in self.baselines.iter_mut().enumerate() {
            let script = Values::new();
            let value = set.draw(&mut Scripted::new(&script, last == 1), baseline);
            if let Ok(value) = value {
                baseline.insert(set.name.clone(), value);
            }
        }
    }

    /// The name under which a set at `path` is drawn.
    pub(super) fn name(&self, yaml: &Yaml, path: &str) -> Result<String, Diagnostic> {
        let Some(name) = yaml.get("name") else { return Ok(path.to_owned()) };
        // Names with dots are those of the draws that blocks make.
        let is_word = |word: &&str| {
            !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
        };
        name.as_str().filter(is_word).map(str::to_owned).ok_or_else(|| {
            let message = format!("name: wanted a word of letters, digits, _ and -, got {}", name.describe());
            Diagnostic::new(message).at(name.span)
        })
    }

    /// Takes a name for a draw.
    pub(super) fn claim(&mut self, name: &str, span: Span) -> Result<(), Diagnostic> {
        if self.names.iter().any(|used| used.name == name) {
            return Err(Diagnostic::new(format!("two draws are named `{name}`")).at(span));
        }
        self.names.push(UsedName { name: name.to_owned(), always: true });
        Ok(())
    }

    /// Reads a part that a sample may lack: what follows cannot refer to its draws.
    pub(super) fn within_option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.names.len();
        let result = read(self);
        self.names[before..].iter_mut().for_each(|used| used.always = false);
        result
    }

    /// The name that `{ref: name}` refers to; `None` for another set.
    pub(super) fn reference(&self, yaml: &Yaml) -> Result<Option<String>, Diagnostic> {
        let Some(target) = yaml.get("ref") else { return Ok(None) };
        if yaml.as_map().is_some_and(|entries| entries.len() > 1) {
            return Err(Diagnostic::new("ref stands alone: {ref: name}").at(yaml.span));
        }
        if let Some(name) = target.as_str().filter(|name| self.open.iter().any(|open| open == name)) {
            let message = format!("ref: `{name}` is the draw that this stands in, which has no value yet");
            return Err(Diagnostic::new(message).at(target.span));
        }
        let used = target.as_str().and_then(|name| self.names.iter().find(|used| used.name == name));
        match used {
            Some(UsedName { name, always: true }) => Ok(Some(name.clone())),
            Some(UsedName { name, always: false }) => {
                Err(Diagnostic::new(format!("ref: `{name}` is drawn only where its option is chosen"))
                    .at(target.span)
                    .help("draw it before the choice, and refer to it in both places".to_owned()))
            }
            None => {
                let names = self.names.iter().map(|used| used.name.as_str());
                let near = target.as_str().and_then(|name| nearest(name, names));
                Err(Diagnostic::new(format!("ref: no draw above is named {}", target.describe()))
                    .at(target.span)
                    .help(near.map(|near| format!("did you mean `{near}`?"))))
            }
        }
    }

    /// A label in a message.
    pub(super) fn shown(label: &Value) -> String {
        label.as_str().map_or_else(|| label.to_string(), str::to_owned)
    }

    /// An option of the form `{word: {…}}` is called by its word.
    pub(super) fn word(option: &Yaml) -> Value {
        match option.as_map() {
            Some([Entry { key, value, .. }]) if value.as_map().is_some() => Value::String(key.clone()),
            _ => option_label(option),
        }
    }
}

pub(super) fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

impl Pattern {
    /// One value, with every set drawn.
    pub(super) fn resolve(&self, draw: &mut dyn Draw, drawn: &mut Drawn) -> Result<Yaml> {
        match self {
            Self::Fixed(yaml) => Ok(yaml.clone()),
            Self::Reference(name, span) => {
                Ok(Yaml { span: *span, ..drawn.get(name).cloned().unwrap_or_else(|| null(*span)) })
            }
            Self::Set(set) => {
                let value = set.draw(draw, drawn)?;
                drawn.insert(set.name.clone(), value.clone());
                Ok(value)
            }
            Self::List(span, items) => {
                let items = items.iter().map(|item| item.resolve(draw, drawn)).collect::<Result<_>>()?;
                Ok(Yaml { span: *span, node: Node::List(items) })
            }
            Self::Map(span, entries) => {
                let entry = |(key, key_span, pattern): &(String, Span, Pattern)| {
                    Ok(Entry { key: key.clone(), key_span: *key_span, value: pattern.resolve(draw, drawn)? })
                };
                Ok(Yaml { span: *span, node: Node::Map(entries.iter().map(entry).collect::<Result<_>>()?) })
            }
        }
    }

    /// Where the space says it.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Fixed(yaml) => yaml.span,
            Self::Reference(_, span) | Self::List(span, _) | Self::Map(span, _) => *span,
            Self::Set(set) => set.span,
        }
    }

    /// What it draws.
    pub(super) fn structure(&self) -> Arc<Part> {
        match self {
            Self::Fixed(_) | Self::Reference(..) => Arc::new(Part::Nothing),
            Self::List(_, items) => Part::sequence(items.iter().map(Self::structure).collect()),
            Self::Map(_, entries) => Part::sequence(entries.iter().map(|(_, _, value)| value.structure()).collect()),
            Self::Set(set) => set.structure(),
        }
    }

    /// The value, if nothing in it is drawn.
    pub(super) fn fixed(&self) -> Option<Yaml> {
        let is_fixed = matches!(*self.structure(), Part::Nothing) && !self.refers();
        let script = Values::new();
        is_fixed.then(|| self.resolve(&mut Scripted::new(&script, false), &mut Drawn::new()).ok())?
    }

    /// Whether it uses a draw of another place.
    pub(super) fn refers(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Reference(..) => true,
            Self::List(_, items) => items.iter().any(Self::refers),
            Self::Map(_, entries) => entries.iter().any(|(_, _, value)| value.refers()),
            Self::Set(set) => set.options.iter().any(Self::refers),
        }
    }
}

impl Set {
    fn draw(&self, draw: &mut dyn Draw, drawn: &mut Drawn) -> Result<Yaml> {
        let value = draw.draw(&self.name, &self.distribution)?;
        match self.distribution.index_of(&value).and_then(|index| self.options.get(index as usize)) {
            Some(option) => option.resolve(draw, drawn),
            None => Ok(Yaml::from_json(&value, self.place(&value))),
        }
    }

    /// Where the space says this value: at an end of the range, or as the set.
    fn place(&self, value: &Value) -> Span {
        let ends = self.bounds.iter().flatten().zip(self.distribution.ends());
        let end = ends.into_iter().find(|(_, end)| end == value);
        end.map_or(self.span, |(span, _)| *span)
    }

    fn structure(&self) -> Arc<Part> {
        let options: Vec<Arc<Part>> = self.options.iter().map(Pattern::structure).collect();
        let alike = options.iter().all(|option| matches!(**option, Part::Nothing));
        let branches = (!alike).then_some(options);
        Part::branching(&self.name, &self.distribution, self.span, self.spans.clone(), branches)
    }
}

fn null(span: Span) -> Yaml {
    Yaml { span, node: Node::Scalar(Value::Null) }
}

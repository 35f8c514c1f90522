//! Values and sets of values.

use crate::spec::{
    Diagnostic, Span, emit_inline,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{Distribution, Draw, Result, nearest};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

const SET_KEYS: [&str; 7] = ["choice", "int", "float", "step", "log", "name", "ref"];

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
    /// What the draw of this name gave.
    Reference(String),
}

/// A set of values, one of which is drawn under a name.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: String,
    span: Span,
    pub(super) distribution: Distribution,
    /// For a choice: what each value of the distribution stands for.
    options: Vec<Pattern>,
}

/// The values that names gave so far in one sample.
pub(super) type Drawn = BTreeMap<String, Yaml>;

/// Reads patterns; keeps all that is wrong and all names in use.
#[derive(Default)]
pub(super) struct PatternReader {
    pub(super) diagnostics: Vec<Diagnostic>,
    names: Vec<String>,
}

impl PatternReader {
    /// Reads a value that stands at `path`, after which its draws are named.
    pub(super) fn read(&mut self, yaml: &Yaml, path: &str) -> Pattern {
        match &yaml.node {
            Node::Scalar(_) => Pattern::Fixed(yaml.clone()),
            Node::List(items) => {
                let items =
                    items.iter().enumerate().map(|(index, item)| self.read(item, &join(path, &index.to_string())));
                Pattern::List(yaml.span, items.collect())
            }
            Node::Map(entries) if is_set(entries) => self.read_set(yaml, entries, path),
            Node::Map(entries) => {
                let entry = |entry: &Entry| {
                    (entry.key.clone(), entry.key_span, self.read(&entry.value, &join(path, &entry.key)))
                };
                Pattern::Map(yaml.span, entries.iter().map(entry).collect())
            }
        }
    }

    /// Reads a set that stands at `path`; `None` (with a diagnostic) where it makes no sense.
    pub(super) fn read_set(&mut self, yaml: &Yaml, entries: &[Entry], path: &str) -> Pattern {
        match self.set(yaml, entries, path) {
            Ok(pattern) => pattern,
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                Pattern::Fixed(yaml.clone())
            }
        }
    }

    fn set(&mut self, yaml: &Yaml, entries: &[Entry], path: &str) -> Result<Pattern, Diagnostic> {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let wrong = |message: String| Diagnostic::new(message).at(yaml.span);
        if let Some(target) = find("ref") {
            return self.reference(yaml, entries, target);
        }
        let name = match find("name") {
            None => path.to_owned(),
            Some(name) => name.as_str().map(str::to_owned).ok_or_else(|| {
                Diagnostic::new(format!("name: wanted a word, got {}", name.describe())).at(name.span)
            })?,
        };
        if self.names.contains(&name) {
            return Err(wrong(format!("two draws are named `{name}`")));
        }
        let (step, log) = (find("step"), find("log"));
        let kinds = ["choice", "int", "float"].map(|kind| find(kind).map(|value| (kind, value)));
        let mut kinds = kinds.into_iter().flatten();
        let (kind, value) = match (kinds.next(), kinds.next()) {
            (Some(kind), None) => kind,
            _ => return Err(wrong("a set of values has exactly one of choice, int, float".into())),
        };
        if kind == "choice" && (step.is_some() || log.is_some()) {
            return Err(wrong("choice takes neither step nor log".into()));
        }
        self.names.push(name.clone());
        let (distribution, options) = match kind {
            "choice" => self.choice(value, path)?,
            "int" => (int(value, step, log)?, Vec::new()),
            _ => (float(value, step, log)?, Vec::new()),
        };
        Ok(Pattern::Set(Set { name, span: yaml.span, distribution, options }))
    }

    fn reference(&self, yaml: &Yaml, entries: &[Entry], target: &Yaml) -> Result<Pattern, Diagnostic> {
        if entries.len() > 1 {
            return Err(Diagnostic::new("ref stands alone: {ref: name}").at(yaml.span));
        }
        match target.as_str() {
            Some(name) if self.names.iter().any(|known| known == name) => Ok(Pattern::Reference(name.to_owned())),
            _ => {
                let near = target.as_str().and_then(|name| nearest(name, self.names.iter().map(String::as_str)));
                Err(Diagnostic::new(format!("ref: no draw above is named {}", target.describe()))
                    .at(target.span)
                    .help(near.map(|near| format!("did you mean `{near}`?"))))
            }
        }
    }

    fn choice(&mut self, yaml: &Yaml, path: &str) -> Result<(Distribution, Vec<Pattern>), Diagnostic> {
        let options = yaml.as_list().filter(|options| !options.is_empty()).ok_or_else(|| {
            Diagnostic::new(format!("choice: wanted a list of values, got {}", yaml.describe())).at(yaml.span)
        })?;
        let mut labels: Vec<Value> = Vec::new();
        for option in options {
            let label = match &option.node {
                Node::Scalar(value) => value.clone(),
                _ => Value::String(emit_inline(&option.to_json())),
            };
            if labels.contains(&label) {
                return Err(Diagnostic::new("choice: this value stands twice").at(option.span));
            }
            labels.push(label);
        }
        let patterns =
            options.iter().enumerate().map(|(index, option)| self.read(option, &join(path, &index.to_string())));
        let patterns = patterns.collect();
        Ok((Distribution::Choice(labels), patterns))
    }
}

fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

/// Whether a map is a set of values.
pub(super) fn is_set(entries: &[Entry]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| SET_KEYS.contains(&entry.key.as_str()))
}

/// `[low, high]`.
fn bounds<T>(kind: &str, yaml: &Yaml, number: impl Fn(&Yaml) -> Option<T>) -> Result<[T; 2], Diagnostic>
where
    T: PartialOrd,
{
    let bounds = match yaml.as_list() {
        Some([low, high]) => number(low).zip(number(high)),
        _ => None,
    };
    match bounds {
        Some((low, high)) if low <= high => Ok([low, high]),
        _ => Err(Diagnostic::new(format!(
            "{kind}: wanted [low, high] with low ≤ high, got {}",
            emit_inline(&yaml.to_json())
        ))
        .at(yaml.span)),
    }
}

fn is_log(log: Option<&Yaml>) -> Result<bool, Diagnostic> {
    match log.map(|log| (&log.node, log.span)) {
        None => Ok(false),
        Some((Node::Scalar(Value::Bool(log)), _)) => Ok(*log),
        Some((_, span)) => Err(Diagnostic::new("log: wanted true or false").at(span)),
    }
}

fn int(yaml: &Yaml, step: Option<&Yaml>, log: Option<&Yaml>) -> Result<Distribution, Diagnostic> {
    const LARGEST: i64 = 1 << 53;
    let [low, high] = bounds("int", yaml, |yaml| yaml.as_i64().filter(|number| number.abs() < LARGEST))?;
    let log = is_log(log)?;
    let wrong = |message: &str, span| Err(Diagnostic::new(message).at(span));
    let step = match step.map(|step| (step.as_i64(), step.span)) {
        None => 1,
        Some((Some(step), _)) if step > 0 && !log => step,
        Some((_, span)) if log => return wrong("step: a logarithmic set has no step", span),
        Some((_, span)) => return wrong("step: wanted a whole number of at least 1", span),
    };
    if log && low < 1 {
        return wrong("int: a logarithmic set begins at 1 or above", yaml.span);
    }
    Ok(Distribution::Int { low, high: low + (high - low) / step * step, step, log })
}

fn float(yaml: &Yaml, step: Option<&Yaml>, log: Option<&Yaml>) -> Result<Distribution, Diagnostic> {
    let [low, high] = bounds("float", yaml, Yaml::as_f64)?;
    let log = is_log(log)?;
    let wrong = |message: &str, span| Err(Diagnostic::new(message).at(span));
    let step = match step.map(|step| (step.as_f64(), step.span)) {
        None => None,
        Some((Some(step), _)) if step > 0.0 && !log && (high - low) / step < 1e9 => Some(step),
        Some((_, span)) if log => return wrong("step: a logarithmic set has no step", span),
        Some((_, span)) => return wrong("step: wanted a number above 0", span),
    };
    if log && low <= 0.0 {
        return wrong("float: a logarithmic set begins above 0", yaml.span);
    }
    Ok(Distribution::Float { low, high, step, log })
}

impl Pattern {
    /// One value, with every set drawn.
    pub(super) fn resolve(&self, draw: &mut dyn Draw, drawn: &mut Drawn) -> Result<Yaml> {
        match self {
            Self::Fixed(yaml) => Ok(yaml.clone()),
            Self::Reference(name) => Ok(drawn.get(name).cloned().unwrap_or_else(|| null(Span::default()))),
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
}

impl Set {
    fn draw(&self, draw: &mut dyn Draw, drawn: &mut Drawn) -> Result<Yaml> {
        let value = draw.draw(&self.name, &self.distribution)?;
        match &self.distribution {
            Distribution::Choice(labels) => {
                let index = labels.iter().position(|label| *label == value).unwrap_or(0);
                self.options[index].resolve(draw, drawn)
            }
            _ => Ok(Yaml::from_json(&value, self.span)),
        }
    }
}

fn null(span: Span) -> Yaml {
    Yaml { span, node: Node::Scalar(Value::Null) }
}

/// A number as a space's file would have it: whole ones without a fraction.
pub(super) fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

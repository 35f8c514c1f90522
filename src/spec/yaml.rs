//! YAML with positions: serde_yaml says what a file means, saphyr-parser says where it says so.

use super::diagnostic::{Diagnostic, Span};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// A larger file is refused: no spec comes near.
pub const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 48;
const MAX_NODES: usize = 50_000;

/// A value with the place where the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Yaml {
    /// Byte range in the text.
    pub span: Span,
    /// The value.
    pub node: Node,
}

/// What a [`Yaml`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Null, a boolean, a finite number or a string.
    Scalar(Value),
    /// A list.
    List(Vec<Yaml>),
    /// A map with string keys, in the order of the file, without repeated keys.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Yaml,
}

impl Yaml {
    /// The value without its positions.
    pub fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Node::Map(entries) => {
                let pair = |entry: &Entry| (entry.key.clone(), entry.value.to_json());
                Value::Object(entries.iter().map(pair).collect::<Map<_, _>>())
            }
        }
    }

    /// The same value at every place of `span`.
    pub fn from_json(value: &Value, span: Span) -> Self {
        let node = match value {
            Value::Array(items) => Node::List(items.iter().map(|item| Self::from_json(item, span)).collect()),
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| Entry {
                    key: key.clone(),
                    key_span: span,
                    value: Self::from_json(value, span),
                };
                Node::Map(map.iter().map(entry).collect())
            }
            scalar => Node::Scalar(scalar.clone()),
        };
        Self { span, node }
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.node {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if this is a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.node {
            Node::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is one.
    pub fn as_f64(&self) -> Option<f64> {
        match &self.node {
            Node::Scalar(value) => value.as_f64(),
            _ => None,
        }
    }

    /// The whole number, if this is one.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.node {
            Node::Scalar(value) => value.as_i64(),
            _ => None,
        }
    }

    /// What this is, for messages: `the string \`Conv\``, `a list of 3`.
    pub fn describe(&self) -> String {
        match &self.node {
            Node::Scalar(Value::Null) => "null".into(),
            Node::Scalar(Value::String(text)) => format!("`{}`", shorten(text)),
            Node::Scalar(value) => value.to_string(),
            Node::List(items) if items.is_empty() => "an empty list".into(),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Map(entries) => format!("a map of {}", entries.len()),
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Reads `text`. Size, depth and number of nodes (aliases expanded) are bounded before anything
/// is built.
pub fn parse(text: &str) -> Result<Yaml, Diagnostic> {
    if text.len() > MAX_BYTES {
        let message = format!("the file is too large: wanted at most {MAX_BYTES} bytes, got {}", text.len());
        return Err(Diagnostic::new(message));
    }
    let outline = Outliner::new(text).document()?;
    let meaning: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    combine(&outline, &meaning)
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> Diagnostic {
    let at = error.location().map_or(0, |location| location.index().min(text.len()));
    Diagnostic::new(format!("not valid YAML: {error}")).at(Span::point(at))
}

/// Positions without meaning; aliases are expanded.
#[derive(Clone)]
struct Outline {
    span: Span,
    shape: OutlineShape,
}

#[derive(Clone)]
enum OutlineShape {
    Scalar { quoted: bool },
    List(Vec<Outline>),
    Map(Vec<(String, Span, Outline)>),
}

struct Outliner<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    bytes: ByteIndex,
    anchors: Vec<(usize, Outline, usize)>,
    nodes: usize,
}

impl<'a> Outliner<'a> {
    fn new(text: &'a str) -> Self {
        Self { parser: Parser::new_from_str(text), bytes: ByteIndex::of(text), anchors: Vec::new(), nodes: 0 }
    }

    fn document(mut self) -> Result<Outline, Diagnostic> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    return Err(Diagnostic::new("wanted one document, got a second one").at(span));
                }
                event => root = Some(self.value(event, span, 0)?),
            }
        }
        root.ok_or_else(|| Diagnostic::new("the file is empty"))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Diagnostic> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Span::point(0))),
            Some(Ok((event, span))) => {
                Ok((event, Span { start: self.bytes.at(span.start.index()), end: self.bytes.at(span.end.index()) }))
            }
            Some(Err(error)) => {
                let at = self.bytes.at(error.marker().index());
                Err(Diagnostic::new(format!("not valid YAML: {}", error.info())).at(Span::point(at)))
            }
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Outline, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(format!("nested too deeply: at most {MAX_DEPTH} levels")).at(span));
        }
        let before = self.nodes;
        self.count(1, span)?;
        let (anchor, outline) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(_, style, anchor, tag) => {
                reject_tag(tag.is_some(), span)?;
                (anchor, Outline { span, shape: OutlineShape::Scalar { quoted: style != ScalarStyle::Plain } })
            }
            Event::SequenceStart(anchor, tag) => {
                reject_tag(tag.is_some(), span)?;
                (anchor, self.list(span, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                reject_tag(tag.is_some(), span)?;
                (anchor, self.map(span, depth)?)
            }
            _ => return Err(Diagnostic::new("not valid YAML").at(span)),
        };
        if anchor != 0 {
            self.anchors.push((anchor, outline.clone(), self.nodes - before));
        }
        Ok(outline)
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Outline, Diagnostic> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    return Ok(Outline { span: start.to(end), shape: OutlineShape::List(items) });
                }
                (event, span) => items.push(self.value(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Outline, Diagnostic> {
        let mut entries: Vec<(String, Span, Outline)> = Vec::new();
        loop {
            let (key, key_span) = match self.next()? {
                (Event::MappingEnd, end) => {
                    return Ok(Outline { span: start.to(end), shape: OutlineShape::Map(entries) });
                }
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => return Err(Diagnostic::new("a key must be a plain word").at(span)),
            };
            if let Some((_, first, _)) = entries.iter().find(|(known, ..)| *known == key) {
                return Err(Diagnostic::new(format!("the key `{key}` stands twice"))
                    .at(key_span)
                    .also(*first, "the first is here"));
            }
            let (event, span) = self.next()?;
            let value = self.value(event, span, depth + 1)?;
            entries.push((key, key_span, value));
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Outline, Diagnostic> {
        let known = self.anchors.iter().rev().find(|(id, ..)| *id == anchor);
        let Some((_, outline, size)) = known.map(|(id, outline, size)| (id, outline.clone(), *size)) else {
            return Err(Diagnostic::new("an alias to an anchor that is not complete").at(span));
        };
        self.count(size, span)?;
        Ok(Outline { span, ..outline })
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message = format!("too many values: at most {MAX_NODES}, aliases expanded");
            return Err(Diagnostic::new(message).at(span));
        }
        Ok(())
    }
}

fn reject_tag(tagged: bool, span: Span) -> Result<(), Diagnostic> {
    if tagged { Err(Diagnostic::new("tags (`!name`) are not used here").at(span)) } else { Ok(()) }
}

/// Lays the meaning over the positions. The two parsers read some texts differently (`012`, merge
/// keys): such a file is refused rather than guessed at.
fn combine(outline: &Outline, meaning: &serde_yaml::Value) -> Result<Yaml, Diagnostic> {
    use serde_yaml::Value as Meaning;
    let span = outline.span;
    let differ = || Diagnostic::new("YAML readers do not agree on what this means; write it more plainly").at(span);
    let node = match (&outline.shape, meaning) {
        (OutlineShape::List(items), Meaning::Sequence(values)) if items.len() == values.len() => {
            Node::List(items.iter().zip(values).map(|(item, value)| combine(item, value)).collect::<Result<_, _>>()?)
        }
        (OutlineShape::Map(entries), Meaning::Mapping(values)) if entries.len() == values.len() => {
            let entry = |((key, key_span, outline), value): (&(String, Span, Outline), &Meaning)| {
                Ok(Entry { key: key.clone(), key_span: *key_span, value: combine(outline, value)? })
            };
            Node::Map(entries.iter().zip(values.values()).map(entry).collect::<Result<_, Diagnostic>>()?)
        }
        (OutlineShape::Scalar { .. }, Meaning::Null) => Node::Scalar(Value::Null),
        (OutlineShape::Scalar { .. }, Meaning::Bool(value)) => Node::Scalar(Value::Bool(*value)),
        (OutlineShape::Scalar { .. }, Meaning::String(value)) => Node::Scalar(Value::String(value.clone())),
        (OutlineShape::Scalar { quoted: false }, Meaning::Number(number)) => Node::Scalar(finite(number, span)?),
        _ => return Err(differ()),
    };
    Ok(Yaml { span, node })
}

fn finite(number: &serde_yaml::Number, span: Span) -> Result<Value, Diagnostic> {
    let json = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Some(Number::from(whole)),
        (None, Some(whole)) => Some(Number::from(whole)),
        (None, None) => number.as_f64().and_then(Number::from_f64),
    };
    json.map(Value::Number).ok_or_else(|| Diagnostic::new(format!("wanted a finite number, got {number}")).at(span))
}

/// From positions in characters to positions in bytes.
struct ByteIndex {
    length: usize,
    starts: Option<Vec<u32>>,
}

impl ByteIndex {
    fn of(text: &str) -> Self {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte as u32).collect());
        Self { length: text.len(), starts }
    }

    fn at(&self, character: usize) -> usize {
        match &self.starts {
            None => character.min(self.length),
            Some(starts) => starts.get(character).map_or(self.length, |byte| *byte as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_place_of_every_value() {
        let text = "ä: 1\nrows:\n  - [1, Conv, {out: 16}]\n";
        let yaml = parse(text).unwrap();
        let row = &yaml.get("rows").unwrap().as_list().unwrap()[0].as_list().unwrap();
        assert_eq!(&text[row[1].span.start..row[1].span.end], "Conv");
        assert_eq!(&text[row[2].get("out").unwrap().span.start..][..2], "16");
        assert_eq!(yaml.to_json()["rows"][0][2]["out"], 16);
    }

    #[test]
    fn refuses_bombs_depth_duplicates_tags_and_infinity() {
        let bomb = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
            let below = level - 1;
            format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 9].join(","))
        });
        let deep = "[".repeat(60) + &"]".repeat(60);
        let endless = "[".repeat(100_000);
        for (text, message) in [
            (bomb.as_str(), "too many values"),
            (&deep, "nested too deeply"),
            (&endless, "not valid YAML"),
            ("a: 1\na: 2", "stands twice"),
            ("a: !!str 1", "tags"),
            ("a: .inf", "finite"),
            ("a: 1\n---\nb: 2", "second one"),
            ("? [a]\n: 1", "key must be"),
            ("", "empty"),
            ("a: [1", "not valid YAML"),
            ("a: *b", "not valid YAML"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(message), "{text:.40}: {}", error.message);
        }
    }
}

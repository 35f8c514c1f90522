//! One row of a backbone.

use super::{
    diagnostic::{Diagnostic, Span},
    yaml::{Node, Yaml},
};
use nasgen_modules::{BlockEntry, Blocks, Error, Module, Place};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most copies that one row may ask for.
pub const MAX_REPEAT: usize = 1000;

/// The name of the absent row, which no block bears.
pub const PASS: &str = "Pass";

/// A row with its block's arguments read.
#[derive(Clone)]
pub struct Row {
    /// Rows it reads: an index, or a negative one that counts back from this row.
    pub from: Vec<i64>,
    /// Copies as written, before the depth multiple.
    pub repeat: usize,
    /// Whether the row stands under `head:`.
    pub in_head: bool,
    /// The block's name.
    pub block: String,
    /// The block's arguments as a spec's list.
    pub arguments: Vec<Value>,
    /// The block with its arguments.
    pub module: Arc<dyn Module>,
    /// Where the file says it.
    pub place: RowPlace,
}

/// Where the parts of a row stand.
#[derive(Clone, Debug, Default)]
pub struct RowPlace {
    row: Span,
    from: Span,
    name: Span,
    arguments: Span,
    positional: Vec<Span>,
    named: Vec<(String, Span)>,
    order: Vec<String>,
}

impl RowPlace {
    /// This error, pointed at the part of the row that it is about.
    pub fn diagnostic(&self, error: Error) -> Diagnostic {
        let span = match &error.place {
            Place::Row | Place::Step(_) => self.row,
            Place::Name => self.name,
            Place::Arguments => self.arguments,
            Place::Argument(name) => self.argument(name),
            Place::Position(index) => self.positional.get(*index).copied().unwrap_or(self.arguments),
        };
        Diagnostic::new(error.message).at(span).help(error.help)
    }

    /// An error about the row's `from`.
    pub fn from_diagnostic(&self, message: String) -> Diagnostic {
        Diagnostic::new(message).at(self.from)
    }

    /// Where the row begins.
    pub fn span(&self) -> Span {
        self.row
    }

    fn argument(&self, name: &str) -> Span {
        let by_name = self.named.iter().find(|(known, _)| known == name).map(|(_, span)| *span);
        let index = self.order.iter().position(|known| known == name);
        by_name.or_else(|| self.positional.get(index?).copied()).unwrap_or(self.arguments)
    }
}

/// The columns of a row before they are understood.
struct Columns<'a> {
    from: Option<&'a Yaml>,
    repeat: &'a Yaml,
    module: &'a Yaml,
    arguments: &'a Yaml,
    named: Option<&'a Yaml>,
}

/// Whether a row has the `from` column, which marks files in kindle's form.
pub(super) fn has_from(row: &Yaml) -> bool {
    row.as_list().is_some_and(|columns| columns.len() > 3)
}

/// Reads a row. Everything wrong with it is reported.
///
/// # Errors
/// With the places of the row's parts.
pub fn read(yaml: &Yaml, in_head: bool, blocks: &Blocks) -> Result<Row, Vec<Diagnostic>> {
    let columns = columns(yaml).map_err(|diagnostic| vec![diagnostic])?;
    let mut diagnostics = Vec::new();
    let mut keep = |diagnostic: Option<Diagnostic>| diagnostics.extend(diagnostic);

    let from = columns.from.map_or(Ok(vec![-1]), read_from);
    keep(from.as_ref().err().cloned());
    let repeat = read_repeat(columns.repeat);
    keep(repeat.as_ref().err().cloned());

    let block = read_name(columns.module, blocks);
    keep(block.as_ref().err().cloned());
    let mut place = RowPlace {
        row: yaml.span,
        from: columns.from.map_or(yaml.span, |from| from.span),
        name: columns.module.span,
        arguments: columns.arguments.span,
        ..RowPlace::default()
    };
    let Ok(block) = block else { return Err(diagnostics) };
    place.order = block.signature.arguments.iter().map(|argument| argument.name.clone()).collect();
    let arguments = read_arguments(&columns, &mut place);
    keep(arguments.as_ref().err().cloned());
    let Ok((positional, named)) = arguments else { return Err(diagnostics) };

    match (block.parse(&positional, &named), from, repeat) {
        (Ok(module), Ok(from), Ok(repeat)) => {
            let arguments = block.list(&*module);
            Ok(Row { from, repeat, in_head, block: block.name().into(), arguments, module, place })
        }
        (parsed, ..) => {
            let with_block = |error: Error| Error { message: format!("{}: {}", block.name(), error.message), ..error };
            let errors = parsed.err().into_iter().flatten();
            diagnostics.extend(errors.map(|error| place.diagnostic(with_block(error))));
            Err(diagnostics)
        }
    }
}

fn columns(yaml: &Yaml) -> Result<Columns<'_>, Diagnostic> {
    match yaml.as_list() {
        Some([repeat, module, arguments]) => Ok(Columns { from: None, repeat, module, arguments, named: None }),
        Some([repeat, module, _, named]) if repeat.as_i64().is_some() && module.as_str().is_some() => {
            let name = module.as_str().unwrap_or_default();
            Err(Diagnostic::new("a row of four begins with `from`: [from, repeat, module, arguments]")
                .at(yaml.span)
                .also(named.span, "a fourth column")
                .help(format!("write [-1, 1, {name}, …], or all arguments in one list or one map")))
        }
        Some([from, repeat, module, arguments]) => {
            Ok(Columns { from: Some(from), repeat, module, arguments, named: None })
        }
        Some([from, repeat, module, arguments, named]) => {
            Ok(Columns { from: Some(from), repeat, module, arguments, named: Some(named) })
        }
        Some([repeat, module]) if module.as_str().is_some() => {
            let (repeat, name) = (repeat.describe(), module.as_str().unwrap_or_default());
            Err(Diagnostic::new("a row is [repeat, module, arguments], got a list of 2").at(yaml.span).help(format!(
                "write [{repeat}, {name}, []] for a block without arguments; only in a search space a block draws them"
            )))
        }
        _ => Err(Diagnostic::new(format!("a row is [repeat, module, arguments], got {}", yaml.describe()))
            .at(yaml.span)
            .help("rows of four or five are [from, repeat, module, arguments, {named}]".to_owned())),
    }
}

fn read_from(yaml: &Yaml) -> Result<Vec<i64>, Diagnostic> {
    let indices = match yaml.as_list() {
        Some(items) => items.iter().map(Yaml::as_i64).collect::<Option<Vec<i64>>>(),
        None => yaml.as_i64().map(|index| vec![index]),
    };
    indices.filter(|indices| !indices.is_empty()).ok_or_else(|| {
        Diagnostic::new(format!("`from` is the index of a row or a list of them, got {}", yaml.describe()))
            .at(yaml.span)
    })
}

fn read_repeat(yaml: &Yaml) -> Result<usize, Diagnostic> {
    let repeat = yaml.as_i64().and_then(|repeat| usize::try_from(repeat).ok());
    repeat.filter(|repeat| (1..=MAX_REPEAT).contains(repeat)).ok_or_else(|| {
        let message = format!("repeat: wanted a whole number from 1 to {MAX_REPEAT}, got {}", yaml.describe());
        Diagnostic::new(message).at(yaml.span)
    })
}

fn read_name<'a>(yaml: &Yaml, blocks: &'a Blocks) -> Result<&'a BlockEntry, Diagnostic> {
    let Some(name) = yaml.as_str() else {
        return Err(Diagnostic::new(format!("wanted the name of a module, got {}", yaml.describe())).at(yaml.span));
    };
    if name == PASS {
        return Err(Diagnostic::new("`Pass` is the absent row: a network has none of it")
            .at(yaml.span)
            .help("leave the row out; in a search space [1, {choice: [Pass, Conv]}] may be absent".to_owned()));
    }
    blocks.get(name).map_err(|error| Diagnostic::new(error.message).at(yaml.span).help(error.help))
}

fn read_arguments(columns: &Columns<'_>, place: &mut RowPlace) -> Result<(Vec<Value>, Map<String, Value>), Diagnostic> {
    let (mut positional, mut named) = (Vec::new(), Map::new());
    for yaml in [Some(columns.arguments), columns.named].into_iter().flatten() {
        match &yaml.node {
            Node::Scalar(Value::Null) => {}
            Node::List(items) if positional.is_empty() && named.is_empty() => {
                place.positional = items.iter().map(|item| item.span).collect();
                positional = items.iter().map(Yaml::to_json).collect();
            }
            Node::Map(entries) => {
                for entry in entries {
                    place.named.push((entry.key.clone(), entry.key_span.to(entry.value.span)));
                    named.insert(entry.key.clone(), entry.value.to_json());
                }
            }
            _ => {
                let message = format!("arguments are a list or a map, got {}", yaml.describe());
                return Err(Diagnostic::new(message).at(yaml.span));
            }
        }
    }
    Ok((positional, named))
}

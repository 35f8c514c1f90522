//! The rows of a space: fixed, with sets in them, drawn by their block, absent, in groups, cells.

use super::{
    block_choice::{BlockChoice, Place, WITHOUT_STAGE, Where},
    cells::{Cells, Dealing},
    narrowing::Modules,
    pattern::{Drawn, Pattern, PatternReader, Set, join},
    structure::{Node as Part, Scripted, Values, with_strides},
};
use crate::{
    network::strides,
    spec::{
        Diagnostic, PASS, Span, is_set, labels, option_label, read_row, scaled_repeat,
        yaml::{Entry, Node, Yaml},
    },
};
use nasgen_modules::{Blocks, Copies, Distribution, Result, Role, Shape, Site};
use serde_json::{Value, json};
use std::sync::Arc;

/// Keys of `cells:` that may be sets: each value makes other cells.
const FORMS: [&str; 4] = ["mode", "grows", "final_rc", "rc_first"];

/// What stands for rows in a backbone.
#[derive(Clone, Debug)]
pub(super) enum RowPattern {
    /// A row as a spec has it, with sets in it.
    Plain(Pattern),
    /// A row of three that may be absent.
    Optional { span: Span, repeat: Pattern, module: Set, arguments: Pattern },
    /// A row of two: the block draws its arguments.
    Drawn { span: Span, path: String, repeat: Pattern, block: BlockChoice },
    /// Several groups of rows, of which one is drawn.
    Groups { name: String, span: Span, distribution: Distribution, spans: Vec<Span>, options: Vec<Vec<RowPattern>> },
    /// Stages of cells.
    Cells(Cells),
}

/// Rows of one sample.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Yaml>,
    /// Which of them are no cells.
    pub(super) plain: Vec<usize>,
    pub(super) has_cells: bool,
}

/// Reads the rows of one space.
pub(super) struct RowsReader<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) modules: &'a Modules,
    cells: usize,
    /// A row that some samples lack.
    absent: Option<Span>,
}

impl<'a> RowsReader<'a> {
    pub(super) fn new(blocks: &'a Blocks, modules: &'a Modules) -> Self {
        Self { blocks, modules, cells: 0, absent: None }
    }

    /// Reads the list under `backbone:` or `head:`.
    pub(super) fn section(&mut self, entry: &Entry, reader: &mut PatternReader) -> Vec<RowPattern> {
        let Some(rows) = entry.value.as_list().filter(|rows| !rows.is_empty()) else {
            let message = format!("{}: wanted a list of rows, got {}", entry.key, entry.value.describe());
            reader.wrong(Diagnostic::new(message).at(entry.value.span));
            return Vec::new();
        };
        let section = if entry.key == "head" { "head" } else { "r" };
        let read = |(index, row): (usize, &Yaml)| self.row(row, &format!("{section}{index}"), reader);
        rows.iter().enumerate().filter_map(read).collect()
    }

    fn row(&mut self, yaml: &Yaml, path: &str, reader: &mut PatternReader) -> Option<RowPattern> {
        if let Some([Entry { key, value, .. }]) = yaml.as_map()
            && key == "cells"
        {
            self.cells += 1;
            let prefix = if self.cells == 1 { String::new() } else { format!("c{}.", self.cells) };
            return self.cells(value, &prefix, reader);
        }
        let is_block = |option: &Yaml| option.as_str().is_some_and(|name| self.blocks.get(name).is_ok());
        if let Some(options) = yaml.get("choice").and_then(Yaml::as_list)
            && let Some(block) = options.iter().find(|option| is_block(option))
        {
            let message = format!("a choice of rows, but {} is a module", block.describe());
            let help = "a row that chooses its module is [1, {choice: [Conv, DWConv]}]".to_owned();
            reader.wrong(Diagnostic::new(message).at(block.span).help(help));
            return None;
        }
        if let Some(options) = yaml.get("choice").and_then(Yaml::as_list)
            && yaml.as_map().is_some_and(is_set)
            && options.iter().any(is_group)
        {
            return self.groups(yaml, path, reader);
        }
        match yaml.as_list() {
            Some([repeat, block]) => self.drawn(yaml.span, repeat, block, path, reader),
            Some([_, module, _]) if may_pass(module) => {
                self.absent.get_or_insert(yaml.span);
                Some(self.optional(yaml, path, reader))
            }
            Some([from, ..]) => {
                self.check_from(from, yaml, reader);
                Some(RowPattern::Plain(self.plain(yaml, path, reader)))
            }
            _ => Some(RowPattern::Plain(self.plain(yaml, path, reader))),
        }
    }

    /// `from` counts rows, which says nothing where rows may be absent.
    fn check_from(&self, from: &Yaml, row: &Yaml, reader: &mut PatternReader) {
        let counts = row.as_list().is_some_and(|columns| columns.len() > 3) && from.as_i64() != Some(-1);
        if let Some(absent) = self.absent.filter(|_| counts) {
            let message = "`from` counts rows, but a row above may be absent; only -1 is clear";
            reader.wrong(Diagnostic::new(message).at(from.span).also(absent, "this one"));
        }
    }

    fn cells(&mut self, yaml: &Yaml, prefix: &str, reader: &mut PatternReader) -> Option<RowPattern> {
        let form = FORMS.iter().find_map(|form| {
            let choice = yaml.get(form)?.get("choice")?;
            Some((*form, choice))
        });
        let Some((form, choice)) = form else {
            return Cells::read(yaml, prefix, self.blocks, self.modules, reader).map(RowPattern::Cells);
        };
        let distribution = labels(choice, option_label);
        let distribution = reader.keep(distribution)?;
        let name = format!("{prefix}cells.{form}");
        let options = choice.as_list().unwrap_or_default();
        let read = |option: &Yaml| {
            let mut variant = yaml.clone();
            if let Node::Map(entries) = &mut variant.node {
                entries.iter_mut().filter(|entry| entry.key == form).for_each(|entry| entry.value = option.clone());
            }
            let word = option.as_str().map_or_else(|| format!("{form}_{}", option.describe()), str::to_owned);
            let prefix = format!("{prefix}{word}.");
            reader.within_option(|reader| self.cells(&variant, &prefix, reader)).map(|cells| vec![cells])
        };
        let read: Vec<_> = options.iter().filter_map(read).collect();
        (read.len() == options.len()).then(|| RowPattern::Groups {
            name,
            span: choice.span,
            distribution,
            spans: options.iter().map(|option| option.span).collect(),
            options: read,
        })
    }

    fn groups(&mut self, yaml: &Yaml, path: &str, reader: &mut PatternReader) -> Option<RowPattern> {
        let choice = yaml.get("choice")?;
        let distribution = reader.keep(labels(choice, option_label))?;
        let name = reader.name(yaml, path);
        let name = reader.keep(name)?;
        let claimed = reader.claim(&name, yaml.span);
        reader.keep(claimed)?;
        self.absent.get_or_insert(yaml.span);
        let options = choice.as_list().unwrap_or_default();
        let read = |(index, option): (usize, &Yaml)| {
            let path = join(path, &index.to_string());
            reader.within_option(|reader| self.group(option, &path, reader))
        };
        Some(RowPattern::Groups {
            name,
            span: yaml.span,
            distribution,
            spans: options.iter().map(|option| option.span).collect(),
            options: options.iter().enumerate().map(read).collect(),
        })
    }

    /// `Pass`, one row, or a list of rows.
    fn group(&mut self, yaml: &Yaml, path: &str, reader: &mut PatternReader) -> Vec<RowPattern> {
        if yaml.as_str() == Some(PASS) {
            return Vec::new();
        }
        match yaml.as_list() {
            Some(rows) if is_list_of_rows(yaml) => {
                let row = |(index, row): (usize, &Yaml)| self.row(row, &join(path, &index.to_string()), reader);
                rows.iter().enumerate().filter_map(row).collect()
            }
            _ => self.row(yaml, path, reader).into_iter().collect(),
        }
    }

    fn drawn(
        &mut self,
        span: Span,
        repeat: &Yaml,
        block: &Yaml,
        path: &str,
        reader: &mut PatternReader,
    ) -> Option<RowPattern> {
        let place = Place { noun: "row of two", role: Role::Row, stages: WITHOUT_STAGE, draws_single: false };
        let block = BlockChoice::read(block, &place, self.blocks, self.modules, reader);
        let repeat = reader.read(repeat, &format!("{path}.repeat"));
        let block = block?;
        if block.may_pass() {
            self.absent.get_or_insert(span);
        }
        Some(RowPattern::Drawn { span, path: path.to_owned(), repeat, block })
    }

    fn optional(&self, yaml: &Yaml, path: &str, reader: &mut PatternReader) -> RowPattern {
        let plain = self.plain(yaml, path, reader);
        match plain {
            Pattern::List(span, columns) => match <[Pattern; 3]>::try_from(columns) {
                Ok([repeat, Pattern::Set(module), arguments]) => {
                    RowPattern::Optional { span, repeat, module, arguments }
                }
                Ok(columns) => RowPattern::Plain(Pattern::List(span, columns.into())),
                Err(columns) => RowPattern::Plain(Pattern::List(span, columns)),
            },
            other => RowPattern::Plain(other),
        }
    }

    /// Draws in a row are named after the block's arguments where the block is fixed: `r1.Conv.out`.
    fn plain(&self, row: &Yaml, path: &str, reader: &mut PatternReader) -> Pattern {
        let Some([repeat, module, arguments]) = row.as_list() else { return reader.read(row, path) };
        let block = module.as_str().and_then(|name| self.blocks.get(name).ok());
        let (Some(block), Some(values)) = (block, arguments.as_list()) else { return reader.read(row, path) };
        let repeat = reader.read(repeat, &format!("{path}.repeat"));
        let module = reader.read(module, &format!("{path}.module"));
        let names = block.signature.arguments.iter().map(|argument| argument.name.clone());
        let names = names.chain((block.signature.arguments.len()..).map(|index| index.to_string()));
        let values = values
            .iter()
            .zip(names)
            .map(|(value, name)| reader.read(value, &format!("{path}.{}.{name}", block.name())));
        let arguments = Pattern::List(arguments.span, values.collect());
        Pattern::List(row.span, vec![repeat, module, arguments])
    }
}

/// Whether an option of a choice stands for other than exactly one row as a spec has it.
fn is_group(option: &Yaml) -> bool {
    let is_row_of_two = option.as_list().is_some_and(|items| items.len() == 2);
    is_list_of_rows(option) || is_row_of_two || option.as_str() == Some(PASS) || option.get("cells").is_some()
}

fn is_list_of_rows(yaml: &Yaml) -> bool {
    let is_row = |item: &Yaml| {
        let options = item.get("choice").and_then(Yaml::as_list).unwrap_or_default();
        item.as_list().is_some()
            || item.get("cells").is_some()
            || options.iter().any(|option| option.as_list().is_some())
    };
    yaml.as_list().is_some_and(|items| items.iter().all(is_row))
}

/// Whether the module of a row of three may be `Pass`.
fn may_pass(module: &Yaml) -> bool {
    let options = module.get("choice").and_then(Yaml::as_list);
    options.is_some_and(|options| options.iter().any(|option| option.as_str() == Some(PASS)))
}

impl RowPattern {
    /// Where the space says it.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Plain(pattern) => pattern.span(),
            Self::Optional { span, .. } | Self::Drawn { span, .. } | Self::Groups { span, .. } => *span,
            Self::Cells(cells) => cells.span,
        }
    }

    /// Draws the rows and appends them.
    pub(super) fn resolve(&self, dealing: &mut Dealing<'_>, rows: &mut Rows) -> Result<()> {
        match self {
            Self::Plain(pattern) => rows.push(pattern.resolve(dealing.draw, dealing.drawn)?),
            Self::Optional { span, repeat, module, arguments } => {
                let module = Pattern::Set(module.clone()).resolve(dealing.draw, dealing.drawn)?;
                if module.as_str() != Some(PASS) {
                    let repeat = repeat.resolve(dealing.draw, dealing.drawn)?;
                    let arguments = arguments.resolve(dealing.draw, dealing.drawn)?;
                    rows.push(Yaml { span: *span, node: Node::List(vec![repeat, module, arguments]) });
                }
            }
            Self::Drawn { span, path, repeat, block } => {
                let at = Where { scope: path, role: Role::Row, stage: 0 };
                if let Some((name, arguments)) = block.draw(dealing.draw, dealing.drawn, dealing.blocks, &at)? {
                    let repeat = repeat.resolve(dealing.draw, dealing.drawn)?;
                    let place = |value: &Value| Yaml::from_json(value, *span);
                    let columns = vec![repeat, place(&json!(name)), place(&Value::Array(arguments))];
                    rows.push(Yaml { span: *span, node: Node::List(columns) });
                }
            }
            Self::Groups { name, span, distribution, options, .. } => {
                let value = dealing.draw.draw(name, distribution)?;
                dealing.drawn.insert(name.clone(), Yaml::from_json(&value, *span));
                let chosen = distribution.index_of(&value).unwrap_or(0) as usize;
                for row in &options[chosen] {
                    row.resolve(dealing, rows)?;
                }
            }
            Self::Cells(cells) => {
                rows.has_cells = true;
                rows.rows.extend(cells.resolve(dealing)?);
            }
        }
        Ok(())
    }

    /// What is drawn, and, if `depth` (the factor on repeats) is given, where it halves the image.
    pub(super) fn structure(&self, blocks: &Blocks, baselines: &[Drawn; 2], depth: Option<f64>) -> Arc<Part> {
        let part = match self {
            Self::Plain(pattern) => pattern.structure(),
            Self::Optional { repeat, module, arguments, .. } => {
                let present = Part::sequence(vec![repeat.structure(), arguments.structure()]);
                let branch = |label: &Value| {
                    if label == PASS { Arc::new(Part::Nothing) } else { present.clone() }
                };
                let branches = module.distribution.values(u64::MAX).unwrap_or_default().iter().map(branch).collect();
                let Set { name, distribution, span, spans, .. } = module;
                Part::branching(name, distribution, *span, spans.clone(), Some(branches))
            }
            Self::Drawn { path, repeat, block, .. } => {
                let at = Where { scope: path, role: Role::Row, stage: 0 };
                let arguments = block.structure(blocks, &baselines[0], &at);
                present_with(&arguments, &repeat.structure())
            }
            Self::Groups { name, span, distribution, spans, options } => {
                let option = |rows: &Vec<Self>| {
                    Part::sequence(rows.iter().map(|row| row.structure(blocks, baselines, depth)).collect())
                };
                let branches = options.iter().map(option).collect();
                return Part::branching(name, distribution, *span, spans.clone(), Some(branches));
            }
            Self::Cells(cells) => return cells.structure(blocks, &baselines[0]),
        };
        match depth {
            None => part,
            Some(depth) => with_strides(&part, &|values, last| {
                self.strides(values, last, blocks, &baselines[usize::from(last)], depth)
            }),
        }
    }

    /// Whether it uses a draw of another place.
    pub(super) fn refers(&self) -> bool {
        match self {
            Self::Plain(pattern) => pattern.refers(),
            Self::Optional { repeat, arguments, .. } => repeat.refers() || arguments.refers(),
            Self::Drawn { repeat, block, .. } => repeat.refers() || block.refers(),
            Self::Groups { options, .. } => options.iter().flatten().any(Self::refers),
            // What cells refer to never strides.
            Self::Cells(_) => false,
        }
    }

    /// Copies that halve the image, for some draws and the first or last values of all others. Where
    /// the rows cannot stand on the image that is tried here, the network itself has to show it.
    fn strides(&self, values: &Values, last: bool, blocks: &Blocks, baseline: &Drawn, depth: f64) -> usize {
        let mut draw = Scripted::new(values, last);
        let mut drawn = baseline.clone();
        let mut rows = Rows::default();
        let mut dealing = Dealing { draw: &mut draw, drawn: &mut drawn, blocks };
        if self.resolve(&mut dealing, &mut rows).is_err() {
            return 0;
        }
        rows.rows.iter().map(|row| strided_copies(row, blocks, depth)).sum()
    }
}

/// `part`, and on every way through it that draws a block, `repeat`.
fn present_with(part: &Arc<Part>, repeat: &Arc<Part>) -> Arc<Part> {
    match &**part {
        Part::Draw(draw) if !draw.spans.is_empty() => {
            let present = |(index, branch): (usize, &Arc<Part>)| {
                if draw.distribution.value(index as u64) == PASS {
                    branch.clone()
                } else {
                    Part::sequence(vec![branch.clone(), repeat.clone()])
                }
            };
            let branches = draw.branches.iter().flatten().enumerate().map(present).collect();
            Part::branching(&draw.name, &draw.distribution, draw.span, draw.spans.clone(), Some(branches))
        }
        _ => Part::sequence(vec![part.clone(), repeat.clone()]),
    }
}

fn strided_copies(row: &Yaml, blocks: &Blocks, depth: f64) -> usize {
    let Ok(row) = read_row(row, false, blocks) else { return 0 };
    let count = scaled_repeat(row.repeat, depth).min(64);
    let mut site = Site { copy: Copies { index: 0, count }, ..Site::row(Shape::image(48, 512, 512)) };
    let mut strided = 0;
    for index in 0..count {
        site.copy.index = index;
        let Ok(layers) = row.module.layers(&site) else { break };
        strided += usize::from(layers.nodes().iter().any(|node| strides(&node.primitive)));
        site.inputs = vec![layers.output()];
    }
    strided
}

impl Rows {
    fn push(&mut self, row: Yaml) {
        self.plain.push(self.rows.len());
        self.rows.push(row);
    }
}

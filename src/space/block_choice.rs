//! A place of a space where a block draws its own arguments: a cell, or a row of two.

use super::{
    narrowing::Modules,
    pattern::{Drawn, PatternReader},
    structure::{Node as Part, explore},
};
use crate::spec::{
    Diagnostic, PASS, Span, is_set, labels, mistyped_set,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{
    BlockEntry, Blocks, Copies, Distribution, Draw, Narrowing, NetworkRules, Result, Role, Shape, Site, Trial,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Blocks of which one is drawn, with its arguments.
#[derive(Clone, Debug)]
pub(super) struct BlockChoice {
    span: Span,
    /// What the draw is called where the space names it; else as the place.
    name: Option<String>,
    /// What is drawn from; `None` where there is but one block and no draw.
    distribution: Option<Distribution>,
    options: Vec<BlockOption>,
}

#[derive(Clone, Debug)]
struct BlockOption {
    span: Span,
    /// `None` is the absent row.
    block: Option<String>,
    /// What replaces the block's own distributions, by stage; without stages under 0.
    narrowing: BTreeMap<usize, Narrowing>,
    /// Arguments that take what a name gave.
    references: BTreeMap<String, String>,
}

/// A block with its arguments.
pub(super) type Cell = (String, Vec<Value>);

/// What a [`BlockChoice`] is read for.
pub(super) struct Place<'a> {
    /// What messages call it: `cells.nc`.
    pub(super) noun: &'a str,
    pub(super) role: Role,
    /// Stages for which it draws; empty where it draws without one.
    pub(super) stages: std::ops::RangeInclusive<usize>,
    /// Whether a single block is a choice of one, which is drawn.
    pub(super) draws_single: bool,
}

/// No stages.
pub(super) const WITHOUT_STAGE: std::ops::RangeInclusive<usize> = 0..=0;

impl BlockChoice {
    /// Reads the name of a block, `{Block: {argument: set}}`, or a choice of these; what is wrong goes
    /// to the reader.
    pub(super) fn read(
        yaml: &Yaml,
        place: &Place<'_>,
        blocks: &Blocks,
        modules: &Modules,
        reader: &mut PatternReader,
    ) -> Option<Self> {
        let before = reader.diagnostics.len();
        let read = Self::read_parts(yaml, place, blocks, modules, reader);
        let choice = reader.keep(read)?;
        (reader.diagnostics.len() == before).then_some(choice)
    }

    fn read_parts(
        yaml: &Yaml,
        place: &Place<'_>,
        blocks: &Blocks,
        modules: &Modules,
        reader: &mut PatternReader,
    ) -> Result<Self, Diagnostic> {
        let is_choice = yaml.as_map().is_some_and(is_set);
        if let Some(entries) =
            yaml.as_map().filter(|entries| entries.iter().all(|entry| blocks.get(&entry.key).is_err()))
            && let Some(mistyped) = mistyped_set(entries, false)
        {
            return Err(mistyped);
        }
        let bare = (yaml.as_list().is_some() && place.draws_single).then_some(yaml);
        let list = if is_choice { yaml.get("choice") } else { bare };
        if is_choice && list.is_none() {
            let message = format!("{}: wanted the name of a module or a choice of them", place.noun);
            return Err(Diagnostic::new(message).at(yaml.span));
        }
        let name = match yaml.get("name").filter(|_| is_choice) {
            Some(_) => Some(reader.name(yaml, "")?),
            None => None,
        };
        if let Some(name) = &name {
            if place.stages != WITHOUT_STAGE {
                let message = format!("{}: drawn for each stage, so it cannot have one name", place.noun);
                return Err(Diagnostic::new(message).at(yaml.span));
            }
            reader.claim(name, yaml.span)?;
        }
        let options = match list {
            Some(list) => list.as_list().unwrap_or_default(),
            None => std::slice::from_ref(yaml),
        };
        if options.is_empty() {
            return Err(Diagnostic::new(format!("{}: wanted at least one module", place.noun)).at(yaml.span));
        }
        let distribution = match list {
            Some(list) => Some(labels(list, option_label)?),
            None if place.draws_single => Some(Distribution::Choice(vec![option_label(yaml)])),
            None => None,
        };
        let mut read = Vec::new();
        for option in options {
            let option = BlockOption::read(option, place, blocks, modules, reader);
            read.extend(reader.keep(option));
        }
        Ok(Self { span: yaml.span, name, distribution, options: read })
    }

    /// Whether one of the options is the absent row.
    pub(super) fn may_pass(&self) -> bool {
        self.options.iter().any(|option| option.block.is_none())
    }

    /// A draw under which a row at `path` is there; `None` where it always is.
    pub(super) fn present<'a>(&'a self, path: &'a str) -> Option<(&'a str, Value)> {
        let distribution = self.distribution.as_ref()?;
        let index = self.options.iter().position(|option| option.block.is_some())?;
        Some((self.name.as_deref().unwrap_or(path), distribution.value(index as u64)))
    }

    /// Whether an argument takes what a name gave.
    pub(super) fn refers(&self) -> bool {
        self.options.iter().any(|option| !option.references.is_empty())
    }

    /// Draws a block and its arguments; `None` is the absent row.
    pub(super) fn draw(
        &self,
        draw: &mut dyn Draw,
        drawn: &mut Drawn,
        blocks: &Blocks,
        at: &Where<'_>,
    ) -> Result<Option<Cell>> {
        let option = match &self.distribution {
            None => &self.options[0],
            Some(distribution) => {
                let name = self.name.as_deref().unwrap_or(at.scope);
                let value = draw.draw(name, distribution)?;
                drawn.insert(name.to_owned(), Yaml::from_json(&value, self.span));
                &self.options[distribution.index_of(&value).unwrap_or(0) as usize]
            }
        };
        option.draw(draw, drawn, blocks, &self.named(at))
    }

    /// A choice with a name gives it to what its blocks draw.
    fn named<'a>(&'a self, at: &Where<'a>) -> Where<'a> {
        Where { scope: self.name.as_deref().unwrap_or(at.scope), ..*at }
    }

    /// What is drawn here.
    pub(super) fn structure(&self, blocks: &Blocks, baseline: &Drawn, at: &Where<'_>) -> Arc<Part> {
        let at = &self.named(at);
        let options: Vec<Arc<Part>> =
            self.options.iter().map(|option| option.structure(blocks, baseline, at)).collect();
        match &self.distribution {
            None => options[0].clone(),
            Some(distribution) => {
                let name = self.name.as_deref().unwrap_or(at.scope);
                let spans = self.options.iter().map(|option| option.span).collect();
                Part::branching(name, distribution, self.span, spans, Some(options))
            }
        }
    }
}

/// Where a block draws: the first part of its draws' names, its part, and its stage (0: none).
pub(super) struct Where<'a> {
    pub(super) scope: &'a str,
    pub(super) role: Role,
    pub(super) stage: usize,
}

fn option_label(option: &Yaml) -> Value {
    match option.as_map() {
        Some([Entry { key, .. }]) => Value::String(key.clone()),
        _ => crate::spec::option_label(option),
    }
}

impl BlockOption {
    fn read(
        yaml: &Yaml,
        place: &Place<'_>,
        blocks: &Blocks,
        modules: &Modules,
        reader: &mut PatternReader,
    ) -> Result<Self, Diagnostic> {
        let Place { noun, role, .. } = place;
        let (name, name_span, arguments) = match (&yaml.node, yaml.as_map()) {
            (Node::Scalar(Value::String(name)), _) => (name, yaml.span, None),
            (_, Some([Entry { key, key_span, value }])) => (key, *key_span, Some(value)),
            _ => {
                let message = format!("{noun}: wanted the name of a module, got {}", yaml.describe());
                return Err(Diagnostic::new(message).at(yaml.span));
            }
        };
        if name == PASS && arguments.is_none() {
            if *role != Role::Row {
                return Err(Diagnostic::new(format!("{noun}: {PASS} is an absent row, not a cell")).at(yaml.span));
            }
            return Ok(Self { span: yaml.span, block: None, narrowing: BTreeMap::new(), references: BTreeMap::new() });
        }
        let at = |error: nasgen_modules::Error| {
            Diagnostic::new(format!("{noun}: {}", error.message)).at(name_span).help(error.help)
        };
        let block = blocks.get(name).map_err(at)?;
        reader.drawn_blocks.insert(name.clone());
        let mut references = BTreeMap::new();
        let mut own: Vec<&Entry> = Vec::new();
        for entry in super::narrowing::entries(arguments, noun, reader) {
            match reader.reference(&entry.value).transpose() {
                None => own.push(entry),
                Some(reference) => {
                    references.extend(reader.keep(reference).map(|name| (entry.key.clone(), name)));
                }
            }
        }
        let mut narrowing = BTreeMap::new();
        for stage in place.stages.clone() {
            let of_stage = modules.narrow(block, &own, noun, stage, reader);
            narrowing.insert(stage, Narrowing::from([(name.clone(), of_stage)]));
        }
        let option = Self { span: yaml.span, block: Some(name.clone()), narrowing, references };
        option.try_out(block, reader, place).map_err(at)?;
        Ok(option)
    }

    /// Whether the block can play its part at all.
    fn try_out(&self, block: &BlockEntry, reader: &PatternReader, place: &Place<'_>) -> Result<()> {
        let at = Where { scope: "", role: place.role, stage: *place.stages.start() };
        let mut last = Ok(());
        for number in 0..8 {
            let mut draw = super::structure::stream(0, "try out", number);
            last = self.suggest(block, &mut draw, &self.given(&reader.baselines[0]), &at).map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn given(&self, drawn: &Drawn) -> BTreeMap<String, Value> {
        let value = |name: &String| drawn.get(name).map_or(Value::Null, Yaml::to_json);
        self.references.iter().map(|(argument, name)| (argument.clone(), value(name))).collect()
    }

    fn suggest(
        &self,
        block: &BlockEntry,
        draw: &mut dyn Draw,
        given: &BTreeMap<String, Value>,
        at: &Where<'_>,
    ) -> Result<Cell> {
        let none = Narrowing::new();
        let narrowing = self.narrowing.get(&at.stage).unwrap_or(&none);
        let mut trial = Trial::new(draw, at.scope, block.name(), narrowing).given(given);
        let module = block.suggest(&mut trial, &site_of(at.role))?;
        Ok((block.name().to_owned(), block.list(&*module)))
    }

    fn draw(&self, draw: &mut dyn Draw, drawn: &Drawn, blocks: &Blocks, at: &Where<'_>) -> Result<Option<Cell>> {
        let Some(name) = &self.block else { return Ok(None) };
        self.suggest(blocks.get(name)?, draw, &self.given(drawn), at).map(Some)
    }

    fn structure(&self, blocks: &Blocks, baseline: &Drawn, at: &Where<'_>) -> Arc<Part> {
        let Some(Ok(block)) = self.block.as_deref().map(|name| blocks.get(name)) else {
            return Arc::new(Part::Nothing);
        };
        let given = self.given(baseline);
        explore(&|draw| self.suggest(block, draw, &given, at).map(drop), self.span)
    }
}

/// A site of that role; draws see nothing of it but the role.
pub(super) fn site_of(role: Role) -> Site {
    Site { inputs: vec![Shape::image(16, 32, 32)], copy: Copies::ONE, role, network: NetworkRules::default() }
}

/// Every name that a block asks for in any part, by what it draws it from.
pub(super) fn asked_names(block: &BlockEntry) -> Vec<String> {
    let narrowing = Narrowing::new();
    let mut names = Vec::new();
    for role in [Role::Row, Role::NormalCell, Role::ReductionCell] {
        let ask = |draw: &mut dyn Draw| {
            block.suggest(&mut Trial::new(draw, "", block.name(), &narrowing), &site_of(role)).map(drop)
        };
        let prefix = format!(".{}.", block.name());
        explore(&ask, Span::default()).each_draw(&mut |draw| {
            let name = draw.name.strip_prefix(&prefix).unwrap_or(&draw.name).to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        });
    }
    names.sort();
    names
}

//! Stages of N normal cells and a reduction cell (NASNet, Zoph et al. 2018, figure 2).

mod reader;

use super::{
    block_choice::{BlockChoice, Cell, Where},
    pattern::{Drawn, Pattern},
    structure::Node as Part,
};
use crate::spec::{Span, yaml::Yaml};
use nasgen_modules::{Blocks, Distribution, Draw, Error, Result, Role};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

const MAX_STAGES: usize = 12;
const MAX_CELLS: i64 = 100;

/// A `cells:` entry of a space's backbone.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) span: Span,
    /// Before the names of draws; empty for the first `cells:` of a space.
    prefix: String,
    stages: Pattern,
    mode: Mode,
    order: Order,
    /// What N is drawn from in each stage.
    numbers: Numbers,
    normal: BlockChoice,
    reduction: BlockChoice,
}

/// What is drawn once, and what for each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// N, NC, RC and their arguments once.
    Fixed,
    /// NC and RC once, N for each stage.
    Growing(Growth),
    /// Everything for each stage.
    Free,
}

/// How N grows with the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// Stage i = 1, 2, … draws from i times the range.
    Scale,
    /// No stage has fewer than the one before.
    Nondecreasing,
}

/// Where the reduction cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// NC, RC, NC, RC, NC.
    Between,
    /// NC, RC, NC, RC, NC, RC.
    AfterEach,
    /// RC, NC, RC, NC, RC, NC.
    BeforeEach,
}

/// The copies of a normal cell.
#[derive(Clone, Debug)]
enum Numbers {
    /// What they are drawn from in stages 1, 2, …, and the name of a shared draw.
    Drawn { by_stage: Vec<Distribution>, name: Option<String>, span: Span },
    /// What this name gave.
    Reference(String),
}

/// What one resolving or describing of cells needs.
pub(super) struct Dealing<'a> {
    pub(super) draw: &'a mut dyn Draw,
    pub(super) drawn: &'a mut Drawn,
    pub(super) blocks: &'a Blocks,
}

impl Cells {
    fn scope(&self, stage: usize) -> String {
        match stage {
            0 => format!("{}cells", self.prefix),
            stage => format!("{}s{stage}", self.prefix),
        }
    }

    /// Draws the cells and writes them as rows.
    pub(super) fn resolve(&self, dealing: &mut Dealing<'_>) -> Result<Vec<Yaml>> {
        let stages = self.stages.resolve(dealing.draw, dealing.drawn)?.as_i64().unwrap_or(1);
        let stages = (stages as usize).clamp(1, MAX_STAGES);
        let shared = match self.mode {
            Mode::Free => None,
            Mode::Fixed | Mode::Growing(_) => Some(self.pair(dealing, 0, true)?),
        };
        let shared_n = match self.mode {
            Mode::Fixed => Some(self.number(dealing, 0, None)?),
            Mode::Growing(_) | Mode::Free => None,
        };
        let mut rows = Vec::new();
        let mut last_n = None;
        for stage in 1..=stages {
            let reduces = self.reduces(stage, stages);
            let n = match shared_n {
                Some(n) => n,
                None => self.number(dealing, stage, last_n)?,
            };
            last_n = (self.mode == Mode::Growing(Growth::Nondecreasing)).then_some(n);
            let (normal, reduction) = match &shared {
                Some(pair) => pair.clone(),
                None => self.pair(dealing, stage, reduces)?,
            };
            let normal_row = row(n, &normal);
            let reduction_row = row(1, &reduction);
            match (self.order, reduces) {
                (Order::BeforeEach, _) => rows.extend([reduction_row, normal_row]),
                (_, true) => rows.extend([normal_row, reduction_row]),
                (_, false) => rows.push(normal_row),
            }
        }
        Ok(rows.iter().map(|row| Yaml::from_json(row, self.span)).collect())
    }

    fn reduces(&self, stage: usize, stages: usize) -> bool {
        self.order != Order::Between || stage < stages
    }

    /// The name of N's draw in `stage` (0: shared) and what it is drawn from.
    fn number_draw(&self, stage: usize) -> Option<(String, &Distribution, Span)> {
        match &self.numbers {
            Numbers::Reference(_) => None,
            Numbers::Drawn { by_stage, name, span } => {
                let name = name.clone().unwrap_or_else(|| format!("{}.n", self.scope(stage)));
                Some((name, &by_stage[stage.max(1) - 1], *span))
            }
        }
    }

    fn number(&self, dealing: &mut Dealing<'_>, stage: usize, least: Option<i64>) -> Result<i64> {
        let Some((name, distribution, span)) = self.number_draw(stage) else {
            let Numbers::Reference(name) = &self.numbers else { return Ok(1) };
            return Ok(dealing.drawn.get(name).and_then(Yaml::as_i64).unwrap_or(1).clamp(1, MAX_CELLS));
        };
        let factors = least.map(|least| factors_from(distribution, least));
        if factors.as_ref().is_some_and(|factors| factors.iter().all(|factor| *factor == 0.0)) {
            return Err(Error::row(format!("cells.n: stage {stage} cannot have as many cells as the one before")));
        }
        let value = dealing.draw.draw_among(&name, distribution, factors.as_deref())?;
        dealing.drawn.insert(name, Yaml::from_json(&value, span));
        Ok(value.as_i64().unwrap_or(1))
    }

    /// A normal cell and, if one is needed, a reduction cell.
    fn pair(&self, dealing: &mut Dealing<'_>, stage: usize, reduces: bool) -> Result<(Cell, Cell)> {
        let mut cell = |choice: &BlockChoice, key: &str, role: Role| {
            let scope = format!("{}.{key}", self.scope(stage));
            let at = Where { scope: &scope, role, stage };
            Ok(choice.draw(dealing.draw, dealing.drawn, dealing.blocks, &at)?.unwrap_or_default())
        };
        let normal = cell(&self.normal, "nc", Role::NormalCell)?;
        let reduction = if reduces { cell(&self.reduction, "rc", Role::ReductionCell)? } else { Cell::default() };
        Ok((normal, reduction))
    }

    /// What is drawn, and where it halves the image.
    pub(super) fn structure(&self, blocks: &Blocks, baseline: &Drawn) -> Arc<Part> {
        let body = |stages: usize| self.structure_of(stages, blocks, baseline);
        match &self.stages {
            Pattern::Set(set) => {
                let stages = |value: Value| body(value.as_u64().unwrap_or(1) as usize);
                let values = set.distribution.values(MAX_STAGES as u64).unwrap_or_default();
                let branches = values.into_iter().map(stages).collect();
                Part::branching(&set.name, &set.distribution, set.span, set.spans.clone(), Some(branches))
            }
            Pattern::Reference(name, _) => body(baseline.get(name).and_then(Yaml::as_i64).unwrap_or(1) as usize),
            Pattern::Fixed(yaml) => body(yaml.as_i64().unwrap_or(1) as usize),
            Pattern::List(..) | Pattern::Map(..) => Arc::new(Part::Impossible),
        }
    }

    fn structure_of(&self, stages: usize, blocks: &Blocks, baseline: &Drawn) -> Arc<Part> {
        let pair = |stage: usize, reduces: bool| {
            let part = |choice: &BlockChoice, key: &str, role: Role| {
                let scope = format!("{}.{key}", self.scope(stage));
                choice.structure(blocks, baseline, &Where { scope: &scope, role, stage })
            };
            let mut parts = vec![part(&self.normal, "nc", Role::NormalCell)];
            if reduces {
                parts.push(part(&self.reduction, "rc", Role::ReductionCell));
            }
            Part::sequence(parts)
        };
        let number = |stage: usize| {
            let draw = self.number_draw(stage);
            draw.map_or(Arc::new(Part::Nothing), |(name, distribution, span)| Part::leaf(&name, distribution, span))
        };
        let strides = (1..=stages).filter(|stage| self.reduces(*stage, stages)).count();
        let mut parts = match self.mode {
            Mode::Fixed => vec![pair(0, true), number(0)],
            Mode::Growing(Growth::Scale) => std::iter::once(pair(0, true)).chain((1..=stages).map(number)).collect(),
            Mode::Growing(Growth::Nondecreasing) => {
                vec![pair(0, true), self.rising_numbers(1, stages, i64::MIN, &mut HashMap::new())]
            }
            Mode::Free => {
                (1..=stages).flat_map(|stage| [number(stage), pair(stage, self.reduces(stage, stages))]).collect()
            }
        };
        if strides > 0 {
            parts.push(Arc::new(Part::Strides(strides)));
        }
        Part::sequence(parts)
    }

    /// The draws of N from `stage` on, where none is below `least`; stages that begin alike are one.
    fn rising_numbers(
        &self,
        stage: usize,
        stages: usize,
        least: i64,
        known: &mut HashMap<(usize, i64), Arc<Part>>,
    ) -> Arc<Part> {
        if stage > stages {
            return Arc::new(Part::Nothing);
        }
        if let Some(part) = known.get(&(stage, least)) {
            return part.clone();
        }
        let Some((name, distribution, span)) = self.number_draw(stage) else { return Arc::new(Part::Nothing) };
        let branch = |value: Value| match value.as_i64() {
            Some(n) if n >= least => self.rising_numbers(stage + 1, stages, n, known),
            _ => Arc::new(Part::Impossible),
        };
        let values = distribution.values(MAX_CELLS as u64).unwrap_or_default();
        let branches = values.into_iter().map(branch).collect();
        let factors = factors_from(distribution, least);
        let part = match factors.iter().any(|factor| *factor > 0.0) {
            true => Part::restricted(&name, distribution, span, &factors, branches),
            // The stage before drew more cells than this one can have.
            false => Arc::new(Part::Impossible),
        };
        known.insert((stage, least), part.clone());
        part
    }
}

/// 1 for the values from `least` on.
fn factors_from(distribution: &Distribution, least: i64) -> Vec<f64> {
    let values = distribution.values(MAX_CELLS as u64).unwrap_or_default();
    values.iter().map(|value| if value.as_i64() >= Some(least) { 1.0 } else { 0.0 }).collect()
}

fn row(repeat: i64, (block, arguments): &Cell) -> Value {
    json!([repeat, block, arguments])
}

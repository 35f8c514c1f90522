//! Stages of N normal cells and a reduction cell (NASNet, Zoph et al. 2018, figure 2).

use super::pattern::{Drawn, Pattern, PatternReader, is_set};
use crate::spec::{
    Diagnostic, Span,
    yaml::{Entry, Node, Yaml},
};
use nasgen_modules::{
    Blocks, Copies, Distribution, Draw, Module, Narrowing, NetworkRules, Result, Role, Shape, Site, Trial, nearest,
};
use serde_json::{Value, json};
use std::sync::Arc;

const KEYS: [&str; 8] = ["stages", "mode", "final_rc", "rc_first", "n", "nc", "rc", "grows"];
const MAX_STAGES: i64 = 12;
const MAX_CELLS: i64 = 100;

/// A `cells:` entry of a space's backbone.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    span: Span,
    /// Before the names of draws; empty for the first `cells:` of a space.
    prefix: String,
    stages: Pattern,
    mode: Mode,
    order: Order,
    n: [i64; 2],
    step: i64,
    normal: Vec<String>,
    reduction: Vec<String>,
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

/// A cell with its block and arguments.
type Cell = (String, Vec<Value>);

impl Cells {
    /// Reads the map under `cells:`; what is wrong goes to the reader.
    pub(super) fn read(yaml: &Yaml, prefix: &str, blocks: &Blocks, reader: &mut PatternReader) -> Option<Self> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("cells: wanted a map with n, nc and rc, got {}", yaml.describe());
            reader.diagnostics.push(Diagnostic::new(message).at(yaml.span));
            return None;
        };
        for Entry { key, key_span, .. } in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
            let help = nearest(key, KEYS).map(|near| format!("did you mean `{near}`?"));
            reader.diagnostics.push(Diagnostic::new(format!("cells: unknown key `{key}`")).at(*key_span).help(help));
        }
        let parts = CellsReader { yaml, blocks, prefix };
        let before = reader.diagnostics.len();
        let mut keep = |result: Result<(), Diagnostic>| reader.diagnostics.extend(result.err());
        let (mode, order, numbers) = (parts.mode(), parts.order(), parts.numbers());
        let (normal, reduction) = (parts.names("nc", Role::NormalCell), parts.names("rc", Role::ReductionCell));
        keep(mode.as_ref().map(drop).map_err(Clone::clone));
        keep(order.as_ref().map(drop).map_err(Clone::clone));
        keep(numbers.as_ref().map(drop).map_err(Clone::clone));
        keep(normal.as_ref().map(drop).map_err(Clone::clone));
        keep(reduction.as_ref().map(drop).map_err(Clone::clone));
        let stages = parts.stages(reader);
        if reader.diagnostics.len() > before {
            return None;
        }
        let ([low, high], step) = numbers.ok()?;
        Some(Self {
            span: yaml.span,
            prefix: prefix.to_owned(),
            stages,
            mode: mode.ok()?,
            order: order.ok()?,
            n: [low, high],
            step,
            normal: normal.ok()?,
            reduction: reduction.ok()?,
        })
    }

    /// Draws the cells and writes them as rows.
    pub(super) fn resolve(
        &self,
        draw: &mut dyn Draw,
        drawn: &mut Drawn,
        blocks: &Blocks,
        narrowing: &Narrowing,
    ) -> Result<Vec<Yaml>> {
        let stages = self.stages.resolve(draw, drawn)?.as_i64().unwrap_or(1).clamp(1, MAX_STAGES);
        let mut dealer = Dealer { cells: self, draw, blocks, narrowing };
        let shared = match self.mode {
            Mode::Free => None,
            Mode::Fixed | Mode::Growing(_) => Some(dealer.pair(&format!("{}cells", self.prefix), true)?),
        };
        let mut rows = Vec::new();
        let mut last_n = self.n[0];
        let shared_n = match self.mode {
            Mode::Fixed => Some(dealer.n(&format!("{}cells", self.prefix), self.n)?),
            Mode::Growing(_) | Mode::Free => None,
        };
        for stage in 1..=stages {
            let scope = format!("{}s{stage}", self.prefix);
            let reduces = self.order != Order::Between || stage < stages;
            let n = match (shared_n, self.mode) {
                (Some(n), _) => n,
                (None, Mode::Growing(Growth::Scale)) => dealer.n(&scope, self.n.map(|bound| bound * stage))?,
                (None, Mode::Growing(Growth::Nondecreasing)) => dealer.n(&scope, [last_n, self.n[1]])?,
                (None, _) => dealer.n(&scope, self.n)?,
            };
            last_n = n;
            let (normal, reduction) = match &shared {
                Some(pair) => pair.clone(),
                None => dealer.pair(&scope, reduces)?,
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
}

fn row(repeat: i64, (block, arguments): &Cell) -> Value {
    json!([repeat, block, arguments])
}

/// Draws for one sample.
struct Dealer<'a> {
    cells: &'a Cells,
    draw: &'a mut dyn Draw,
    blocks: &'a Blocks,
    narrowing: &'a Narrowing,
}

impl Dealer<'_> {
    fn n(&mut self, scope: &str, [low, high]: [i64; 2]) -> Result<i64> {
        let step = self.cells.step;
        let high = low + (high - low) / step * step;
        let distribution = Distribution::Int { low, high, step, log: false };
        Ok(self.draw.draw(&format!("{scope}.n"), &distribution)?.as_i64().unwrap_or(low))
    }

    /// A normal cell and, if one is needed, a reduction cell.
    fn pair(&mut self, scope: &str, reduces: bool) -> Result<(Cell, Cell)> {
        let normal = self.cell(&format!("{scope}.nc"), &self.cells.normal, Role::NormalCell)?;
        let reduction = match reduces {
            true => self.cell(&format!("{scope}.rc"), &self.cells.reduction, Role::ReductionCell)?,
            false => (String::new(), Vec::new()),
        };
        Ok((normal, reduction))
    }

    fn cell(&mut self, scope: &str, names: &[String], role: Role) -> Result<Cell> {
        let choices = names.iter().map(|name| Value::String(name.clone())).collect();
        let name = self.draw.draw(scope, &Distribution::Choice(choices))?;
        let block = self.blocks.get(name.as_str().unwrap_or_default())?;
        let mut trial = Trial::new(self.draw, scope, block.name(), self.narrowing);
        let module = block.suggest(&mut trial, &site_of(role))?;
        Ok((block.name().to_owned(), block.list(&*module)))
    }
}

/// A site of that role; draws see nothing of it but the role.
pub(super) fn site_of(role: Role) -> Site {
    Site { inputs: vec![Shape::image(16, 32, 32)], copy: Copies::ONE, role, network: NetworkRules::default() }
}

struct CellsReader<'a> {
    yaml: &'a Yaml,
    blocks: &'a Blocks,
    prefix: &'a str,
}

impl CellsReader<'_> {
    fn stages(&self, reader: &mut PatternReader) -> Pattern {
        let Some(yaml) = self.yaml.get("stages") else {
            return Pattern::Fixed(Yaml::from_json(&json!(3), self.yaml.span));
        };
        let pattern = reader.read(yaml, &format!("{}stages", self.prefix));
        let in_range = |value: &Value| value.as_i64().is_some_and(|stages| (1..=MAX_STAGES).contains(&stages));
        let fits = match &pattern {
            Pattern::Fixed(yaml) => in_range(&yaml.to_json()),
            Pattern::Set(set) => match &set.distribution {
                Distribution::Choice(values) => values.iter().all(in_range),
                Distribution::Int { low, high, .. } => *low >= 1 && *high <= MAX_STAGES,
                Distribution::Float { .. } => false,
            },
            _ => false,
        };
        if !fits {
            let message = format!("cells.stages: wanted whole numbers from 1 to {MAX_STAGES}, got {}", yaml.describe());
            reader.diagnostics.push(Diagnostic::new(message).at(yaml.span));
        }
        pattern
    }

    fn mode(&self) -> Result<Mode, Diagnostic> {
        let growth = match self.yaml.get("grows").map(|yaml| (yaml.as_str(), yaml.span)) {
            None => None,
            Some((Some("scale"), _)) => Some(Growth::Scale),
            Some((Some("nondecreasing"), _)) => Some(Growth::Nondecreasing),
            Some((_, span)) => return Err(Diagnostic::new("cells.grows: wanted scale or nondecreasing").at(span)),
        };
        match (self.yaml.get("mode").map(|yaml| (yaml.as_str(), yaml.span)), growth) {
            (Some((Some("growing"), _)), growth) => Ok(Mode::Growing(growth.unwrap_or(Growth::Scale))),
            (_, Some(_)) => Err(Diagnostic::new("cells.grows belongs to mode: growing").at(self.yaml.span)),
            (None | Some((Some("free"), _)), None) => Ok(Mode::Free),
            (Some((Some("fixed"), _)), None) => Ok(Mode::Fixed),
            (Some((_, span)), None) => Err(Diagnostic::new("cells.mode: wanted fixed, growing or free").at(span)),
        }
    }

    fn order(&self) -> Result<Order, Diagnostic> {
        match (self.flag("final_rc")?, self.flag("rc_first")?) {
            (false, false) => Ok(Order::Between),
            (true, false) => Ok(Order::AfterEach),
            (false, true) => Ok(Order::BeforeEach),
            (true, true) => Err(Diagnostic::new("cells: final_rc and rc_first cannot both be true").at(self.yaml.span)),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, Diagnostic> {
        match self.yaml.get(key).map(|yaml| (&yaml.node, yaml.span)) {
            None => Ok(false),
            Some((Node::Scalar(Value::Bool(flag)), _)) => Ok(*flag),
            Some((_, span)) => Err(Diagnostic::new(format!("cells.{key}: wanted true or false")).at(span)),
        }
    }

    /// The range of N and its step.
    fn numbers(&self) -> Result<([i64; 2], i64), Diagnostic> {
        let yaml = self.required("n")?;
        let range = match (&yaml.node, yaml.as_i64()) {
            (_, Some(n)) => Some(([n, n], 1)),
            (Node::Map(entries), _) if is_set(entries) => int_range(yaml),
            _ => None,
        };
        range.filter(|([low, high], _)| *low >= 1 && *high <= MAX_CELLS).ok_or_else(|| {
            let message = format!("cells.n: wanted a whole number or {{int: [low, high]}}, from 1 to {MAX_CELLS}");
            Diagnostic::new(message).at(yaml.span)
        })
    }

    /// The blocks that a cell may be; each must be able to play its part.
    fn names(&self, key: &str, role: Role) -> Result<Vec<String>, Diagnostic> {
        let yaml = self.required(key)?;
        let options = yaml.get("choice").unwrap_or(yaml);
        let options = options.as_list().unwrap_or(std::slice::from_ref(options));
        if options.is_empty() {
            return Err(Diagnostic::new(format!("cells.{key}: wanted at least one module")).at(yaml.span));
        }
        let mut names = Vec::new();
        for option in options {
            let Some(name) = option.as_str() else {
                let message = format!("cells.{key}: wanted the name of a module, got {}", option.describe());
                return Err(Diagnostic::new(message).at(option.span));
            };
            let at = |error: nasgen_modules::Error| {
                Diagnostic::new(format!("cells.{key}: {}", error.message)).at(option.span).help(error.help)
            };
            let block = self.blocks.get(name).map_err(at)?;
            try_out(block, role).map_err(at)?;
            names.push(name.to_owned());
        }
        Ok(names)
    }

    fn required(&self, key: &str) -> Result<&Yaml, Diagnostic> {
        let missing = || Diagnostic::new(format!("cells: missing key `{key}`")).at(self.yaml.span);
        self.yaml.get(key).ok_or_else(missing)
    }
}

/// `{int: [low, high], step: s}`.
fn int_range(yaml: &Yaml) -> Option<([i64; 2], i64)> {
    let step = match yaml.get("step") {
        None => 1,
        Some(step) => step.as_i64().filter(|step| *step > 0)?,
    };
    match yaml.get("int")?.as_list()? {
        [low, high] => Some(([low.as_i64()?, high.as_i64()?], step)).filter(|([low, high], _)| low <= high),
        _ => None,
    }
}

/// Whether a block can play `role` at all.
fn try_out(block: &nasgen_modules::BlockEntry, role: Role) -> Result<Arc<dyn Module>> {
    let mut draw = super::random::RandomDraw::new(crate::chance::Chance::new(0, "try out", 0));
    let narrowing = Narrowing::new();
    let mut trial = Trial::new(&mut draw, "", block.name(), &narrowing);
    block.suggest(&mut trial, &site_of(role))
}

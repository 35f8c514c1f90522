//! Reads `cells:`.

use super::{Cells, Growth, MAX_CELLS, MAX_STAGES, Mode, Numbers, Order};
use crate::{
    space::{
        block_choice::{BlockChoice, Place, WITHOUT_STAGE},
        narrowing::Modules,
        pattern::{Pattern, PatternReader},
    },
    spec::{
        Diagnostic, Span, distribution, is_set, mistyped_set,
        yaml::{Entry, Node, Yaml},
    },
};
use nasgen_modules::{Blocks, Distribution, Role, nearest};
use serde_json::{Value, json};

const KEYS: [&str; 8] = ["stages", "mode", "final_rc", "rc_first", "n", "nc", "rc", "grows"];

impl Cells {
    /// Reads the map under `cells:`; what is wrong goes to the reader.
    pub(in crate::space) fn read(
        yaml: &Yaml,
        prefix: &str,
        blocks: &Blocks,
        modules: &Modules,
        reader: &mut PatternReader,
    ) -> Option<Self> {
        let Some(entries) = yaml.as_map() else {
            let message = format!("cells: wanted a map with n, nc and rc, got {}", yaml.describe());
            reader.wrong(Diagnostic::new(message).at(yaml.span));
            return None;
        };
        let strangers = entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str()));
        strangers.for_each(|stranger| reader.wrong(unknown_key(stranger)));
        let parts = CellsReader { yaml, prefix };
        let before = reader.diagnostics.len();
        let (mode, order) = (reader.keep(parts.mode()), reader.keep(parts.order()));
        let (stages, most_stages) = parts.stages(reader);
        let known_mode = mode.unwrap_or(Mode::Free);
        let numbers = parts.numbers(known_mode, most_stages, reader);
        let numbers = reader.keep(numbers);
        let cell_stages = if known_mode == Mode::Free { 1..=most_stages } else { WITHOUT_STAGE };
        let mut cell = |key: &str, role: Role, noun: &str| {
            let yaml = parts.required(key);
            let yaml = reader.keep(yaml)?;
            let place = Place { noun, role, stages: cell_stages.clone(), draws_single: true };
            BlockChoice::read(yaml, &place, blocks, modules, reader)
        };
        let normal = cell("nc", Role::NormalCell, "cells.nc");
        let reduction = cell("rc", Role::ReductionCell, "cells.rc");
        if reader.diagnostics.len() > before {
            return None;
        }
        Some(Self {
            span: yaml.span,
            prefix: prefix.to_owned(),
            stages,
            mode: mode?,
            order: order?,
            numbers: numbers?,
            normal: normal?,
            reduction: reduction?,
        })
    }
}

struct CellsReader<'a> {
    yaml: &'a Yaml,
    prefix: &'a str,
}

impl CellsReader<'_> {
    /// The number of stages, and the most there can be.
    fn stages(&self, reader: &mut PatternReader) -> (Pattern, usize) {
        let Some(yaml) = self.yaml.get("stages") else {
            return (Pattern::Fixed(Yaml::from_json(&json!(3), self.yaml.span)), 3);
        };
        let before = reader.diagnostics.len();
        let pattern = reader.read(yaml, &format!("{}stages", self.prefix));
        let in_range = |value: &Value| value.as_u64().is_some_and(|stages| (1..=MAX_STAGES as u64).contains(&stages));
        let values = match &pattern {
            Pattern::Fixed(yaml) => Some(vec![yaml.to_json()]),
            Pattern::Set(set) => set.distribution.values(MAX_STAGES as u64),
            Pattern::Reference(name, _) => {
                let ends = reader.baselines.iter().filter_map(|drawn| drawn.get(name));
                Some(ends.map(Yaml::to_json).collect())
            }
            Pattern::List(..) | Pattern::Map(..) => None,
        };
        match values {
            Some(values) if values.iter().all(in_range) => {
                (pattern, values.iter().filter_map(Value::as_u64).max().unwrap_or(1) as usize)
            }
            _ => {
                if reader.diagnostics.len() == before {
                    let message =
                        format!("cells.stages: wanted whole numbers from 1 to {MAX_STAGES}, got {}", yaml.describe());
                    reader.wrong(Diagnostic::new(message).at(yaml.span));
                }
                (pattern, 1)
            }
        }
    }

    fn mode(&self) -> Result<Mode, Diagnostic> {
        let growth = match self.yaml.get("grows").map(|yaml| (yaml.as_str(), yaml.span)) {
            None => None,
            Some((Some("scale"), _)) => Some(Growth::Scale),
            Some((Some("nondecreasing"), _)) => Some(Growth::Nondecreasing),
            Some((_, span)) => return Err(Diagnostic::new("cells.grows: wanted scale or nondecreasing").at(span)),
        };
        let mode = match self.yaml.get("mode").map(|yaml| (yaml.as_str(), yaml)) {
            None | Some((Some("free"), _)) => Mode::Free,
            Some((Some("fixed"), _)) => Mode::Fixed,
            Some((Some("growing"), _)) => return Ok(Mode::Growing(growth.unwrap_or(Growth::Scale))),
            Some((word, yaml)) => {
                let near = word.and_then(|word| nearest(word, ["fixed", "growing", "free"]));
                let message = format!("cells.mode: wanted fixed, growing or free, got {}", yaml.describe());
                return Err(Diagnostic::new(message)
                    .at(yaml.span)
                    .help(near.map(|near| format!("did you mean `{near}`?"))));
            }
        };
        match growth {
            None => Ok(mode),
            Some(_) => Err(Diagnostic::new("cells.grows belongs to mode: growing").at(self.key("grows"))),
        }
    }

    fn order(&self) -> Result<Order, Diagnostic> {
        match (self.flag("final_rc")?, self.flag("rc_first")?) {
            (false, false) => Ok(Order::Between),
            (true, false) => Ok(Order::AfterEach),
            (false, true) => Ok(Order::BeforeEach),
            (true, true) => {
                let message = "cells: final_rc and rc_first cannot both be true";
                Err(Diagnostic::new(message).at(self.key("rc_first")).also(self.key("final_rc"), "the other"))
            }
        }
    }

    fn flag(&self, key: &str) -> Result<bool, Diagnostic> {
        match self.yaml.get(key).map(|yaml| (&yaml.node, yaml.span)) {
            None => Ok(false),
            Some((Node::Scalar(Value::Bool(flag)), _)) => Ok(*flag),
            Some((_, span)) => Err(Diagnostic::new(format!("cells.{key}: wanted true or false")).at(span)),
        }
    }

    /// What N is drawn from in each stage.
    fn numbers(&self, mode: Mode, stages: usize, reader: &mut PatternReader) -> Result<Numbers, Diagnostic> {
        let yaml = self.required("n")?;
        let span = yaml.span;
        let is_set = yaml.as_map().is_some_and(is_set);
        if is_set && let Some(name) = reader.reference(yaml)? {
            return Ok(Numbers::Reference(name));
        }
        let name = match yaml.get("name").filter(|_| is_set) {
            Some(_) if mode != Mode::Fixed => {
                let message = "cells.n: drawn for each stage, so it cannot have one name";
                return Err(Diagnostic::new(message).at(span));
            }
            Some(_) => Some(reader.name(yaml, "")?),
            None => None,
        };
        let of_stage = |stage: usize| {
            let distribution = match yaml.as_i64() {
                Some(n) => Distribution::Int { low: n, high: n, step: 1, log: false },
                None if is_set => distribution(yaml, (mode != Mode::Fixed).then_some(stage))?,
                None if let Some(mistyped) = yaml.as_map().and_then(|entries| mistyped_set(entries, false)) => {
                    return Err(mistyped);
                }
                None => return Err(wrong_number(span)),
            };
            let distribution = match (mode, distribution) {
                (Mode::Growing(Growth::Scale), Distribution::Int { low, high, step, log }) => {
                    let [low, high] = [low, high].map(|bound| bound.saturating_mul(stage as i64));
                    Distribution::Int {
                        low,
                        high: low.saturating_add((high.saturating_sub(low)) / step * step),
                        step,
                        log,
                    }
                }
                (_, distribution) => distribution,
            };
            Ok(distribution)
        };
        let in_range = |value: &Value| value.as_i64().is_some_and(|n| (1..=MAX_CELLS).contains(&n));
        let mut by_stage = Vec::new();
        for stage in 1..=stages {
            // A range that grows is checked as it is written.
            let written =
                if mode == Mode::Growing(Growth::Scale) && stage > 1 { &by_stage[0] } else { &of_stage(stage)? };
            let values = written.values(MAX_CELLS as u64).unwrap_or_default();
            if values.is_empty() || !values.iter().all(in_range) {
                return Err(wrong_number(span));
            }
            by_stage.push(of_stage(stage)?);
        }
        if let Some(name) = &name {
            reader.claim(name, span)?;
        }
        for (last, baseline) in reader.baselines.iter_mut().enumerate() {
            let index = if last == 1 { by_stage[0].count().unwrap_or(1) - 1 } else { 0 };
            if let Some(name) = &name {
                baseline.insert(name.clone(), Yaml::from_json(&by_stage[0].value(index), span));
            }
        }
        Ok(Numbers::Drawn { by_stage, name, span })
    }

    /// Where a key stands.
    fn key(&self, key: &str) -> Span {
        let entry = self.yaml.as_map().unwrap_or_default().iter().find(|entry| entry.key == key);
        entry.map_or(self.yaml.span, |entry| entry.key_span)
    }

    fn required(&self, key: &str) -> Result<&Yaml, Diagnostic> {
        let missing = || {
            let entries = self.yaml.as_map().unwrap_or_default();
            let strangers = entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str()));
            match strangers.clone().find(|entry| nearest(&entry.key, KEYS) == Some(key)) {
                // One mistake is one error.
                Some(misspelt) => unknown_key(misspelt),
                None => Diagnostic::new(format!("cells: missing key `{key}`")).at(self.yaml.span),
            }
        };
        self.yaml.get(key).ok_or_else(missing)
    }
}

fn unknown_key(Entry { key, key_span, .. }: &Entry) -> Diagnostic {
    let help = nearest(key, KEYS)
        .map_or_else(|| format!("known keys: {}", KEYS.join(", ")), |near| format!("did you mean `{near}`?"));
    Diagnostic::new(format!("cells: unknown key `{key}`")).at(*key_span).help(help)
}

fn wrong_number(span: Span) -> Diagnostic {
    let message = format!("cells.n: wanted a whole number or {{int: [low, high]}}, from 1 to {MAX_CELLS}");
    Diagnostic::new(message).at(span)
}

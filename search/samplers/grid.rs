//! Everything in turn.

use crate::{
    Candidate, History, NoCandidate, Param, Sampler, SamplerKind, SearchSpace, Trial,
    draws::can_stand,
    encoding,
    sampler::{Attempts, FromSettings, MAX_ATTEMPTS},
    settings::{Settings, at_least},
};
use nasgen_modules::{Distribution, Draw, Result as DrawResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

pub(crate) const KIND: SamplerKind =
    SamplerKind::of::<Grid>("grid", "everything in turn, the last draw changing first: for spaces of a few values");

/// Counts through the space like a clock: the last draw takes its next value; past its last value the one before
/// it does. Ranges of numbers with many values are cut to a few.
struct Grid {
    settings: GridSettings,
}

#[derive(Deserialize, Serialize)]
struct GridSettings {
    /// Values of a range of numbers that has more, or a continuum of them: its ends and what lies evenly between,
    /// in the logarithm where the range is.
    values_per_range: u64,
}

impl Default for GridSettings {
    fn default() -> Self {
        Self { values_per_range: 5 }
    }
}

impl Settings for GridSettings {
    fn problem(&self) -> Option<String> {
        at_least("values_per_range", self.values_per_range as f64, 2.0)
    }
}

impl FromSettings for Grid {
    type Settings = GridSettings;

    fn new(_seed: u64, settings: GridSettings) -> Self {
        Self { settings }
    }
}

impl Sampler for Grid {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut attempts = Attempts::new(history, number, space);
        let mut tick = match self.last_point(history, number) {
            Some(params) => Tick::past(params, self.settings.values_per_range),
            None => Some(Tick::first(self.settings.values_per_range)),
        };
        for _ in 0..MAX_ATTEMPTS {
            let Some(mut draw) = tick else { return Err(attempts.failure()) };
            let candidate = attempts.new_candidate(&mut draw)?;
            if let Some(candidate) = candidate.filter(|_| draw.has_moved) {
                return Ok(candidate);
            }
            let from = if draw.has_moved { draw.made } else { draw.before.drain(..draw.moves).collect() };
            tick = Tick::past(from, self.settings.values_per_range);
        }
        Err(attempts.failure())
    }
}

impl Grid {
    /// The draws of the newest trial that stands on the grid; what users put into the queue does not count.
    fn last_point<'a>(&self, history: History<'a>, number: u64) -> Option<Vec<Param>> {
        let mut grids: HashMap<&str, (&Distribution, Vec<Value>)> = HashMap::new();
        let mut on_grid = |Param { name, distribution, value }: &'a Param| {
            let of_values = || (distribution, grid(distribution, self.settings.values_per_range));
            let known = grids.entry(name.as_str()).or_insert_with(of_values);
            known.0 == distribution && known.1.contains(value)
        };
        let counted = |trial: &&'a Trial| {
            let own = trial.number != number && !trial.system.contains_key("fixed_params");
            own && !trial.params.is_empty() && trial.params.iter().all(&mut on_grid)
        };
        history.trials.iter().rev().find(counted).map(|trial| trial.params.clone())
    }
}

/// The values of a grid over `distribution`.
fn grid(distribution: &Distribution, most: u64) -> Vec<Value> {
    if let Distribution::Choice(values) = distribution {
        return values.clone();
    }
    if let Some(values) = distribution.values(most) {
        return values;
    }
    let (low, high, log) = match *distribution {
        Distribution::Int { low, high, log, .. } => (low as f64, high as f64, log),
        Distribution::Float { low, high, log, .. } => (low, high, log),
        Distribution::Choice(_) => return Vec::new(),
    };
    let point = |index: u64| {
        let part = index as f64 / (most - 1) as f64;
        let between = if log {
            libm::exp(libm::log(low) + part * (libm::log(high) - libm::log(low)))
        } else {
            low + part * (high - low)
        };
        encoding::outer(distribution, between.clamp(low, high))
    };
    let mut values: Vec<Value> = (0..most).map(point).collect();
    values.dedup();
    values
}

/// Repeats the draws of the point before up to one of them, which takes its next value; those after it take their
/// first.
struct Tick {
    before: Vec<Param>,
    moves: usize,
    values_per_range: u64,
    made: Vec<Param>,
    /// Whether the draw that should move had a value to move to.
    has_moved: bool,
}

impl Tick {
    fn first(values_per_range: u64) -> Self {
        Self { before: Vec::new(), moves: 0, values_per_range, made: Vec::new(), has_moved: true }
    }

    /// The tick after `before`; `None` past the last one. Whether the draw has a next value that can stand shows
    /// only when it is made; where not, the draw before it is the next to move.
    fn past(before: Vec<Param>, values_per_range: u64) -> Option<Self> {
        let next = |param: &Param| {
            let values = grid(&param.distribution, values_per_range);
            values.last().is_some_and(|last| *last != param.value)
        };
        let moves = before.iter().rposition(next)?;
        Some(Self { before, moves, values_per_range, made: Vec::new(), has_moved: false })
    }
}

impl Draw for Tick {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> DrawResult<Value> {
        let values = grid(distribution, self.values_per_range);
        let place = self.made.len();
        let old = self.before.get(place).filter(|param| param.name == name && place <= self.moves);
        let known = old.and_then(|param| values.iter().position(|value| *value == param.value));
        let first = match known {
            Some(known) if place == self.moves => known + 1,
            Some(known) => known,
            None => 0,
        };
        let allowed = |value: &&Value| can_stand(distribution, value, factors);
        let next = values.iter().skip(first).find(allowed);
        if place == self.moves && known.is_some() {
            self.has_moved = next.is_some();
        }
        let value = match next.or_else(|| values.iter().rfind(allowed)) {
            Some(value) => value.clone(),
            None => distribution.value(first_possible(factors)),
        };
        self.made.push(Param { name: name.to_owned(), distribution: distribution.clone(), value: value.clone() });
        Ok(value)
    }
}

/// The first value that is not ruled out.
fn first_possible(factors: Option<&[f64]>) -> u64 {
    factors.and_then(|factors| factors.iter().position(|factor| *factor > 0.0)).unwrap_or(0) as u64
}

//! The smallest and the largest networks of a space.

use super::{Extreme, Surveyor, Tried};
use crate::{
    measure::Scale,
    space::{Attempt, Cost, structure::Share},
    spec::emit,
};
use nasgen_modules::{Distribution, Draw, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Values of one draw that the search for the smallest network tries.
const MOST_NEIGHBOURS: u64 = 64;
/// Networks that one search for the smallest or largest tries.
const MOST_STEPS: usize = 1000;

impl Surveyor<'_> {
    /// Goes from a few networks to cheaper and dearer ones, one draw at a time, until none is better.
    pub(super) fn search_extremes(&self, shares: &[Share], tried: &[Tried], scale: &mut Scale) -> Vec<Found> {
        let neighbours: BTreeMap<&str, Vec<Value>> =
            shares.iter().map(|share| (share.name.as_str(), neighbours(&share.distribution))).collect();
        let mut found = Vec::new();
        for objective in OBJECTIVES {
            let extreme = objective.is_most;
            let stood = tried.iter().filter_map(|tried| Some((tried.cost?, &tried.draws)));
            let best = stood.min_by_key(|(cost, _)| objective.rank(cost)).map(|(_, draws)| draws.clone());
            for start in [Some(Map::new()), best].into_iter().flatten() {
                found.extend(self.climb(start, objective, extreme, &neighbours, scale));
            }
        }
        found
    }

    fn climb(
        &self,
        start: Map<String, Value>,
        objective: Objective,
        last: bool,
        neighbours: &BTreeMap<&str, Vec<Value>>,
        scale: &mut Scale,
    ) -> Option<Found> {
        let mut best = self.patched(&start, None, last, scale)?;
        let mut steps = 0;
        loop {
            let mut improved = false;
            let names: Vec<String> = best.draws.keys().cloned().collect();
            for name in names {
                for value in neighbours.get(name.as_str()).into_iter().flatten() {
                    if best.draws.get(&name).is_none_or(|current| current == value) {
                        continue;
                    }
                    if steps == MOST_STEPS {
                        return Some(best);
                    }
                    steps += 1;
                    let next = self.patched(&best.draws, Some((&name, value)), last, scale);
                    if let Some(next) = next.filter(|next| objective.rank(&next.cost) < objective.rank(&best.cost)) {
                        best = next;
                        improved = true;
                    }
                }
            }
            if !improved {
                return Some(best);
            }
        }
    }

    fn patched(
        &self,
        draws: &Map<String, Value>,
        change: Option<(&str, &Value)>,
        last: bool,
        scale: &mut Scale,
    ) -> Option<Found> {
        let weighed = self.sampler.weigh(&mut Patched { draws, change, last }, scale).ok()??;
        Some(Found { cost: weighed.cost, draws: weighed.draws, way: Way::Climbed { last } })
    }

    /// The least and the most of what was found, drawn once more with its file.
    pub(super) fn extremes(&self, found: &[Found]) -> Option<[Extreme; 4]> {
        let extreme = |objective: Objective| {
            let best = found.iter().min_by_key(|found| objective.rank(&found.cost))?;
            let attempt = match best.way {
                Way::Tried(number) => self.sampler.attempt(&mut self.replay(&best.draws, number), number),
                Way::Climbed { last } => {
                    self.sampler.attempt(&mut Patched { draws: &best.draws, change: None, last }, 0)
                }
            };
            let Attempt::Drawn(file, _) = attempt else { return None };
            Some(Extreme { cost: best.cost, config: emit(&file) })
        };
        let [first, second, third, fourth] = OBJECTIVES.map(extreme);
        Some([first?, second?, third?, fourth?])
    }
}

fn neighbours(distribution: &Distribution) -> Vec<Value> {
    distribution.values(MOST_NEIGHBOURS).unwrap_or_else(|| match distribution {
        Distribution::Choice(values) => values.clone(),
        _ => distribution.ends().to_vec(),
    })
}

/// What to look for the least of.
#[derive(Clone, Copy)]
struct Objective {
    of_params: bool,
    is_most: bool,
}

const OBJECTIVES: [Objective; 4] = [
    Objective { of_params: true, is_most: false },
    Objective { of_params: true, is_most: true },
    Objective { of_params: false, is_most: false },
    Objective { of_params: false, is_most: true },
];

impl Objective {
    fn rank(self, cost: &Cost) -> i128 {
        let cost = i128::from(if self.of_params { cost.params } else { cost.macs });
        if self.is_most { -cost } else { cost }
    }
}

/// A network that was met on the way.
pub(super) struct Found {
    pub(super) cost: Cost,
    draws: Map<String, Value>,
    way: Way,
}

/// How a network was met, which says what is drawn beside its draws.
#[derive(Clone, Copy)]
enum Way {
    /// As the combination of this number.
    Tried(u64),
    /// On the way to cheaper or dearer ones.
    Climbed { last: bool },
}

impl Found {
    pub(super) fn of(tried: &Tried) -> Option<Self> {
        Some(Self { cost: tried.cost?, draws: tried.draws.clone(), way: Way::Tried(tried.number) })
    }
}

/// Gives the values of a record but for one, and the first or last value of what it lacks.
struct Patched<'a> {
    draws: &'a Map<String, Value>,
    change: Option<(&'a str, &'a Value)>,
    last: bool,
}

impl Draw for Patched<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let can_stand = |index: &u64| factors.is_none_or(|factors| factors[*index as usize] > 0.0);
        let changed = self.change.filter(|(changed, _)| *changed == name).map(|(_, value)| value);
        let known = changed.or_else(|| self.draws.get(name));
        if let Some(value) = known.filter(|value| distribution.index_of(value).is_some_and(|index| can_stand(&index))) {
            return Ok(value.clone());
        }
        if let (true, Distribution::Float { high, step: None, .. }) = (self.last, distribution) {
            return Ok(Value::from(*high));
        }
        let mut indices = 0..distribution.count().unwrap_or(1);
        let index = if self.last { indices.rev().find(can_stand) } else { indices.find(can_stand) };
        Ok(distribution.value(index.unwrap_or(0)))
    }
}

//! Draws that follow a plan.

use crate::{Param, random_value, weighted_index};
use nasgen_modules::{Distribution, Draw, Result, chance::Chance};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Gives the values of a plan, and draws at random what the plan lacks or what cannot stand.
pub(crate) struct Planned<'a> {
    plan: HashMap<&'a str, Value>,
    chance: &'a mut Chance,
}

impl<'a> Planned<'a> {
    /// Follows `plan`; `chance` decides the rest.
    pub(crate) fn new(plan: impl IntoIterator<Item = (&'a str, Value)>, chance: &'a mut Chance) -> Self {
        Self { plan: plan.into_iter().collect(), chance }
    }

    /// Repeats `params` with one of them changed.
    pub(crate) fn edit(params: &'a [Param], changed: usize, chance: &'a mut Chance) -> Self {
        let value = other_value(&params[changed].distribution, &params[changed].value, chance);
        let mut planned = Self::new(params.iter().map(|param| (param.name.as_str(), param.value.clone())), chance);
        planned.plan.insert(&params[changed].name, value);
        planned
    }
}

impl Draw for Planned<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        if let Some(value) = self.plan.get(name).filter(|value| can_stand(distribution, value, factors)) {
            return Ok(value.clone());
        }
        Ok(any_value(distribution, factors, self.chance))
    }
}

/// Gives what was drawn before, but for about two draws; keeps what it gives.
pub(crate) struct Varied<'a> {
    from: &'a Map<String, Value>,
    chance: &'a mut Chance,
    pub(crate) gave: Map<String, Value>,
}

impl<'a> Varied<'a> {
    /// Varies `from`, which may be empty; `chance` decides what is drawn anew.
    pub(crate) fn new(from: &'a Map<String, Value>, chance: &'a mut Chance) -> Self {
        Self { from, chance, gave: Map::new() }
    }
}

impl Draw for Varied<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let kept = self.from.get(name).filter(|value| can_stand(distribution, value, factors));
        let value = match kept {
            Some(value) if self.chance.below(self.from.len() as u64) >= 2 => value.clone(),
            _ => any_value(distribution, factors, self.chance),
        };
        self.gave.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

/// Whether `distribution` gives `value` and nothing rules it out.
pub(crate) fn can_stand(distribution: &Distribution, value: &Value, factors: Option<&[f64]>) -> bool {
    let allowed = |index: u64| factors.is_none_or(|factors| factors[index as usize] > 0.0);
    distribution.index_of(value).is_some_and(allowed)
}

/// A random value that can stand.
pub(crate) fn any_value(distribution: &Distribution, factors: Option<&[f64]>, chance: &mut Chance) -> Value {
    match factors {
        None => random_value(distribution, chance),
        Some(factors) => distribution.value(weighted_index(distribution, factors, chance)),
    }
}

/// Places of the draws that could have been others.
pub(crate) fn editable(params: &[Param]) -> Vec<usize> {
    (0..params.len()).filter(|index| params[*index].distribution.count() != Some(1)).collect()
}

/// Another value than `value`: of a choice any, of numbers a neighbouring one as often as any; of a continuum one
/// within a tenth of the range as often as any.
fn other_value(distribution: &Distribution, value: &Value, chance: &mut Chance) -> Value {
    let near = chance.below(2) == 0;
    if let (Distribution::Float { low, high, log, step: None }, Some(own)) = (distribution, value.as_f64()) {
        if !near {
            return random_value(distribution, chance);
        }
        let scaled = |value: f64| if *log { libm::log(value) } else { value };
        let moved = scaled(own) + (chance.unit() - 0.5) * 0.2 * (scaled(*high) - scaled(*low));
        let moved = if *log { libm::exp(moved) } else { moved };
        return crate::encoding::outer(distribution, moved.clamp(*low, *high));
    }
    let count = distribution.count().unwrap_or(1);
    let (Some(own), true) = (distribution.index_of(value), count > 1) else {
        return random_value(distribution, chance);
    };
    let index = if near && !matches!(distribution, Distribution::Choice(_)) {
        match (own, chance.below(2)) {
            (0, _) => 1,
            (own, 1) if own + 1 < count => own + 1,
            (own, _) => own - 1,
        }
    } else {
        (own + 1 + chance.below(count - 1)) % count
    };
    distribution.value(index)
}

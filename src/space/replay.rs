//! Draws that were made before.

use crate::chance::Chance;
use nasgen_modules::{Distribution, Draw, Error, Result};
use nasgen_search::{random_value, weighted_index};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Gives the values of a record, and draws at random what the record does not have: names that come
/// up because another value was changed, and values that cannot stand any more.
pub struct Replay<'a> {
    record: &'a Map<String, Value>,
    chance: Chance,
    changed: &'a Map<String, Value>,
    used: BTreeSet<String>,
}

impl<'a> Replay<'a> {
    /// Replays `record` with `changed` over it; `chance` decides what neither has.
    pub fn new(record: &'a Map<String, Value>, changed: &'a Map<String, Value>, chance: Chance) -> Self {
        Self { record, chance, changed, used: BTreeSet::new() }
    }

    /// Changed names that nothing asked for.
    pub fn unused(&self) -> Vec<&str> {
        self.changed.keys().map(String::as_str).filter(|name| !self.used.contains(*name)).collect()
    }
}

impl Draw for Replay<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let can_stand = |index: u64| factors.is_none_or(|factors| factors[index as usize] > 0.0);
        if let Some(value) = self.changed.get(name) {
            self.used.insert(name.to_owned());
            return match distribution.index_of(value) {
                Some(index) if can_stand(index) => Ok(value.clone()),
                Some(_) => Err(Error::row(format!("draw `{name}`: {value} cannot stand with the other draws"))),
                None => Err(Error::row(format!("draw `{name}`: wanted {}, got {value}", wanted(distribution)))),
            };
        }
        let recorded = self.record.get(name).filter(|value| distribution.index_of(value).is_some_and(can_stand));
        match (recorded, factors) {
            (Some(value), _) => Ok(value.clone()),
            (None, None) => Ok(random_value(distribution, &mut self.chance)),
            (None, Some(factors)) => Ok(distribution.value(weighted_index(distribution, factors, &mut self.chance))),
        }
    }
}

/// What a distribution gives, for messages.
pub(super) fn wanted(distribution: &Distribution) -> String {
    let step = |step: String| format!(" in steps of {step}");
    match distribution {
        Distribution::Choice(values) => {
            let values: Vec<String> = values.iter().map(crate::spec::emit_inline).collect();
            format!("one of {}", values.join(", "))
        }
        Distribution::Int { low, high, step: 1, .. } => format!("a whole number from {low} to {high}"),
        Distribution::Int { low, high, step: size, .. } => {
            format!("a whole number from {low} to {high}{}", step(size.to_string()))
        }
        Distribution::Float { low, high, step: size, .. } => {
            format!("a number from {low} to {high}{}", size.map_or_else(String::new, |size| step(size.to_string())))
        }
    }
}

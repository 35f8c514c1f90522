//! Drawing at random, and keeping what was drawn.

use super::pattern::number;
use crate::chance::Chance;
use nasgen_modules::{Distribution, Draw, Result};
use serde_json::{Map, Value};

/// Draws at random and records every draw by name.
pub struct RandomDraw {
    chance: Chance,
    /// What was drawn, in order.
    pub draws: Map<String, Value>,
}

impl RandomDraw {
    /// Draws from `chance`.
    pub fn new(chance: Chance) -> Self {
        Self { chance, draws: Map::new() }
    }

    /// Forgets what was drawn; the next draws go on in the stream.
    pub fn restart(&mut self) {
        self.draws.clear();
    }
}

impl Draw for RandomDraw {
    fn draw(&mut self, name: &str, distribution: &Distribution) -> Result<Value> {
        let value = random_value(distribution, &mut self.chance);
        self.draws.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

/// One value of `distribution`. Logarithms come from `libm`, the same on every platform, and reals
/// are rounded to six significant digits.
fn random_value(distribution: &Distribution, chance: &mut Chance) -> Value {
    match *distribution {
        Distribution::Choice(ref values) => values[chance.below(values.len() as u64) as usize].clone(),
        Distribution::Int { low, high, step, log: false } => {
            let steps = (high - low) / step;
            Value::from(low + chance.below(steps as u64 + 1) as i64 * step)
        }
        Distribution::Int { low, high, log: true, .. } => {
            // Each whole number owns the half before and after it.
            let drawn = log_uniform(low as f64 - 0.5, high as f64 + 0.5, chance);
            Value::from((libm::round(drawn) as i64).clamp(low, high))
        }
        Distribution::Float { low, high, step: Some(step), .. } => {
            let steps = ((high - low) / step + 1e-9).floor() as u64;
            number(six_digits(low + chance.below(steps + 1) as f64 * step).clamp(low, high))
        }
        Distribution::Float { low, high, log: true, .. } => {
            number(six_digits(log_uniform(low, high, chance)).clamp(low, high))
        }
        Distribution::Float { low, high, .. } => {
            number(six_digits(low + chance.unit() * (high - low)).clamp(low, high))
        }
    }
}

fn log_uniform(low: f64, high: f64, chance: &mut Chance) -> f64 {
    let (low, high) = (libm::log(low), libm::log(high));
    libm::exp(low + chance.unit() * (high - low))
}

/// `value` to six significant digits, by way of its decimal text, which is exact.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(distribution: &Distribution) -> Vec<f64> {
        let mut chance = Chance::new(5, "test", 0);
        (0..4000).map(|_| random_value(distribution, &mut chance).as_f64().unwrap()).collect()
    }

    #[test]
    fn every_step_comes_and_nothing_between() {
        let ints = draws(&Distribution::Int { low: 8, high: 24, step: 8, log: false });
        let floats = draws(&Distribution::Float { low: 0.1, high: 0.5, step: Some(0.1), log: false });
        let distinct = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.dedup();
            values
        };
        assert_eq!(distinct(ints), [8.0, 16.0, 24.0]);
        assert_eq!(distinct(floats), [0.1, 0.2, 0.3, 0.4, 0.5]);
    }

    #[test]
    fn logarithmic_draws_are_even_by_decade() {
        for distribution in [
            Distribution::Float { low: 1e-3, high: 1e-1, step: None, log: true },
            Distribution::Int { low: 1, high: 100, step: 1, log: true },
        ] {
            let values = draws(&distribution);
            let (low, high) =
                (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max));
            let middle = (low * high).sqrt();
            let below = values.iter().filter(|value| **value < middle).count();
            assert!((1700..2300).contains(&below), "{distribution:?}: {below} of 4000 below {middle}");
        }
    }
}

//! Drawing at random, and keeping what was drawn.

use nasgen_modules::{Distribution, Draw, Result, chance::Chance, real, six_digits};
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
}

impl Draw for RandomDraw {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let value = match factors {
            None => random_value(distribution, &mut self.chance),
            Some(factors) => distribution.value(weighted_index(distribution, factors, &mut self.chance)),
        };
        self.draws.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

/// One value of `distribution`. Logarithms come from `libm`, the same on every platform, and reals
/// are rounded to six significant digits.
pub fn random_value(distribution: &Distribution, chance: &mut Chance) -> Value {
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
        Distribution::Float { step: Some(_), .. } => {
            distribution.value(chance.below(distribution.count().unwrap_or(1)))
        }
        Distribution::Float { low, high, log: true, .. } => {
            real(six_digits(log_uniform(low, high, chance)).clamp(low, high))
        }
        Distribution::Float { low, high, .. } => real(six_digits(low + chance.unit() * (high - low)).clamp(low, high)),
    }
}

/// An index with probability in proportion to the distribution's own times its factor. Where all
/// that can stand is as likely, it is the same draw as from a distribution of those alone.
pub fn weighted_index(distribution: &Distribution, factors: &[f64], chance: &mut Chance) -> u64 {
    let weights: Vec<f64> =
        factors.iter().enumerate().map(|(index, factor)| factor * distribution.probability(index as u64)).collect();
    let possible: Vec<usize> = (0..weights.len()).filter(|index| weights[*index] > 0.0).collect();
    if possible.iter().all(|index| weights[*index] == weights[possible[0]]) {
        return possible[chance.below(possible.len() as u64) as usize] as u64;
    }
    let mut point = chance.unit() * weights.iter().sum::<f64>();
    let chosen = possible.iter().find(|index| {
        point -= weights[**index];
        point < 0.0
    });
    *chosen.unwrap_or(&possible[possible.len() - 1]) as u64
}

fn log_uniform(low: f64, high: f64, chance: &mut Chance) -> f64 {
    let (low, high) = (libm::log(low), libm::log(high));
    libm::exp(low + chance.unit() * (high - low))
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

    #[test]
    fn factors_multiply_probabilities() {
        let distribution = Distribution::Choice(["a", "b", "c"].map(Value::from).to_vec());
        let mut chance = Chance::new(0, "test", 0);
        let mut counts = [0u32; 3];
        for _ in 0..40_000 {
            counts[weighted_index(&distribution, &[3.0, 0.0, 1.0], &mut chance) as usize] += 1;
        }
        assert!(counts[0].abs_diff(30_000) < 400 && counts[1] == 0, "{counts:?}");
    }

    #[test]
    fn values_have_indices_and_probabilities_that_sum_to_one() {
        for distribution in [
            Distribution::Int { low: 8, high: 24, step: 8, log: false },
            Distribution::Int { low: 1, high: 9, step: 1, log: true },
            Distribution::Float { low: 0.1, high: 0.7, step: Some(0.2), log: false },
            Distribution::Choice(vec![Value::Null, Value::from(3)]),
        ] {
            let values = distribution.values(100).unwrap();
            for (index, value) in values.iter().enumerate() {
                assert_eq!(distribution.index_of(value), Some(index as u64), "{distribution:?}");
            }
            let sum: f64 = (0..values.len() as u64).map(|index| distribution.probability(index)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{distribution:?} {sum}");
            assert_eq!(distribution.index_of(&Value::from(7.5)), None);
        }
    }
}

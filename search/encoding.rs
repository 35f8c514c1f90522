//! Draws as numbers.

use crate::{Param, Trial};
use nasgen_modules::{Distribution, real, six_digits};
use serde_json::Value;
use std::collections::HashMap;

/// `value` as Optuna stores it: a number as it is, a choice by its index. `None` where the distribution does not
/// give it.
pub(crate) fn inner(distribution: &Distribution, value: &Value) -> Option<f64> {
    match distribution {
        Distribution::Choice(_) => distribution.index_of(value).map(|index| index as f64),
        _ => value.as_f64(),
    }
}

/// The value whose number is `inner`. Reals have six digits, as all draws of a space.
pub(crate) fn outer(distribution: &Distribution, inner: f64) -> Value {
    match *distribution {
        Distribution::Choice(ref values) => values[(inner as usize).min(values.len() - 1)].clone(),
        Distribution::Int { low, step, .. } => {
            let index = libm::round((inner - low as f64) / step as f64).max(0.0) as u64;
            distribution.value(index.min(distribution.count().unwrap_or(1) - 1))
        }
        Distribution::Float { low, step: Some(step), .. } => {
            let index = libm::round((inner - low) / step).max(0.0) as u64;
            distribution.value(index.min(distribution.count().unwrap_or(1) - 1))
        }
        Distribution::Float { low, high, .. } => real(six_digits(inner).clamp(low, high)),
    }
}

/// Where an inner number of a numeric distribution stands between its ends, 0 to 1, in the logarithm where the
/// distribution is; of a choice the index.
pub(crate) fn place(distribution: &Distribution, inner: f64) -> f64 {
    let (low, high, logarithmic) = match *distribution {
        Distribution::Choice(_) => return inner,
        Distribution::Int { low, high, log, .. } => (low as f64, high as f64, log),
        Distribution::Float { low, high, log, .. } => (low, high, log),
    };
    let scaled = |value: f64| if logarithmic { libm::log(value) } else { value };
    if high > low { (scaled(inner) - scaled(low)) / (scaled(high) - scaled(low)) } else { 0.0 }
}

/// Whether there is but one value.
pub(crate) fn is_single(distribution: &Distribution) -> bool {
    distribution.count() == Some(1)
}

/// The draws of many trials by number: each name has a number, in the order in which names came up.
pub(crate) struct Encoded<'a> {
    /// By number.
    pub(crate) names: Vec<&'a str>,
    /// By number of the name: the distribution that came up first.
    pub(crate) distributions: Vec<&'a Distribution>,
    /// One for each trial: `(name, inner number)` in the order of the trial's draws. What the name's distribution
    /// does not give is left out.
    pub(crate) rows: Vec<Vec<(usize, f64)>>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Encoded<'a> {
    /// Of `trials`.
    pub(crate) fn of(trials: &[&'a Trial]) -> Self {
        Self::of_params(trials.iter().map(|trial| trial.params.as_slice()))
    }

    /// Of lists of draws.
    pub(crate) fn of_params(lists: impl Iterator<Item = &'a [Param]>) -> Self {
        let mut encoded =
            Self { names: Vec::new(), distributions: Vec::new(), rows: Vec::new(), numbers: HashMap::new() };
        // What is drawn after a draw is mostly what was drawn after it before: by the number of a name and one, 0 at
        // the beginning. Most names are compared with one other then, and not looked up.
        let mut followers: Vec<usize> = Vec::new();
        for params in lists {
            let mut row = Vec::with_capacity(params.len());
            let mut after = 0;
            for param in params {
                let likely = followers.get(after).filter(|number| encoded.names[**number] == param.name);
                let number = match likely {
                    Some(number) => *number,
                    None => {
                        let number = encoded.number_of(param);
                        followers.resize(encoded.names.len() + 1, number);
                        followers[after] = number;
                        number
                    }
                };
                after = number + 1;
                if let Some(value) = inner(encoded.distributions[number], &param.value) {
                    row.push((number, value));
                }
            }
            encoded.rows.push(row);
        }
        encoded
    }

    fn number_of(&mut self, param: &'a Param) -> usize {
        *self.numbers.entry(&param.name).or_insert_with(|| {
            self.names.push(&param.name);
            self.distributions.push(&param.distribution);
            self.names.len() - 1
        })
    }
}

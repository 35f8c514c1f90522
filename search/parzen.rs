//! Densities of what was drawn: a mixture of kernels, one around each trial and one over the whole range, as
//! Optuna 5's `TPESampler` builds them.

use crate::normal::{log_density, log_mass_between, quantile_between};
use libm::{exp, log};
use nasgen_modules::{Distribution, chance::Chance};
use std::collections::HashMap;

/// The weight of the kernel over the whole range, against 1 for a trial.
const PRIOR_WEIGHT: f64 = 1.0;
/// Trials that keep their full weight, from the newest; those before fade out.
const REMEMBERED: usize = 25;

/// A mixture of products: each kernel has one factor for each dimension.
pub(crate) struct Parzen {
    log_weights: Vec<f64>,
    cumulative_weights: Vec<f64>,
    dimensions: Vec<Dimension>,
}

enum Dimension {
    Categorical(Categorical),
    Numeric(Numeric),
}

/// Kernels over choices: the observed one has more, all others the same.
struct Categorical {
    choices: usize,
    observed: Vec<usize>,
    log_hit: f64,
    log_miss: f64,
}

/// Normal kernels cut off at the ends of the range, in the logarithm where the distribution is.
struct Numeric {
    range: Range,
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// What the logarithm of each kernel is less by, so that it integrates to 1 within the range.
    log_norms: Vec<f64>,
    /// For each kernel the place of the first with the same mean and deviation among such.
    distinct: Vec<usize>,
    /// The first kernel of each kind.
    kinds: Vec<usize>,
}

/// What a numeric distribution says.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
    step: Option<f64>,
    log: bool,
}

impl Range {
    fn of(distribution: &Distribution) -> Option<Self> {
        match *distribution {
            Distribution::Choice(_) => None,
            Distribution::Int { low, high, step, log } => {
                Some(Self { low: low as f64, high: high as f64, step: Some(step as f64), log })
            }
            Distribution::Float { low, high, step, log } => Some(Self { low, high, step, log }),
        }
    }

    fn scaled(self, value: f64) -> f64 {
        if self.log { log(value) } else { value }
    }

    /// The ends, each value of a grid owning half a step on both sides.
    fn ends(self) -> (f64, f64) {
        let half = self.step.unwrap_or(0.0) / 2.0;
        (self.scaled(self.low - half), self.scaled(self.high + half))
    }
}

/// Weights of `count` trials by age: the last 25 count 1, those before less, the older the less.
fn weights_by_age(count: usize) -> Vec<f64> {
    if count <= REMEMBERED {
        return vec![1.0; count];
    }
    let fading = count - REMEMBERED;
    let first = 1.0 / count as f64;
    let step = if fading > 1 { (1.0 - first) / (fading - 1) as f64 } else { 0.0 };
    (0..fading).map(|index| first + step * index as f64).chain([1.0; REMEMBERED]).collect()
}

impl Parzen {
    /// Of `observations`, one column for each of `distributions` in Optuna's inner values (numbers themselves,
    /// choices by index), the oldest first. `fade` lets old ones count less.
    pub(crate) fn new(distributions: &[&Distribution], columns: &[Vec<f64>], fade: bool) -> Self {
        let count = columns.first().map_or(0, Vec::len);
        let mut weights = if fade { weights_by_age(count) } else { vec![1.0; count] };
        weights.push(PRIOR_WEIGHT);
        let sum: f64 = weights.iter().sum();
        let mut cumulative = 0.0;
        let cumulative_weights = weights
            .iter()
            .map(|weight| {
                cumulative += weight / sum;
                cumulative
            })
            .collect();
        let dimensions =
            distributions.iter().zip(columns).map(|(distribution, column)| match Range::of(distribution) {
                Some(range) => Dimension::Numeric(Numeric::new(range, column)),
                None => Dimension::Categorical(Categorical::new(distribution.count().unwrap_or(1) as usize, column)),
            });
        Self {
            log_weights: weights.iter().map(|weight| log(weight / sum)).collect(),
            cumulative_weights,
            dimensions: dimensions.collect(),
        }
    }

    /// One point.
    pub(crate) fn sample(&self, chance: &mut Chance) -> Vec<f64> {
        let point = chance.unit();
        let last = self.cumulative_weights.len() - 1;
        let kernel = self.cumulative_weights.partition_point(|cumulative| *cumulative <= point).min(last);
        let value = |dimension: &Dimension, quantile: f64| match dimension {
            Dimension::Categorical(categorical) => categorical.quantile(kernel, quantile) as f64,
            Dimension::Numeric(numeric) => numeric.quantile(kernel, quantile),
        };
        self.dimensions.iter().map(|dimension| value(dimension, chance.unit())).collect()
    }

    /// The logarithm of the density at each of `points`.
    pub(crate) fn log_densities(&self, points: &[Vec<f64>]) -> Vec<f64> {
        let mut known: Vec<HashMap<u64, Vec<f64>>> = vec![HashMap::new(); self.dimensions.len()];
        let mut sums = vec![0.0; self.log_weights.len()];
        let mut density_at = |point: &Vec<f64>| {
            sums.copy_from_slice(&self.log_weights);
            for ((dimension, known), value) in self.dimensions.iter().zip(&mut known).zip(point) {
                match dimension {
                    Dimension::Categorical(categorical) => categorical.add(*value as usize, &mut sums),
                    Dimension::Numeric(numeric) => match numeric.range.step {
                        None => numeric.add_density(*value, &mut sums),
                        Some(step) => {
                            let masses = known.entry(value.to_bits()).or_insert_with(|| numeric.masses(*value, step));
                            for (sum, kind) in sums.iter_mut().zip(&numeric.distinct) {
                                *sum += masses[*kind];
                            }
                        }
                    },
                }
            }
            log_sum_exp(&sums)
        };
        points.iter().map(&mut density_at).collect()
    }
}

fn log_sum_exp(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    // Terms this far below the largest do not change the sum.
    let sum: f64 = terms.iter().map(|term| term - most).filter(|below| *below > -45.0).map(exp).sum();
    most + log(sum)
}

impl Categorical {
    fn new(choices: usize, column: &[f64]) -> Self {
        let miss = PRIOR_WEIGHT / (column.len() + 1) as f64;
        let sum = 1.0 + miss * choices as f64;
        Self {
            choices,
            observed: column.iter().map(|value| *value as usize).collect(),
            log_hit: log((1.0 + miss) / sum),
            log_miss: log(miss / sum),
        }
    }

    fn add(&self, choice: usize, sums: &mut [f64]) {
        for (sum, observed) in sums.iter_mut().zip(&self.observed) {
            *sum += if *observed == choice { self.log_hit } else { self.log_miss };
        }
        sums[self.observed.len()] -= log(self.choices as f64);
    }

    fn quantile(&self, kernel: usize, quantile: f64) -> usize {
        let last = self.choices - 1;
        let Some(observed) = self.observed.get(kernel) else {
            return ((quantile * self.choices as f64) as usize).min(last);
        };
        let (hit, miss) = (exp(self.log_hit), exp(self.log_miss));
        let mut rest = quantile;
        for choice in 0..last {
            rest -= if choice == *observed { hit } else { miss };
            if rest < 0.0 {
                return choice;
            }
        }
        last
    }
}

impl Numeric {
    fn new(range: Range, column: &[f64]) -> Self {
        let (low, high) = range.ends();
        let mut means: Vec<f64> = column.iter().map(|value| range.scaled(*value)).collect();
        let mut deviations = bandwidths(&means, low, high);
        means.push(0.5 * (low + high));
        deviations.push(high - low);

        let mut places: HashMap<(u64, u64), usize> = HashMap::new();
        let mut kinds = Vec::new();
        let mut distinct = Vec::new();
        for kernel in 0..means.len() {
            let key = (means[kernel].to_bits(), deviations[kernel].to_bits());
            let place = *places.entry(key).or_insert_with(|| {
                kinds.push(kernel);
                kinds.len() - 1
            });
            distinct.push(place);
        }
        let norm = |kernel: &usize| {
            let (mean, deviation) = (means[*kernel], deviations[*kernel]);
            let mass = log_mass_between((low - mean) / deviation, (high - mean) / deviation);
            // A grid has probabilities, a continuum densities, which are per unit.
            if range.step.is_some() { mass } else { mass + log(deviation) }
        };
        let norms: Vec<f64> = kinds.iter().map(norm).collect();
        let log_norms = distinct.iter().map(|kind| norms[*kind]).collect();
        Self { range, means, deviations, log_norms, distinct, kinds }
    }

    fn add_density(&self, value: f64, sums: &mut [f64]) {
        let x = self.range.scaled(value);
        for (kernel, sum) in sums.iter_mut().enumerate() {
            *sum += log_density((x - self.means[kernel]) / self.deviations[kernel]) - self.log_norms[kernel];
        }
    }

    /// The logarithm of the probability that each kind of kernel gives to the value of a grid.
    fn masses(&self, value: f64, step: f64) -> Vec<f64> {
        let (left, right) = (self.range.scaled(value - step / 2.0), self.range.scaled(value + step / 2.0));
        let mass = |kernel: &usize| {
            let (mean, deviation) = (self.means[*kernel], self.deviations[*kernel]);
            log_mass_between((left - mean) / deviation, (right - mean) / deviation) - self.log_norms[*kernel]
        };
        self.kinds.iter().map(mass).collect()
    }

    fn quantile(&self, kernel: usize, quantile: f64) -> f64 {
        let Range { low, high, step, log } = self.range;
        let (mean, deviation) = (self.means[kernel], self.deviations[kernel]);
        let (first, last) = self.range.ends();
        let x = mean + deviation * quantile_between(quantile, (first - mean) / deviation, (last - mean) / deviation);
        let value = if log { exp(x) } else { x };
        let value = match step {
            Some(step) => low + libm::rint((value - low) / step) * step,
            None => value,
        };
        value.clamp(low, high)
    }
}

/// The deviation of each kernel: the distance to the farther neighbour, the ends of the range standing in for
/// those that the outermost lack where there is but one kernel; neither below the range over the number of
/// kernels (100 at most) nor above the range.
fn bandwidths(means: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..means.len()).collect();
    order.sort_by(|one, other| means[*one].total_cmp(&means[*other]));
    let at = |place: usize| means[order[place]];
    let least = (high - low) / (means.len() as f64 + 2.0).min(100.0);
    let mut bandwidths = vec![0.0; means.len()];
    for (place, index) in order.iter().enumerate() {
        let below = (place > 0).then(|| at(place) - at(place - 1));
        let above = (place + 1 < means.len()).then(|| at(place + 1) - at(place));
        let farther = match (below, above) {
            (Some(below), Some(above)) => below.max(above),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => (at(place) - low).max(high - at(place)),
        };
        bandwidths[*index] = farther.clamp(least, high - low);
    }
    bandwidths
}

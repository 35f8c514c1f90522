//! A model of what a network will reach, given what others reached: a Gaussian process over draws and costs.

use crate::{Param, encoding, normal::quantile};
use libm::{exp, log, sqrt};
use nasgen_modules::Distribution;
use std::{cmp::Ordering, collections::HashMap};

/// A network as the model sees it.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// `(column, place)` by rising column.
    draws: Vec<(usize, f64)>,
    /// Logarithms of costs; NaN where unknown.
    costs: Vec<f64>,
}

/// Gives columns to names.
#[derive(Default)]
pub(crate) struct Columns {
    numbers: HashMap<String, usize>,
    /// Whether a column's values are in order, so that some are nearer than others.
    ordered: Vec<bool>,
    cost_names: Vec<String>,
}

impl Columns {
    /// What the model sees of a network.
    pub(crate) fn point<'a>(&mut self, params: &[Param], costs: impl IntoIterator<Item = (&'a str, f64)>) -> Point {
        let mut draws = Vec::with_capacity(params.len());
        for param in params.iter().filter(|param| !encoding::is_single(&param.distribution)) {
            let column = match self.numbers.get(&param.name) {
                Some(column) => *column,
                None => {
                    self.ordered.push(!matches!(param.distribution, Distribution::Choice(_)));
                    self.numbers.insert(param.name.clone(), self.ordered.len() - 1);
                    self.ordered.len() - 1
                }
            };
            if let Some(inner) = encoding::inner(&param.distribution, &param.value) {
                draws.push((column, encoding::place(&param.distribution, inner)));
            }
        }
        draws.sort_by_key(|(column, _)| *column);
        let mut of_name = vec![f64::NAN; self.cost_names.len()];
        for (name, cost) in costs {
            let place = self.cost_names.iter().position(|known| known == name).unwrap_or_else(|| {
                self.cost_names.push(name.to_owned());
                of_name.push(f64::NAN);
                of_name.len() - 1
            });
            of_name[place] = log(cost.max(1e-9));
        }
        Point { draws, costs: of_name }
    }

    /// How different two networks are: 1 for each choice that differs and for each draw that only one has, the
    /// distance for draws in order.
    fn difference(&self, one: &Point, other: &Point) -> f64 {
        let mut sum = 0.0;
        let (mut left, mut right) = (one.draws.iter().peekable(), other.draws.iter().peekable());
        while let (Some((column, own)), Some((others_column, others))) = (left.peek(), right.peek()) {
            match column.cmp(others_column) {
                Ordering::Less => {
                    sum += 1.0;
                    left.next();
                }
                Ordering::Greater => {
                    sum += 1.0;
                    right.next();
                }
                Ordering::Equal => {
                    sum += if self.ordered[*column] { (own - others).abs() } else { f64::from(u8::from(own != others)) };
                    left.next();
                    right.next();
                }
            }
        }
        sum + (left.count() + right.count()) as f64
    }
}

/// What the similarity of two networks follows from.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// The difference at which similarity has fallen to 1/e.
    scale: f64,
    /// How much of the similarity is that of costs.
    cost_share: f64,
    /// What a repeated training differs by, as a variance.
    noise: f64,
}

/// Differences between networks, ready for any kernel.
struct Differences {
    of_draws: f64,
    of_costs: f64,
}

impl Kernel {
    fn similarity(&self, differences: &Differences) -> f64 {
        let by_draws = exp(-differences.of_draws / self.scale);
        (1.0 - self.cost_share) * by_draws + self.cost_share * exp(-differences.of_costs)
    }
}

/// A lower triangle by rows.
struct Triangle {
    size: usize,
    values: Vec<f64>,
}

impl Triangle {
    fn row(&self, row: usize) -> &[f64] {
        let start = row * (row + 1) / 2;
        &self.values[start..=start + row]
    }

    /// The factor L of a positive matrix L·Lᵀ, of which `entry` gives the lower triangle.
    fn factor(size: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let mut factor = Self { size, values: Vec::with_capacity(size * (size + 1) / 2) };
        for row in 0..size {
            let mut own: Vec<f64> = Vec::with_capacity(row + 1);
            for column in 0..row {
                let above = factor.row(column);
                let rest = entry(row, column) - dot(&own, &above[..column]);
                own.push(rest / above[column]);
            }
            let rest = entry(row, row) - dot(&own, &own);
            own.push(sqrt(rest.max(1e-10)));
            factor.values.extend(own);
        }
        factor
    }

    /// x of L·x = b.
    fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x: Vec<f64> = Vec::with_capacity(b.len());
        for (row, value) in b.iter().enumerate() {
            let own = self.row(row);
            x.push((value - dot(&x, &own[..row])) / own[row]);
        }
        x
    }

    /// x of Lᵀ·x = b.
    fn solve_transposed(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        for row in (0..self.size).rev() {
            let own = self.row(row);
            x[row] /= own[row];
            let (before, at) = x.split_at_mut(row);
            for (value, factor) in before.iter_mut().zip(own) {
                *value -= at[0] * factor;
            }
        }
        x
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    // Eight sums at once, so that the processor need not wait for each.
    let mut sums = [0.0; 8];
    let (one_chunks, other_chunks) = (one.chunks_exact(8), other.chunks_exact(8));
    let rest: f64 = one_chunks.remainder().iter().zip(other_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in one_chunks.zip(other_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    rest + sums.iter().sum::<f64>()
}

/// An observation: a network, its value in normal scores (more is better), and how much less certain it is than
/// others, as a variance.
pub(crate) struct Observation {
    /// The network.
    pub(crate) point: Point,
    /// What it reached.
    pub(crate) score: f64,
    /// Noise beside that of all.
    pub(crate) extra_noise: f64,
}

/// A Gaussian process of observations.
pub(crate) struct Surrogate {
    observations: Vec<Observation>,
    kernel: Kernel,
    cost_scales: Vec<f64>,
    factor: Triangle,
    weights: Vec<f64>,
}

/// Kernels that are tried: scales in parts of the mean difference, shares of costs, variances of noise.
const SCALES: [f64; 4] = [0.2, 0.4, 0.8, 1.6];
const COST_SHARES: [f64; 3] = [0.0, 0.3, 0.6];
const NOISES: [f64; 2] = [0.01, 0.1];
/// Observations that decide about the kernel.
const DECIDING: usize = 100;

impl Surrogate {
    /// Fits `observations`; `running` are networks whose values are not known yet, and count as what the others
    /// let expect of them.
    pub(crate) fn fit(columns: &Columns, observations: Vec<Observation>, running: Vec<Point>) -> Self {
        let cost_scales = cost_scales(&observations);
        let kernel = best_kernel(columns, &observations, &cost_scales);
        let known = observations.len();
        let mut surrogate = Self {
            observations,
            kernel,
            cost_scales,
            factor: Triangle { size: 0, values: Vec::new() },
            weights: Vec::new(),
        };
        surrogate.solve(columns);
        let expected: Vec<f64> = running.iter().map(|point| surrogate.predict(columns, point).0).collect();
        let lies = running.into_iter().zip(expected).map(|(point, score)| Observation { point, score, extra_noise: 0.0 });
        surrogate.observations.extend(lies);
        if surrogate.observations.len() > known {
            surrogate.solve(columns);
        }
        surrogate
    }

    fn solve(&mut self, columns: &Columns) {
        let entry = |row: usize, column: usize| self.covariance(columns, row, column);
        self.factor = Triangle::factor(self.observations.len(), entry);
        let scores: Vec<f64> = self.observations.iter().map(|observation| observation.score).collect();
        self.weights = self.factor.solve_transposed(&self.factor.solve(&scores));
    }

    fn covariance(&self, columns: &Columns, row: usize, column: usize) -> f64 {
        let (one, other) = (&self.observations[row], &self.observations[column]);
        if row == column {
            return 1.0 + self.kernel.noise + one.extra_noise;
        }
        self.kernel.similarity(&differences(columns, &self.cost_scales, &one.point, &other.point))
    }

    /// Mean and standard deviation of what `point` will score, noise left out.
    pub(crate) fn predict(&self, columns: &Columns, point: &Point) -> (f64, f64) {
        let similarity = |observation: &Observation| {
            self.kernel.similarity(&differences(columns, &self.cost_scales, &observation.point, point))
        };
        let similarities: Vec<f64> = self.observations.iter().map(similarity).collect();
        let explained = self.factor.solve(&similarities);
        (dot(&similarities, &self.weights), sqrt((1.0 - dot(&explained, &explained)).max(1e-12)))
    }
}

fn differences(columns: &Columns, cost_scales: &[f64], one: &Point, other: &Point) -> Differences {
    let mut of_costs = 0.0;
    for ((own, others), scale) in one.costs.iter().zip(&other.costs).zip(cost_scales) {
        let apart = (own - others) / scale;
        // An unknown cost is as far off as a typical one.
        of_costs += if apart.is_nan() { 1.0 } else { 0.5 * apart * apart };
    }
    Differences { of_draws: columns.difference(one, other), of_costs }
}

/// Typical differences of each cost: its standard deviation; 1 where all are the same.
fn cost_scales(observations: &[Observation]) -> Vec<f64> {
    let most = observations.iter().map(|observation| observation.point.costs.len()).max().unwrap_or(0);
    let scale = |cost: usize| {
        let costs = observations.iter().filter_map(|observation| observation.point.costs.get(cost));
        let known: Vec<f64> = costs.copied().filter(|cost| !cost.is_nan()).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let variance = known.iter().map(|cost| (cost - mean) * (cost - mean)).sum::<f64>() / known.len().max(1) as f64;
        if variance > 1e-12 { sqrt(variance) } else { 1.0 }
    };
    (0..most).map(scale).collect()
}

/// The kernel under which the observations are likeliest.
fn best_kernel(columns: &Columns, observations: &[Observation], cost_scales: &[f64]) -> Kernel {
    let stride = observations.len().div_ceil(DECIDING).max(1);
    let deciding: Vec<&Observation> = observations.iter().step_by(stride).collect();
    let mut known: Vec<Differences> = Vec::new();
    for (row, one) in deciding.iter().enumerate() {
        known.extend(deciding[..row].iter().map(|other| differences(columns, cost_scales, &one.point, &other.point)));
    }
    let mean = known.iter().map(|differences| differences.of_draws).sum::<f64>() / known.len().max(1) as f64;
    let shares: &[f64] = if cost_scales.is_empty() { &COST_SHARES[..1] } else { &COST_SHARES };
    let mut best: Option<(f64, Kernel)> = None;
    for scale in SCALES {
        for cost_share in shares {
            for noise in NOISES {
                let kernel = Kernel { scale: scale * mean.max(1e-6), cost_share: *cost_share, noise };
                let likelihood = log_likelihood(&deciding, &known, &kernel);
                if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
                    best = Some((likelihood, kernel));
                }
            }
        }
    }
    best.map_or(Kernel { scale: 1.0, cost_share: 0.0, noise: 0.1 }, |(_, kernel)| kernel)
}

/// The logarithm of the density of the observations, but for a constant.
fn log_likelihood(observations: &[&Observation], known: &[Differences], kernel: &Kernel) -> f64 {
    let entry = |row: usize, column: usize| match row == column {
        true => 1.0 + kernel.noise + observations[row].extra_noise,
        false => kernel.similarity(&known[row * (row - 1) / 2 + column]),
    };
    let factor = Triangle::factor(observations.len(), entry);
    let scores: Vec<f64> = observations.iter().map(|observation| observation.score).collect();
    let explained = factor.solve(&scores);
    let volume: f64 = (0..factor.size).map(|row| log(factor.row(row)[row])).sum();
    -0.5 * dot(&explained, &explained) - volume
}

/// Normal scores of values of which more is better: the quantiles of their ranks, equals sharing one.
pub(crate) fn normal_scores(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut scores = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|index| values[**index] == values[order[start]]).count().max(1);
        let rank = start as f64 + 0.5 * equal as f64;
        for index in &order[start..start + equal] {
            scores[*index] = quantile(rank / values.len() as f64);
        }
        start += equal;
    }
    scores
}

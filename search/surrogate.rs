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

    /// Where two networks differ, and how much: 1 for a choice that differs and for a draw that only one has, the
    /// distance for draws in order.
    fn each_difference(&self, one: &Point, other: &Point, mut found: impl FnMut(usize, f64)) {
        let (mut left, mut right) = (0, 0);
        while let (Some((column, own)), Some((others_column, others))) = (one.draws.get(left), other.draws.get(right)) {
            match column.cmp(others_column) {
                Ordering::Less => {
                    found(*column, 1.0);
                    left += 1;
                }
                Ordering::Greater => {
                    found(*others_column, 1.0);
                    right += 1;
                }
                Ordering::Equal => {
                    if own != others {
                        found(*column, if self.ordered[*column] { (own - others).abs() } else { 1.0 });
                    }
                    left += 1;
                    right += 1;
                }
            }
        }
        one.draws[left..].iter().chain(&other.draws[right..]).for_each(|(column, _)| found(*column, 1.0));
    }
}

/// What the similarity of two networks follows from.
#[derive(Clone, Debug)]
struct Kernel {
    /// How much a difference in each column matters.
    relevance: Vec<f64>,
    /// The same for columns that no observation has.
    usual_relevance: f64,
    /// How much of the similarity is that of costs.
    cost_share: f64,
    /// What a repeated training differs by, as a variance.
    noise: f64,
}

impl Kernel {
    fn similarity(&self, of_draws: f64, of_costs: f64) -> f64 {
        (1.0 - self.cost_share) * exp(-of_draws) + self.cost_share * exp(-of_costs)
    }

    /// The similarity of any two networks.
    fn compare(&self, columns: &Columns, cost_scales: &[f64], one: &Point, other: &Point) -> f64 {
        let mut of_draws = 0.0;
        columns.each_difference(one, other, |column, difference| {
            of_draws += difference * self.relevance.get(column).unwrap_or(&self.usual_relevance);
        });
        self.similarity(of_draws, cost_difference(cost_scales, one, other))
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

    /// The lower triangle of the inverse of L·Lᵀ.
    fn inverse(&self) -> Self {
        // Rows of the transpose of L⁻¹, from their first value that is not 0 on.
        let columns: Vec<Vec<f64>> = (0..self.size)
            .map(|column| {
                let mut x: Vec<f64> = Vec::with_capacity(self.size - column);
                for row in column..self.size {
                    let own = self.row(row);
                    let unit = f64::from(u8::from(row == column));
                    x.push((unit - dot(&x, &own[column..row])) / own[row]);
                }
                x
            })
            .collect();
        let mut values = Vec::with_capacity(self.values.len());
        for row in 0..self.size {
            values.extend((0..=row).map(|column| dot(&columns[row], &columns[column][row - column..])));
        }
        Self { size: self.size, values }
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
        let lies =
            running.into_iter().zip(expected).map(|(point, score)| Observation { point, score, extra_noise: 0.0 });
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
        self.kernel.compare(columns, &self.cost_scales, &one.point, &other.point)
    }

    /// Mean and standard deviation of what `point` will score, noise left out.
    pub(crate) fn predict(&self, columns: &Columns, point: &Point) -> (f64, f64) {
        let similarity =
            |observation: &Observation| self.kernel.compare(columns, &self.cost_scales, &observation.point, point);
        let similarities: Vec<f64> = self.observations.iter().map(similarity).collect();
        let explained = self.factor.solve(&similarities);
        (dot(&similarities, &self.weights), sqrt((1.0 - dot(&explained, &explained)).max(1e-12)))
    }
}

/// Half the squared distance of the costs, each in its typical difference; an unknown cost is as far as that.
fn cost_difference(cost_scales: &[f64], one: &Point, other: &Point) -> f64 {
    let costs = one.costs.iter().zip(&other.costs).zip(cost_scales);
    let apart = costs.map(|((own, others), scale)| (own - others) / scale);
    apart.map(|apart| if apart.is_nan() { 0.5 } else { 0.5 * apart * apart }).sum()
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

/// The kernel under which the observations are likeliest: of a grid in which all columns are as relevant, then
/// with a relevance for each column.
fn best_kernel(columns: &Columns, observations: &[Observation], cost_scales: &[f64]) -> Kernel {
    let count = observations.len().min(DECIDING);
    let deciding: Vec<&Observation> =
        (0..count).map(|index| &observations[index * observations.len() / count]).collect();
    let pairs = Pairs::new(columns, &deciding, cost_scales);
    let shares: &[f64] = if cost_scales.is_empty() { &COST_SHARES[..1] } else { &COST_SHARES };
    let mut best: Option<(f64, Kernel)> = None;
    for scale in SCALES {
        let usual_relevance = 1.0 / (scale * pairs.mean_difference.max(1e-6));
        let relevance = vec![usual_relevance; columns.ordered.len()];
        let mut kernel = Kernel { relevance, usual_relevance, cost_share: 0.0, noise: 0.0 };
        let by_draws = pairs.by_draws(&kernel);
        for (cost_share, noise) in shares.iter().flat_map(|share| NOISES.map(|noise| (*share, noise))) {
            (kernel.cost_share, kernel.noise) = (cost_share, noise);
            let likelihood = pairs.log_likelihood(&deciding, &kernel, &by_draws);
            if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
                best = Some((likelihood, kernel.clone()));
            }
        }
    }
    let flat = Kernel { relevance: Vec::new(), usual_relevance: 1.0, cost_share: 0.0, noise: 0.1 };
    let kernel = best.map_or(flat, |(_, kernel)| kernel);
    pairs.refine(&deciding, kernel)
}

/// Every pair of the observations that decide about a kernel.
struct Pairs {
    /// `(column, difference)` of all pairs, one after the other.
    differences: Vec<(usize, f64)>,
    /// For each pair where its differences end.
    ends: Vec<usize>,
    /// For each pair how similar its costs are.
    by_costs: Vec<f64>,
    mean_difference: f64,
}

/// Steps towards the likeliest relevances.
const STEPS: usize = 12;
/// How far the logarithm of a relevance is expected from that of the others, as a variance.
const RELEVANCE_VARIANCE: f64 = 1.0;

impl Pairs {
    fn new(columns: &Columns, observations: &[&Observation], cost_scales: &[f64]) -> Self {
        let mut pairs = Self { differences: Vec::new(), ends: Vec::new(), by_costs: Vec::new(), mean_difference: 0.0 };
        for (row, one) in observations.iter().enumerate() {
            for other in &observations[..row] {
                columns.each_difference(&one.point, &other.point, |column, difference| {
                    pairs.differences.push((column, difference));
                });
                pairs.ends.push(pairs.differences.len());
                pairs.by_costs.push(exp(-cost_difference(cost_scales, &one.point, &other.point)));
            }
        }
        let sum: f64 = pairs.differences.iter().map(|(_, difference)| difference).sum();
        pairs.mean_difference = sum / pairs.ends.len().max(1) as f64;
        pairs
    }

    fn of(&self, pair: usize) -> &[(usize, f64)] {
        let start = if pair == 0 { 0 } else { self.ends[pair - 1] };
        &self.differences[start..self.ends[pair]]
    }

    /// For each pair how similar its draws are.
    fn by_draws(&self, kernel: &Kernel) -> Vec<f64> {
        let sum = |pair: usize| {
            self.of(pair).iter().map(|(column, difference)| difference * kernel.relevance[*column]).sum::<f64>()
        };
        (0..self.ends.len()).map(|pair| exp(-sum(pair))).collect()
    }

    fn factor(&self, observations: &[&Observation], kernel: &Kernel, by_draws: &[f64]) -> Triangle {
        Triangle::factor(observations.len(), |row, column| {
            if row == column {
                return 1.0 + kernel.noise + observations[row].extra_noise;
            }
            let pair = row * (row - 1) / 2 + column;
            (1.0 - kernel.cost_share) * by_draws[pair] + kernel.cost_share * self.by_costs[pair]
        })
    }

    /// The logarithm of the density of the observations, but for a constant.
    fn log_likelihood(&self, observations: &[&Observation], kernel: &Kernel, by_draws: &[f64]) -> f64 {
        let factor = self.factor(observations, kernel, by_draws);
        let scores: Vec<f64> = observations.iter().map(|observation| observation.score).collect();
        let explained = factor.solve(&scores);
        let volume: f64 = (0..factor.size).map(|row| log(factor.row(row)[row])).sum();
        -0.5 * dot(&explained, &explained) - volume
    }

    /// `kernel` with likelier relevances: each is moved along the sign of its derivative by a step of its own that
    /// grows while the sign stays and shrinks when it turns (Rprop, Riedmiller and Braun 1993).
    fn refine(&self, observations: &[&Observation], mut kernel: Kernel) -> Kernel {
        if observations.len() < 4 {
            return kernel;
        }
        let usual = log(kernel.usual_relevance);
        let mut logs = vec![usual; kernel.relevance.len()];
        let mut steps = vec![0.25; logs.len()];
        let mut before = vec![0.0; logs.len()];
        for _ in 0..STEPS {
            let derivatives = self.derivatives(observations, &kernel);
            for (column, derivative) in derivatives.into_iter().enumerate() {
                let derivative = derivative - (logs[column] - usual) / RELEVANCE_VARIANCE;
                steps[column] *= if derivative * before[column] >= 0.0 { 1.2 } else { 0.5 };
                before[column] = derivative;
                if derivative != 0.0 {
                    logs[column] += steps[column] * derivative.signum();
                }
                kernel.relevance[column] = exp(logs[column]);
            }
        }
        kernel
    }

    /// Derivatives of the logarithm of the likelihood by the logarithms of the relevances.
    fn derivatives(&self, observations: &[&Observation], kernel: &Kernel) -> Vec<f64> {
        let by_draws = self.by_draws(kernel);
        let factor = self.factor(observations, kernel, &by_draws);
        let scores: Vec<f64> = observations.iter().map(|observation| observation.score).collect();
        let weights = factor.solve_transposed(&factor.solve(&scores));
        let inverse = factor.inverse();
        let mut derivatives = vec![0.0; kernel.relevance.len()];
        let mut pair = 0;
        for row in 0..observations.len() {
            for column in 0..row {
                let pull = weights[row] * weights[column] - inverse.row(row)[column];
                let change = -pull * (1.0 - kernel.cost_share) * by_draws[pair];
                for (column, difference) in self.of(pair) {
                    derivatives[*column] += change * difference * kernel.relevance[*column];
                }
                pair += 1;
            }
        }
        derivatives
    }
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

//! What one more network is expected to gain.

use crate::{Objective, normal::expected_excess, pareto};
use libm::log;

/// Knows the best so far.
///
/// One objective that training finds out: its value is a function of its normal score, linear between observed
/// ones, so that expected gains follow from expected excesses over the observed scores, exactly and in the
/// objective's unit. Objectives known before training cut the space of costs into cells; what a network gains is
/// the excess over the best value in each cell that its costs reach, times the size of the cell.
///
/// Several that training finds out: the mean over a fixed grid of their scores.
pub(crate) struct Gain {
    /// Places of the objectives that training finds out, and of the known ones.
    modelled: Vec<usize>,
    known: Vec<usize>,
    /// For each modelled objective what score has what value.
    curves: Vec<Curve>,
    /// The front: values (more is better) of modelled objectives, costs (less is better) of known ones.
    front: Vec<(Vec<f64>, Vec<f64>)>,
    /// Worst values and costs that count.
    worst: Vec<f64>,
    limits: Vec<f64>,
    costs_are_positive: Vec<bool>,
    directions: Vec<crate::Direction>,
}

/// Observed scores and values, rising; the value is taken as linear between them and beyond the last.
struct Curve {
    scores: Vec<f64>,
    values: Vec<f64>,
    /// How much the value rises with the score after each.
    slopes: Vec<f64>,
}

impl Curve {
    fn new(scores: &[f64], values: &[f64]) -> Self {
        let mut pairs: Vec<(f64, f64)> = scores.iter().copied().zip(values.iter().copied()).collect();
        pairs.retain(|(_, value)| value.is_finite());
        pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
        pairs.dedup_by(|one, other| one.0 == other.0);
        let (scores, values): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let slope = |from: usize, to: usize| {
            let rise = values[to] - values[from];
            if to > from { rise / (scores[to] - scores[from]) } else { 1.0 }
        };
        let last = scores.len().saturating_sub(1);
        let mut slopes: Vec<f64> = (0..last).map(|index| slope(index, index + 1)).collect();
        if !scores.is_empty() {
            // Beyond the best the curve goes on as it did over the best tenth.
            slopes.push(slope(last - (last / 10).max(1).min(last), last).max(1e-9));
        }
        Self { scores, values, slopes }
    }

    /// For each observed value how much a normal score is expected to exceed it, in values.
    fn excesses(&self, mean: f64, deviation: f64) -> Vec<f64> {
        let mut excesses = vec![0.0; self.scores.len()];
        let mut beyond = 0.0;
        let mut sum = 0.0;
        for index in (0..self.scores.len()).rev() {
            let excess = expected_excess(mean, deviation, self.scores[index]);
            sum += self.slopes[index] * (excess - beyond);
            beyond = excess;
            excesses[index] = sum;
        }
        excesses
    }

    /// The expected excess over `value`, given those over the observed ones.
    fn excess_over(&self, value: f64, excesses: &[f64]) -> f64 {
        let index = self.values.partition_point(|known| *known < value);
        match excesses.get(index) {
            Some(excess) => *excess,
            None => excesses.last().copied().unwrap_or(0.0),
        }
    }

    /// The value of a score.
    fn value(&self, score: f64) -> f64 {
        let index = self.scores.partition_point(|known| *known <= score).max(1) - 1;
        match self.scores.get(index) {
            Some(at) => self.values[index] + (score - at) * self.slopes[index],
            None => score,
        }
    }
}

impl Gain {
    /// Over what was reached: losses of every objective, and the normal scores of the modelled ones.
    pub(crate) fn new(objectives: &[Objective], losses: &[Vec<f64>], scores: &[Vec<f64>]) -> Self {
        let places = |known: bool| (0..objectives.len()).filter(move |place| objectives[*place].known == known);
        let (modelled, known): (Vec<usize>, Vec<usize>) = (places(false).collect(), places(true).collect());
        let column = |place: usize| losses.iter().map(|losses| losses[place]).collect::<Vec<f64>>();
        let curve = |(place, scores): (&usize, &Vec<f64>)| {
            Curve::new(scores, &column(*place).iter().map(|loss| -loss).collect::<Vec<_>>())
        };
        let curves: Vec<Curve> = modelled.iter().zip(scores).map(curve).collect();
        let positive = |place: &usize| column(*place).iter().all(|cost| *cost > 0.0);
        let costs_are_positive: Vec<bool> = known.iter().map(positive).collect();
        let mut gain = Self {
            directions: objectives.iter().map(|objective| objective.direction).collect(),
            modelled,
            known,
            curves,
            front: Vec::new(),
            worst: Vec::new(),
            limits: Vec::new(),
            costs_are_positive,
        };
        let finite: Vec<&Vec<f64>> =
            losses.iter().filter(|losses| losses.iter().all(|loss| loss.is_finite())).collect();
        let costs: Vec<Vec<f64>> = finite.iter().map(|losses| gain.costs_of(losses)).collect();
        let values: Vec<Vec<f64>> =
            finite.iter().map(|losses| gain.modelled.iter().map(|place| -losses[*place]).collect()).collect();
        let least = |rows: &[Vec<f64>], place: usize| rows.iter().map(|row| row[place]).fold(f64::INFINITY, f64::min);
        let most =
            |rows: &[Vec<f64>], place: usize| rows.iter().map(|row| row[place]).fold(f64::NEG_INFINITY, f64::max);
        gain.worst = (0..gain.modelled.len()).map(|place| least(&values, place)).collect();
        gain.limits = (0..gain.known.len())
            .map(|place| {
                let (low, high) = (least(&costs, place), most(&costs, place));
                high + 0.05 * (high - low).max(1e-9)
            })
            .collect();
        for index in pareto::front(&finite) {
            gain.front.push((values[index].clone(), costs[index].clone()));
        }
        gain
    }

    /// Costs in logarithms where they can be: a tenth less is as good for a small network as for a large one.
    fn costs_of(&self, losses: &[f64]) -> Vec<f64> {
        let scaled = |(place, positive): (&usize, &bool)| {
            if *positive { log(losses[*place].max(1e-300)) } else { losses[*place] }
        };
        self.known.iter().zip(&self.costs_are_positive).map(scaled).collect()
    }

    /// The expected gain of a network whose modelled objectives have these means and deviations of scores.
    pub(crate) fn expected(&self, scores: &[(f64, f64)], known: &[Option<f64>]) -> f64 {
        let mut losses = vec![f64::INFINITY; self.directions.len()];
        for place in &self.known {
            let value = known.get(*place).copied().flatten();
            losses[*place] = value.map_or(f64::INFINITY, |value| self.directions[*place].to_minimize(value));
        }
        let costs = self.costs_of(&losses);
        match (&self.curves[..], &self.known[..]) {
            ([curve], known) if known.len() <= 2 => {
                let excesses = curve.excesses(scores[0].0, scores[0].1);
                self.over_cells(&costs, |best| curve.excess_over(best, &excesses))
            }
            _ => self.over_grid(scores, &costs),
        }
    }

    /// The sum over the cells of costs that `costs` reach, of size times excess over the best value there.
    fn over_cells(&self, costs: &[f64], excess: impl Fn(f64) -> f64) -> f64 {
        let mut edges: Vec<Vec<f64>> = Vec::new();
        for (place, own) in costs.iter().enumerate() {
            let limit = self.limits[place].max(*own + 0.02 * (self.limits[place] - own).abs());
            let mut at: Vec<f64> =
                self.front.iter().map(|(_, costs)| costs[place]).filter(|edge| edge > own && *edge < limit).collect();
            at.push(*own);
            at.push(limit);
            at.sort_by(f64::total_cmp);
            at.dedup();
            edges.push(at);
        }
        let best_within = |corner: &[f64]| {
            let reached =
                self.front.iter().filter(|(_, costs)| costs.iter().zip(corner).all(|(own, edge)| own <= edge));
            reached.map(|(values, _)| values[0]).fold(self.worst[0], f64::max)
        };
        match &edges[..] {
            [] => excess(best_within(&[])),
            [only] => only.windows(2).map(|edge| (edge[1] - edge[0]) * excess(best_within(&edge[..1]))).sum(),
            [first, second, ..] => {
                let row = |one: &[f64]| -> f64 {
                    let cell = |other: &[f64]| (other[1] - other[0]) * excess(best_within(&[one[0], other[0]]));
                    (one[1] - one[0]) * second.windows(2).map(cell).sum::<f64>()
                };
                first.windows(2).map(row).sum()
            }
        }
    }

    /// The mean growth of the dominated volume over a grid of scores, seven for each modelled objective.
    fn over_grid(&self, scores: &[(f64, f64)], costs: &[f64]) -> f64 {
        // Middles of sevenths of the normal distribution.
        const QUANTILES: [f64; 7] = [-1.4652, -0.7916, -0.3661, 0.0, 0.3661, 0.7916, 1.4652];
        let point =
            |values: &[f64], costs: &[f64]| values.iter().map(|value| -value).chain(costs.iter().copied()).collect();
        let front: Vec<Vec<f64>> = self.front.iter().map(|(values, costs)| point(values, costs)).collect();
        let reference: Vec<f64> = self.worst.iter().map(|value| -value).chain(self.limits.iter().copied()).collect();
        let before = pareto::hypervolume(&front, &reference);
        let cells = QUANTILES.len().pow(scores.len().min(3) as u32);
        let sum: f64 = (0..cells)
            .map(|cell| {
                let value = |(place, (mean, deviation)): (usize, &(f64, f64))| {
                    let digit = cell / QUANTILES.len().pow(place.min(2) as u32) % QUANTILES.len();
                    self.curves[place].value(mean + deviation * QUANTILES[digit])
                };
                let values: Vec<f64> = scores.iter().enumerate().map(value).collect();
                let mut with = front.clone();
                with.push(point(&values, costs));
                pareto::hypervolume(&with, &reference) - before
            })
            .sum();
        sum / cells as f64
    }
}

//! What one more network is expected to gain.

use crate::{Direction, Objective, normal::expected_excess, pareto};
use libm::log;

/// Knows the best so far.
///
/// Objectives that training finds out count in normal scores, so that steps among the good are as large as elsewhere
/// whatever the unit; objectives known before training in logarithms where they can, so that a tenth less is as good
/// for a small network as for a large one.
///
/// One objective that training finds out: the known ones cut the space of costs into cells. A network gains in each
/// cell that its costs reach what its score is expected to exceed the best one there by, times the size of the cell:
/// the expected growth of the dominated volume, exactly (without known ones: the expected improvement). Several: the
/// mean growth over a fixed grid of their scores.
pub(crate) struct Gain {
    /// Places of the objectives known before training.
    known: Vec<usize>,
    /// Whether each of them has a logarithm.
    positive: Vec<bool>,
    directions: Vec<Direction>,
    /// What the best networks reached.
    front: Vec<Reached>,
    /// The scores above which a network counts, and the costs below which.
    worst_scores: Vec<f64>,
    limits: Vec<f64>,
}

/// Scores, of which more is better, and costs, of which less is.
struct Reached {
    scores: Vec<f64>,
    costs: Vec<f64>,
}

impl Reached {
    /// As a point of which less is better.
    fn point(&self) -> Vec<f64> {
        self.scores.iter().map(|score| -score).chain(self.costs.iter().copied()).collect()
    }
}

impl Gain {
    /// Over what was reached: for each network the losses of every objective, and for each objective that training
    /// finds out the scores of the networks.
    pub(crate) fn new(objectives: &[Objective], losses: &[Vec<f64>], scores: &[Vec<f64>]) -> Self {
        let known: Vec<usize> = (0..objectives.len()).filter(|place| objectives[*place].known).collect();
        let mut gain = Self {
            positive: known.iter().map(|place| losses.iter().all(|losses| losses[*place] > 0.0)).collect(),
            known,
            directions: objectives.iter().map(|objective| objective.direction).collect(),
            front: Vec::new(),
            worst_scores: scores.iter().map(|scores| least(scores.iter().copied())).collect(),
            limits: Vec::new(),
        };
        let reached = |(index, losses): (usize, &Vec<f64>)| Reached {
            scores: scores.iter().map(|scores| scores[index]).collect(),
            costs: gain.costs(losses),
        };
        let mut all: Vec<Reached> = losses.iter().enumerate().map(reached).collect();
        all.retain(|reached| reached.costs.iter().all(|cost| cost.is_finite()));
        let limit = |place: usize| {
            let low = least(all.iter().map(|reached| reached.costs[place]));
            let high = -least(all.iter().map(|reached| -reached.costs[place]));
            high + 0.05 * (high - low).max(1e-9)
        };
        gain.limits = (0..gain.known.len()).map(limit).collect();
        let points: Vec<Vec<f64>> = all.iter().map(Reached::point).collect();
        let best = pareto::front(&points);
        let mut is_best = (0..all.len()).map(|index| best.binary_search(&index).is_ok());
        all.retain(|_| is_best.next().unwrap_or(false));
        gain.front = all;
        gain
    }

    fn costs(&self, losses: &[f64]) -> Vec<f64> {
        let scaled = |(place, positive): (&usize, &bool)| {
            if *positive { log(losses[*place].max(1e-300)) } else { losses[*place] }
        };
        self.known.iter().zip(&self.positive).map(scaled).collect()
    }

    /// The expected gain of a network with these means and deviations of scores, and these objectives known.
    pub(crate) fn expected(&self, scores: &[(f64, f64)], known: &[Option<f64>]) -> f64 {
        let mut losses = vec![f64::INFINITY; self.directions.len()];
        for place in &self.known {
            let value = known.get(*place).copied().flatten();
            losses[*place] = value.map_or(f64::INFINITY, |value| self.directions[*place].to_minimize(value));
        }
        let costs = self.costs(&losses);
        match scores {
            [(mean, deviation)] if self.known.len() <= 2 => {
                self.over_cells(&costs, |best| expected_excess(*mean, *deviation, best))
            }
            _ => self.over_grid(scores, &costs),
        }
    }

    /// The sum over the cells of costs that `costs` reach, of size times excess over the best score there.
    fn over_cells(&self, costs: &[f64], excess: impl Fn(f64) -> f64) -> f64 {
        let edges = |(place, own): (usize, &f64)| {
            // What costs more than anything before counts a little.
            let limit = self.limits[place].max(own + 0.02 * (self.limits[place] - own).abs());
            let of_front = self.front.iter().map(|reached| reached.costs[place]);
            let mut edges: Vec<f64> =
                of_front.filter(|edge| edge > own && *edge < limit).chain([*own, limit]).collect();
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            edges
        };
        let edges: Vec<Vec<f64>> = costs.iter().enumerate().map(edges).collect();
        let excess_at = |corner: &[f64]| {
            let within = |reached: &&Reached| reached.costs.iter().zip(corner).all(|(own, edge)| own <= edge);
            let best = self.front.iter().filter(within).map(|reached| reached.scores[0]);
            excess(best.fold(self.worst_scores[0], f64::max))
        };
        match &edges[..] {
            [] => excess_at(&[]),
            [only] => only.windows(2).map(|edge| (edge[1] - edge[0]) * excess_at(&edge[..1])).sum(),
            [first, second, ..] => {
                let row = |one: &[f64]| {
                    let cell = |other: &[f64]| (other[1] - other[0]) * excess_at(&[one[0], other[0]]);
                    (one[1] - one[0]) * second.windows(2).map(cell).sum::<f64>()
                };
                first.windows(2).map(row).sum()
            }
        }
    }

    /// The mean growth of the dominated volume over a grid of scores, seven for each objective up to the third.
    fn over_grid(&self, scores: &[(f64, f64)], costs: &[f64]) -> f64 {
        // Middles of sevenths of the normal distribution.
        const QUANTILES: [f64; 7] = [-1.4652, -0.7916, -0.3661, 0.0, 0.3661, 0.7916, 1.4652];
        let mut points: Vec<Vec<f64>> = self.front.iter().map(Reached::point).collect();
        let reference: Vec<f64> =
            self.worst_scores.iter().map(|score| -score).chain(self.limits.iter().copied()).collect();
        let before = pareto::hypervolume(&points, &reference);
        let cells = QUANTILES.len().pow(scores.len().min(3) as u32);
        let growth = |cell: usize| {
            let score = |(place, (mean, deviation)): (usize, &(f64, f64))| {
                let digit = cell / QUANTILES.len().pow(place.min(2) as u32) % QUANTILES.len();
                mean + deviation * QUANTILES[digit]
            };
            let scores = scores.iter().enumerate().map(score).collect();
            points.push(Reached { scores, costs: costs.to_vec() }.point());
            let growth = pareto::hypervolume(&points, &reference) - before;
            points.pop();
            growth
        };
        (0..cells).map(growth).sum::<f64>() / cells as f64
    }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::quantile;

    fn objective(known: bool) -> Objective {
        Objective { name: String::new(), direction: Direction::Minimize, known }
    }

    /// What a network gains is what the volume grows by, averaged over what it may score.
    #[test]
    fn expected_gains_are_mean_growths_of_the_volume() {
        let scores = [vec![-1.0, 0.2, 0.9, 0.5]];
        for known in [1, 2] {
            let costs = [[10.0, 3.0], [20.0, 9.0], [70.0, 30.0], [40.0, 1.0]];
            let losses: Vec<Vec<f64>> =
                (0..4).map(|index| [vec![-scores[0][index]], costs[index][..known].to_vec()].concat()).collect();
            let objectives: Vec<Objective> = (0..=known).map(|place| objective(place > 0)).collect();
            let gain = Gain::new(&objectives, &losses, &scores);
            let mut points: Vec<Vec<f64>> = gain.front.iter().map(Reached::point).collect();
            let reference = [vec![1.0], gain.limits.clone()].concat();
            let before = pareto::hypervolume(&points, &reference);
            let (mean, deviation, own) = (0.6, 0.7, [30.0, 5.0]);
            let steps = 20_000;
            let mut sum = 0.0;
            for step in 0..steps {
                let score = mean + deviation * quantile((f64::from(step) + 0.5) / f64::from(steps));
                points.push([vec![-score], own[..known].iter().map(|cost: &f64| cost.ln()).collect()].concat());
                sum += pareto::hypervolume(&points, &reference) - before;
                points.pop();
            }
            let known_values: Vec<Option<f64>> =
                [None].into_iter().chain(own[..known].iter().map(|cost| Some(*cost))).collect();
            let got = gain.expected(&[(mean, deviation)], &known_values);
            let wanted = sum / f64::from(steps);
            assert!((got - wanted).abs() < 1e-4 * wanted, "{known} known: {got}, sampled {wanted}");
            // The grid is coarse, and agrees roughly.
            let costs: Vec<f64> = own[..known].iter().map(|cost| cost.ln()).collect();
            let coarse = gain.over_grid(&[(mean, deviation)], &costs);
            assert!((coarse - wanted).abs() < 0.1 * wanted, "{known} known: {coarse}, sampled {wanted}");
        }
    }
}

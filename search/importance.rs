//! Which draws matter.

use crate::{History, State, Trial, encoding, normal::log_mass_between, pareto};
use libm::{ceil, exp, log, pow, sqrt};
use nasgen_modules::Distribution;
use std::collections::BTreeMap;

/// The part of the trials that counts as good.
const GOOD: f64 = 0.1;
/// Points of a grid over a continuum.
const MOST_POINTS: usize = 50;
/// A distribution that fewer trials drew from says nothing.
const LEAST_TRIALS: usize = 2;

/// How much each draw had to do with being among the best tenth, by name, the most important first: PED-ANOVA
/// (Watanabe et al. 2023, arXiv:2304.10255, for draws that do not always come up with Watanabe et al.'s conditional
/// form; the numbers are those of Optuna 5's `PedAnovaImportanceEvaluator`, not normalised). Good are the trials that
/// are as good as the last of the best tenth; with several objectives a tenth by rank of domination and hypervolume.
///
/// Every name that a complete trial drew is there; all have 0 when fewer than two trials are complete.
pub fn importances(history: History<'_>) -> Vec<(String, f64)> {
    let finite = |trial: &&Trial| trial.values.iter().all(|value| value.is_finite());
    let trials: Vec<&Trial> = history.in_states(&[State::Complete]).filter(finite).collect();
    let good = good_trials(history, &trials);
    let mut names: BTreeMap<&str, f64> = BTreeMap::new();
    for param in history.complete().flat_map(|trial| &trial.params) {
        names.entry(&param.name).or_insert(0.0);
    }
    if trials.len() > 1 {
        for (name, importance) in &mut names {
            *importance = importance_of(name, &trials, &good);
        }
    }
    let mut sorted: Vec<(String, f64)> = names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
    sorted
}

/// Whether each trial is good.
fn good_trials(history: History<'_>, trials: &[&Trial]) -> Vec<bool> {
    let losses: Vec<Vec<f64>> = trials.iter().map(|trial| history.losses(trial)).collect();
    let count = ceil(GOOD * trials.len() as f64) as usize;
    let best = pareto::select_best(&losses, count);
    let mut good = vec![false; trials.len()];
    match (history.objectives.len(), best.last()) {
        (1, Some(last)) => {
            let limit = losses[*last][0];
            good.iter_mut().zip(&losses).for_each(|(good, losses)| *good = losses[0] <= limit);
        }
        _ => best.into_iter().for_each(|place| good[place] = true),
    }
    good
}

/// Over the distributions that `name` had: how differently good trials drew from all.
fn importance_of(name: &str, trials: &[&Trial], good: &[bool]) -> f64 {
    let good_count = good.iter().filter(|good| **good).count() as f64;
    let part_good = good_count / trials.len() as f64;
    let mut importance = 0.0;
    for (distribution, members) in by_distribution(name, trials) {
        let of_good: Vec<f64> = members.iter().filter(|(place, _)| good[*place]).map(|(_, value)| *value).collect();
        if members.len() < LEAST_TRIALS || of_good.is_empty() || encoding::is_single(distribution) {
            continue;
        }
        let all: Vec<f64> = members.iter().map(|(_, value)| *value).collect();
        let (good_share, share) = (of_good.len() as f64 / good_count, all.len() as f64 / trials.len() as f64);
        importance += good_share * good_share / share * divergence(distribution, &of_good, &all);
    }
    importance * part_good * part_good
}

/// The trials that drew `name`, as `(place, inner number)`, by the distribution that they drew from.
fn by_distribution<'a>(name: &str, trials: &[&'a Trial]) -> Vec<(&'a Distribution, Vec<(usize, f64)>)> {
    let mut groups: Vec<(&Distribution, Vec<(usize, f64)>)> = Vec::new();
    for (place, trial) in trials.iter().enumerate() {
        let Some(param) = trial.param(name) else { continue };
        let Some(value) = encoding::inner(&param.distribution, &param.value) else { continue };
        match groups.iter_mut().find(|(known, _)| **known == param.distribution) {
            Some((_, members)) => members.push((place, value)),
            None => groups.push((&param.distribution, vec![(place, value)])),
        }
    }
    groups
}

/// Pearson's divergence of the density of `good` from that of `all`, on a grid.
fn divergence(distribution: &Distribution, good: &[f64], all: &[f64]) -> f64 {
    let good = density(distribution, &counts(distribution, good));
    let all = density(distribution, &counts(distribution, all));
    let term = |(good, all): (&f64, &f64)| {
        let (good, all) = (good + 1e-12, all + 1e-12);
        all * (good / all - 1.0) * (good / all - 1.0)
    };
    good.iter().zip(&all).map(term).sum()
}

/// How many of `values` are nearest to each point of a grid over `distribution`; those in the middle belong to the
/// lower one.
fn counts(distribution: &Distribution, values: &[f64]) -> Vec<f64> {
    let points = match *distribution {
        Distribution::Choice(ref choices) => choices.len(),
        Distribution::Int { low, high, log: true, .. } => {
            (ceil(log((high - low + 1) as f64) / log(2.0)) as usize + 1).min(MOST_POINTS)
        }
        Distribution::Float { low, high, step: Some(step), .. } => {
            (libm::rint((high - low) / step) as usize + 1).min(MOST_POINTS)
        }
        _ => distribution.count().map_or(MOST_POINTS, |count| (count as usize).min(MOST_POINTS)),
    };
    let mut counts = vec![0.0; points];
    for value in values {
        let index = match distribution {
            Distribution::Choice(_) => *value as usize,
            _ => ceil(encoding::place(distribution, *value) * (points - 1) as f64 - 0.5).max(0.0) as usize,
        };
        counts[index.min(points - 1)] += 1.0;
    }
    counts
}

/// The probability of each point: a kernel at each point that was drawn, as heavy as often, and one over all with
/// the weight of one draw.
fn density(distribution: &Distribution, counts: &[f64]) -> Vec<f64> {
    let observed: Vec<(f64, f64)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0.0)
        .map(|(point, count)| (point as f64, *count))
        .collect();
    let drawn: f64 = counts.iter().sum();
    let points = counts.len() as f64;
    let kernel: Box<dyn Fn(f64, f64) -> f64> = match distribution {
        Distribution::Choice(_) => {
            let rest = 1.0 / (observed.len() + 1) as f64;
            Box::new(move |center, point| (rest + f64::from(u8::from(center == point))) / (1.0 + rest * points))
        }
        _ => {
            let deviation = bandwidth(&observed, drawn);
            Box::new(move |center, point| mass(center, deviation, point, points))
        }
    };
    let whole = |point: f64| match distribution {
        Distribution::Choice(_) => 1.0 / points,
        _ => mass(0.5 * (points - 1.0), points, point, points),
    };
    let at = |point: usize| {
        let point = point as f64;
        let kernels: f64 = observed.iter().map(|(center, count)| count * kernel(*center, point)).sum();
        (kernels + whole(point)) / (drawn + 1.0)
    };
    (0..counts.len()).map(at).collect()
}

/// What a normal kernel gives to one of `points` points, of what it gives to all.
fn mass(center: f64, deviation: f64, point: f64, points: f64) -> f64 {
    let between = |low: f64, high: f64| log_mass_between((low - center) / deviation, (high - center) / deviation);
    exp(between(point - 0.5, point + 0.5) - between(-0.5, points - 0.5))
}

/// Scott's rule (1992) by the smaller of deviation and quartiles, at least so wide that a point keeps nine tenths of
/// its kernel.
fn bandwidth(observed: &[(f64, f64)], drawn: f64) -> f64 {
    let mean = observed.iter().map(|(point, count)| point * count).sum::<f64>() / drawn;
    let squares: f64 = observed.iter().map(|(point, count)| (point - mean) * (point - mean) * count).sum();
    let deviation = sqrt(squares / (drawn - 1.0).max(1.0));
    let mut before = 0.0;
    let cumulative: Vec<f64> = observed
        .iter()
        .map(|(_, count)| {
            before += count;
            before
        })
        .collect();
    let first = cumulative.partition_point(|sum| *sum < (drawn / 4.0).floor());
    let third = cumulative.partition_point(|sum| *sum <= (drawn * 3.0 / 4.0).floor()).min(observed.len() - 1);
    let quartiles = (observed[third].0 - observed[first].0) / 1.34;
    (1.059 * quartiles.min(deviation) * pow(drawn, -0.2)).max(0.5 / 1.64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Study, assert_near, load, number};

    #[test]
    fn importances_are_those_of_optuna() {
        for (case_number, case) in load("importances").as_array().unwrap().iter().enumerate() {
            let study = Study::read(&case["study"]);
            let own = importances(study.history());
            let wanted = case["importances"].as_object().unwrap();
            assert_eq!(own.len(), wanted.len(), "case {case_number}");
            for (name, value) in &own {
                assert_near(*value, number(&wanted[name]), &format!("{name} in case {case_number}"));
            }
            assert!(own.is_sorted_by(|one, other| one.1 >= other.1), "{own:?}");
        }
    }
}

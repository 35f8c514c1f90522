//! Which trials are better than which.

use crate::{History, State, Trial, pareto};
use std::cmp::Ordering;

/// What a trial is to a sampler that learns from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It has its values, and keeps the constraints.
    Complete,
    /// It was stopped early, or is set aside: its last report is known.
    Curtailed,
    /// It breaks a constraint.
    Infeasible,
    /// It is being trained: only what was drawn is known.
    Running,
}

impl Evidence {
    /// What `trial` is; `None` if nothing can be learnt from it.
    pub(crate) fn of(trial: &Trial) -> Option<Self> {
        match trial.state {
            State::Running if !trial.paused => Some(Self::Running),
            State::Fail | State::Waiting => None,
            _ if trial.violation() > 0.0 => Some(Self::Infeasible),
            State::Complete => Some(Self::Complete),
            _ => Some(Self::Curtailed),
        }
    }
}

/// The trials that something can be learnt from, but for `number`, in order.
pub(crate) fn informative(history: History<'_>, number: u64) -> Vec<&Trial> {
    let others = history.trials.iter().filter(|trial| trial.number != number);
    others.filter(|trial| Evidence::of(trial).is_some()).collect()
}

/// Those of them that do not run any more, and those that do.
pub(crate) fn ended_and_running(history: History<'_>, number: u64) -> (Vec<&Trial>, Vec<&Trial>) {
    informative(history, number).into_iter().partition(|trial| trial.state != State::Running || trial.paused)
}

/// How far a trial that did not end came, and how it stood there: less is better. The last report of the first
/// objective at the last step; a NaN is worst there, and no report worst of all.
pub(crate) fn progress(history: History<'_>, trial: &Trial) -> (f64, f64) {
    match trial.reports.last() {
        Some((step, value)) if value.is_nan() => (-(*step as f64), f64::INFINITY),
        Some((step, value)) => (-(*step as f64), history.objectives[0].direction.to_minimize(*value)),
        None => (1.0, 0.0),
    }
}

/// The `count` best, the best first: what has its values by them (several objectives: by rank of domination, within
/// a rank the lonelier first), then what was stopped early, the farther the better, then what breaks constraints,
/// the less the better. Running trials are left out. Ties keep the order of the numbers.
pub(crate) fn best_first<'a>(history: History<'_>, trials: &[&'a Trial], count: usize) -> Vec<&'a Trial> {
    let (mut complete, mut curtailed, mut infeasible) = (Vec::new(), Vec::new(), Vec::new());
    for trial in trials.iter().copied() {
        match Evidence::of(trial) {
            Some(Evidence::Complete) => complete.push(trial),
            Some(Evidence::Curtailed) => curtailed.push(trial),
            Some(Evidence::Infeasible) => infeasible.push(trial),
            Some(Evidence::Running) | None => {}
        }
    }
    let mut ordered = best_complete(history, &complete, count);
    curtailed.sort_by_cached_key(|trial| OrderedPair(progress(history, trial)));
    infeasible.sort_by(|one, other| one.violation().total_cmp(&other.violation()));
    ordered.extend(curtailed);
    ordered.extend(infeasible);
    ordered.truncate(count);
    ordered
}

/// Two numbers that are compared in turn.
#[derive(PartialEq)]
struct OrderedPair((f64, f64));

impl Eq for OrderedPair {}

impl PartialOrd for OrderedPair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedPair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.0.total_cmp(&other.0.0).then(self.0.1.total_cmp(&other.0.1))
    }
}

/// The `count` best of complete trials, the best first.
fn best_complete<'a>(history: History<'_>, trials: &[&'a Trial], count: usize) -> Vec<&'a Trial> {
    let losses: Vec<Vec<f64>> = trials.iter().map(|trial| history.losses(trial)).collect();
    let mut places: Vec<usize> = (0..trials.len()).collect();
    if history.objectives.len() == 1 {
        places.sort_by(|one, other| losses[*one][0].total_cmp(&losses[*other][0]));
    } else {
        places.clear();
        let ranks = pareto::ranks(&losses, count);
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); ranks.iter().max().map_or(0, |last| last + 1)];
        ranks.iter().enumerate().for_each(|(place, rank)| members[*rank].push(place));
        for members in members {
            if places.len() >= count {
                break;
            }
            let points: Vec<&[f64]> = members.iter().map(|place| losses[*place].as_slice()).collect();
            let loneliness = pareto::crowding_distances(&points);
            let mut order: Vec<usize> = (0..members.len()).collect();
            order.sort_by(|one, other| loneliness[*other].total_cmp(&loneliness[*one]));
            places.extend(order.into_iter().map(|index| members[index]));
        }
    }
    places.into_iter().take(count).map(|place| trials[place]).collect()
}

/// The losses that each trial came to, or may be expected to have come to, with how uncertain they are: a variance
/// of normal scores beside that of a complete trial. What was stopped early counts as the complete trials did that
/// stood as it did at its last step; what breaks constraints, as the worst.
pub(crate) fn final_losses(history: History<'_>, trials: &[&Trial]) -> Vec<(Vec<f64>, f64)> {
    const CURTAILED: f64 = 0.3;
    let complete: Vec<&Trial> =
        trials.iter().copied().filter(|trial| Evidence::of(trial) == Some(Evidence::Complete)).collect();
    let worst =
        |place: usize| complete.iter().map(|trial| history.losses(trial)[place]).fold(f64::NEG_INFINITY, f64::max);
    let known_loss = |trial: &Trial, place: usize| {
        let objective = &history.objectives[place];
        let known = trial.known().get(place).copied().flatten();
        known.map_or_else(|| worst(place), |value| objective.direction.to_minimize(value))
    };
    let of = |trial: &&Trial| match Evidence::of(trial) {
        Some(Evidence::Complete) => (history.losses(trial), 0.0),
        Some(Evidence::Curtailed) => {
            let mut losses: Vec<f64> = (0..history.objectives.len()).map(|place| known_loss(trial, place)).collect();
            losses[0] = expected_final(history, trial, &complete).unwrap_or_else(|| worst(0));
            (losses, CURTAILED)
        }
        _ => (
            (0..history.objectives.len())
                .map(|place| if history.objectives[place].known { known_loss(trial, place) } else { worst(place) })
                .collect(),
            CURTAILED,
        ),
    };
    trials.iter().map(of).collect()
}

/// What a trial would have come to if it went on as the complete ones that stood like it at its last step: between two
/// of these in proportion, beyond them by as much as it was beyond them then. Its last report itself while there
/// are none. So of two that were stopped at the same step the better one stays the better one.
fn expected_final(history: History<'_>, trial: &Trial, complete: &[&Trial]) -> Option<f64> {
    let loss = |value: f64| history.objectives[0].direction.to_minimize(value);
    let &(step, value) = trial.reports.iter().rfind(|(_, value)| value.is_finite())?;
    let own = loss(value);
    let compared = complete.iter().filter_map(|other| {
        let then = other.report_at(step).filter(|value| value.is_finite())?;
        Some((loss(then), history.losses(other)[0]))
    });
    let (mut then, mut finally): (Vec<f64>, Vec<f64>) = compared.unzip();
    then.sort_by(f64::total_cmp);
    finally.sort_by(f64::total_cmp);
    let better = then.partition_point(|other| *other < own);
    Some(match (better.checked_sub(1), then.get(better)) {
        (None, None) => own,
        (None, Some(next)) => finally[0] + (own - next),
        (Some(last), None) => finally[last] + (own - then[last]),
        (Some(before), Some(next)) => {
            let part = (own - then[before]) / (next - then[before]);
            finally[before] + part * (finally[better] - finally[before])
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Objective, fixtures::empty_trial};

    #[test]
    fn what_was_stopped_early_is_expected_where_it_stood() {
        let objectives = [Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false }];
        let trial = |number: u64, state: State, reports: &[f64]| {
            let mut trial = empty_trial(number, state);
            trial.reports = (1..).zip(reports.iter().copied()).collect();
            trial.values =
                if state == State::Complete { reports.last().copied().into_iter().collect() } else { vec![] };
            trial
        };
        let trials = [
            trial(0, State::Complete, &[0.3, 0.6]),
            trial(1, State::Complete, &[0.4, 0.8]),
            trial(2, State::Pruned, &[0.35]),
            trial(3, State::Pruned, &[0.2]),
            trial(4, State::Pruned, &[0.1]),
            trial(5, State::Pruned, &[0.5]),
            trial(6, State::Pruned, &[0.4]),
        ];
        let history = History { study: "s", objectives: &objectives, trials: &trials };
        let all: Vec<&Trial> = trials.iter().collect();
        let accuracies: Vec<f64> = final_losses(history, &all).into_iter().map(|(losses, _)| -losses[0]).collect();
        for (accuracy, expected) in accuracies.iter().zip([0.6, 0.8, 0.7, 0.5, 0.4, 0.9, 0.8]) {
            assert!((accuracy - expected).abs() < 1e-12, "{accuracies:?}");
        }
        let unfinished = final_losses(history, &all[2..3]);
        assert_eq!(unfinished[0].0, [-0.35], "nothing to compare with");
    }
}

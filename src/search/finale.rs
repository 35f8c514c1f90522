//! The last step of a search: the best few, trained again with several seeds, and whether they really differ.

use super::checkpoints::{better, furthest, ranking};
use nasgen_search::{Objective, State, Trial};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Two finalists differ if chance alone would make them differ as much in fewer cases than this.
pub const SIGNIFICANCE: f64 = 0.05;

/// The numbers of the best trials, the best first; trials that are the same training count once. Where too few are
/// complete, those that came farthest follow.
pub fn finalists(trials: &[Trial], objectives: &[Objective], count: usize) -> Vec<u64> {
    let complete = ranking(trials, objectives).into_iter().map(|trial| trial.number);
    complete.chain(furthest(trials, objectives)).take(count).collect()
}

/// How much the last step trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Networks.
    pub finalists: usize,
    /// Trainings of each.
    pub seeds: u64,
}

impl Extent {
    /// How long it takes, `jobs` trainings at a time that take `each` seconds.
    pub fn seconds(self, jobs: usize, each: f64) -> f64 {
        let trainings = self.finalists as u64 * self.seeds;
        trainings.div_ceil(jobs.max(1) as u64) as f64 * each
    }

    /// As much of it as `left` seconds hold: fewer seeds and fewer networks, but two of each for as long as that is
    /// possible, because one alone compares nothing. `None` when not even one training ends in time.
    pub fn within(self, left: f64, jobs: usize, each: f64) -> Option<Self> {
        let Self { finalists, seeds } = self;
        let smaller = match (finalists, seeds) {
            _ if finalists == 0 || seeds == 0 => return None,
            _ if self.seconds(jobs, each) <= left => return Some(self),
            (_, 3..) => Self { seeds: seeds - 1, ..self },
            (3.., _) => Self { finalists: finalists - 1, ..self },
            (_, 2) => Self { seeds: 1, ..self },
            (2, _) => Self { finalists: 1, ..self },
            _ => return None,
        };
        smaller.within(left, jobs, each)
    }
}

/// What came of the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The finalists, the best mean first.
    pub finalists: Vec<Finalist>,
    /// What the winner scores on the test images, which were not looked at before; one for each seed.
    pub test: Vec<f64>,
}

/// One network with all its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// The trial's number in the study.
    pub number: u64,
    /// Numbers of the trials that trained it again.
    pub runs: Vec<u64>,
    /// Their values, in the same order.
    pub values: Vec<f64>,
    /// How likely it is that the winner and this one differ as much by chance; `None` for the winner.
    pub chance: Option<f64>,
}

impl Finalist {
    /// The mean value.
    pub fn mean(&self) -> f64 {
        mean(&self.values)
    }

    /// The deviation between seeds.
    pub fn deviation(&self) -> f64 {
        variance(&self.values).sqrt()
    }

    /// Whether the winner is really better; `None` for the winner.
    pub fn is_worse(&self) -> Option<bool> {
        self.chance.map(|chance| chance < SIGNIFICANCE)
    }

    /// Which of its trainings is the best.
    pub fn best_run(&self, objective: &Objective) -> Option<u64> {
        let runs = self.runs.iter().zip(&self.values);
        runs.min_by(|one, other| better(objective.direction, *one.1, *other.1)).map(|(run, _)| *run)
    }
}

impl Outcome {
    /// Sums up the trials of the last step, each of which trained `finalist(number)`; `None` while no finalist
    /// has all of its values. Where it was stopped for the time, `seeds` are those that all finalists came to.
    pub fn of(trials: &[Trial], numbers: &[u64], objective: &Objective, seeds: u64) -> Option<Self> {
        let of_finalist = |(place, number): (usize, &u64)| {
            let own = trials.iter().filter(|trial| trial.number as usize % numbers.len() == place);
            let own: Vec<&Trial> = own
                .take(seeds as usize)
                .filter(|trial| trial.state == State::Complete && trial.values.len() == 1)
                .collect();
            (own.len() as u64 == seeds).then(|| Finalist {
                number: *number,
                runs: own.iter().map(|trial| trial.number).collect(),
                values: own.iter().map(|trial| trial.values[0]).collect(),
                chance: None,
            })
        };
        let mut finalists: Vec<Finalist> = numbers.iter().enumerate().filter_map(of_finalist).collect();
        finalists.sort_by(|one, other| better(objective.direction, one.mean(), other.mean()));
        let winner = finalists.first()?.values.clone();
        finalists.iter_mut().skip(1).for_each(|other| other.chance = welch(&winner, &other.values));
        Some(Self { finalists, test: Vec::new() })
    }

    /// The seeds that every one of `finalists` was trained with, to its end or until it failed.
    pub fn whole_seeds(trials: &[Trial], finalists: usize) -> u64 {
        let ended = trials.iter().take_while(|trial| trial.state.is_finished()).count();
        (ended / finalists.max(1)) as u64
    }

    /// The best one.
    pub fn winner(&self) -> &Finalist {
        &self.finalists[0]
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Divided by one less than there are values.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0)
}

/// How likely means that differ as much or more are if there is no difference: Welch's test (1947), two-sided.
/// `None` where it says nothing, with fewer than two values on a side.
pub(super) fn welch(one: &[f64], other: &[f64]) -> Option<f64> {
    if one.len() < 2 || other.len() < 2 {
        return None;
    }
    let errors = [one, other].map(|values| variance(values) / values.len() as f64);
    let error: f64 = errors.iter().sum();
    let difference = (mean(one) - mean(other)).abs();
    if error == 0.0 {
        return Some(if difference == 0.0 { 1.0 } else { 0.0 });
    }
    let squares = errors[0].powi(2) / (one.len() as f64 - 1.0) + errors[1].powi(2) / (other.len() as f64 - 1.0);
    let student = StudentsT::new(0.0, 1.0, error.powi(2) / squares).ok()?;
    Some(2.0 * student.sf(difference / error.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_search::{Attributes, Direction};

    /// Expected: the incomplete beta function of mpmath, to 30 digits.
    #[test]
    fn the_test_is_welchs() {
        for (one, other, expected) in [
            (&[0.91, 0.92, 0.915][..], &[0.90, 0.905, 0.912][..], 0.110_319_506_117_106_85),
            (&[0.5, 0.7, 0.6, 0.65][..], &[0.1, 0.2, 0.15][..], 0.000_335_236_512_233_540_2),
            (&[1.0, 2.0][..], &[1.5, 1.6, 1.7, 9.0][..], 0.375_845_984_818_955_2),
        ] {
            let chance = welch(one, other).unwrap();
            assert!((chance - expected).abs() < 1e-9, "{chance} {expected}");
        }
        assert_eq!(welch(&[1.0], &[2.0, 3.0]), None);
        assert_eq!((welch(&[1.0, 1.0], &[1.0, 1.0]), welch(&[1.0, 1.0], &[2.0, 2.0])), (Some(1.0), Some(0.0)));
    }

    fn trial(number: u64, value: f64) -> Trial {
        Trial {
            number,
            state: State::Complete,
            paused: false,
            params: Vec::new(),
            values: vec![value],
            reports: Vec::new(),
            user: Attributes::new(),
            system: Attributes::new(),
            started: None,
            finished: None,
        }
    }

    #[test]
    fn the_last_step_is_as_large_as_the_time_allows() {
        let whole = Extent { finalists: 3, seeds: 3 };
        let within = |left: f64, jobs| whole.within(left, jobs, 10.0).map(|extent| (extent.finalists, extent.seeds));
        for (left, jobs, expected) in [
            (90.0, 1, Some((3, 3))),
            (89.0, 1, Some((3, 2))),
            (50.0, 2, Some((3, 3))),
            (40.0, 1, Some((2, 2))),
            (39.0, 1, Some((2, 1))),
            (19.0, 1, Some((1, 1))),
            (9.0, 4, None),
        ] {
            assert_eq!(within(left, jobs), expected, "{left} s, {jobs} jobs");
        }
        assert_eq!(Extent { finalists: 0, seeds: 3 }.within(1e9, 1, 1.0), None);
    }

    #[test]
    fn what_was_cut_off_is_compared_by_the_seeds_that_all_have() {
        let objective = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
        let mut trials: Vec<Trial> = [0.9, 0.8, 0.1, 0.7, 0.2].iter().zip(0..).map(|(v, n)| trial(n, *v)).collect();
        trials[4].state = State::Running;
        let seeds = Outcome::whole_seeds(&trials, 2);
        let outcome = Outcome::of(&trials, &[7, 3], &objective, seeds).unwrap();
        assert_eq!((seeds, outcome.winner().number, outcome.winner().values.clone()), (2, 3, vec![0.8, 0.7]));
        assert_eq!(Outcome::whole_seeds(&trials[4..], 2), 0);
    }

    #[test]
    fn the_winner_has_the_best_mean_not_the_luckiest_seed() {
        let objective = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
        // Trials 0, 2, 4 train number 7; trials 1, 3, 5 number 3.
        let values = [0.99, 0.90, 0.70, 0.91, 0.71, 0.92];
        let mut trials: Vec<Trial> =
            values.iter().enumerate().map(|(number, value)| trial(number as u64, *value)).collect();
        let outcome = Outcome::of(&trials, &[7, 3], &objective, 3).unwrap();
        assert_eq!((outcome.winner().number, outcome.winner().best_run(&objective)), (3, Some(5)));
        assert_eq!((outcome.winner().is_worse(), outcome.finalists[1].is_worse()), (None, Some(false)));
        trials[5].state = State::Fail;
        let outcome = Outcome::of(&trials, &[7, 3], &objective, 3).unwrap();
        assert_eq!(outcome.finalists.len(), 1, "a finalist without all its seeds is not compared");
        assert!(Outcome::of(&trials[..2], &[7, 3], &objective, 3).is_none());
    }
}

//! Who stops a training early.

use crate::{
    History, SettingError, Trial,
    sampler::unknown,
    settings::{self, Settings},
};
use serde_json::{Map, Value};

/// What becomes of a trial that has just reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Train on.
    Continue,
    /// Set it aside with a checkpoint: it may be taken up again.
    Pause,
    /// End it.
    Stop,
}

/// Judges trials by their reports. What it says follows from its settings and the history alone.
pub trait Pruner: Send + Sync {
    /// What becomes of `trial`, whose last report is new. `history` holds the other trials as they are now; a row
    /// with the number of `trial` in it is left out of account.
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict;

    /// The paused trial that a free worker should take up before a new one is begun.
    fn promote(&self, _history: History<'_>) -> Option<u64> {
        None
    }
}

/// Makes a pruner of its name and settings.
type Make = fn(&str, &Map<String, Value>) -> Result<Box<dyn Pruner>, SettingError>;

/// A pruner that can be named.
#[derive(Clone, Copy, Debug)]
pub struct PrunerKind {
    /// What users call it.
    pub name: &'static str,
    /// One line: what it does and what it is good for.
    pub summary: &'static str,
    /// Every setting with its default, in order.
    pub defaults: fn() -> Map<String, Value>,
    make: Make,
}

/// How a pruner is made of its settings.
pub(crate) trait FromSettings: Pruner + Sized + 'static {
    type Settings: Settings;

    fn new(settings: Self::Settings) -> Result<Self, SettingError>;
}

impl PrunerKind {
    /// The kind whose pruners are `P`.
    pub(crate) const fn of<P: FromSettings>(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            defaults: settings::defaults::<P::Settings>,
            make: |name, given| Ok(Box::new(P::new(settings::read::<P::Settings>(name, given)?)?)),
        }
    }

    /// A pruner of this kind; `given` stands in the place of defaults.
    ///
    /// # Errors
    /// When a setting is unknown or out of its range.
    pub fn pruner(&self, given: &Map<String, Value>) -> Result<Box<dyn Pruner>, SettingError> {
        (self.make)(self.name, given)
    }
}

mod kinds {
    include!(concat!(env!("OUT_DIR"), "/pruners.rs"));
}

/// Every pruner, by name.
pub fn pruners() -> &'static [PrunerKind] {
    kinds::KINDS
}

/// The pruner called `name`.
///
/// # Errors
/// When there is none of that name, or the settings cannot be used.
pub fn pruner(name: &str, given: &Map<String, Value>) -> Result<Box<dyn Pruner>, SettingError> {
    let names = pruners().iter().map(|kind| kind.name);
    let Some(kind) = pruners().iter().find(|kind| kind.name == name) else {
        return Err(unknown("pruner", name, names));
    };
    kind.pruner(given)
}

/// Whether the last report of `trial` is the first since a check was due: at `warmup` and every `interval` steps
/// after it.
pub(crate) fn is_checked(trial: &Trial, warmup: u64, interval: u64) -> bool {
    let Some((&(step, _), before)) = trial.reports.split_last() else { return false };
    if step < warmup {
        return false;
    }
    let due = (step - warmup) / interval * interval + warmup;
    before.last().is_none_or(|(previous, _)| *previous < due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Direction, Objective, State,
        fixtures::{empty_trial, load, number, objective},
    };
    use serde_json::json;

    /// Replays studies in which trials report one after the other.
    #[test]
    fn verdicts_are_those_of_optuna() {
        for case in load("pruners")["cases"].as_array().unwrap() {
            let name = format!("{} {}", case["name"], case["direction"]);
            let judge = pruner(case["pruner"].as_str().unwrap(), case["settings"].as_object().unwrap()).unwrap();
            let objectives = [objective("value", &case["direction"])];
            let study = case["study"].as_str().unwrap();
            let mut trials: Vec<Trial> = Vec::new();
            let mut stopped = 0;
            for judged in case["judged"].as_array().unwrap() {
                let of = judged[0].as_u64().unwrap();
                if trials.last().is_none_or(|last| last.number != of) {
                    if let Some(last) = trials.last_mut().filter(|last| last.state == State::Running) {
                        last.state = State::Complete;
                    }
                    trials.push(empty_trial(of, State::Running));
                }
                let trial = trials.last_mut().unwrap();
                trial.reports.push((judged[1].as_u64().unwrap(), number(&judged[2])));
                let trial = trial.clone();
                let verdict = judge.judge(History { study, objectives: &objectives, trials: &trials }, &trial);
                let wanted = if judged[3] == true { Verdict::Stop } else { Verdict::Continue };
                assert_eq!(verdict, wanted, "{name}: {judged}");
                if verdict == Verdict::Stop {
                    stopped += 1;
                    trials.last_mut().unwrap().state = State::Pruned;
                }
            }
            assert!(stopped > 0, "{name} stops nothing");
        }
    }

    fn reported(number: u64, values: &[f64], paused: bool) -> Trial {
        let reports = values.iter().enumerate().map(|(step, value)| (step as u64 + 1, *value)).collect();
        Trial { paused, reports, ..empty_trial(number, State::Running) }
    }

    fn asha(factor: u64) -> Box<dyn Pruner> {
        pruner("asha", json!({"min_resource": 1, "reduction_factor": factor}).as_object().unwrap()).unwrap()
    }

    fn accuracy() -> Objective {
        Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false }
    }

    #[test]
    fn a_beaten_trial_is_set_aside_and_climbs_once_it_belongs_to_the_best() {
        let objectives = [accuracy()];
        let judge = asha(2);
        let mut trials = Vec::new();
        for (value, wanted) in [(0.5, Verdict::Pause), (0.4, Verdict::Pause), (0.6, Verdict::Continue)] {
            let trial = reported(trials.len() as u64, &[value], wanted == Verdict::Pause);
            let history = History { study: "", objectives: &objectives, trials: &trials };
            assert_eq!(judge.judge(history, &trial), wanted, "{value}");
            trials.push(trial);
        }
        let promoted = |trials: &[Trial]| judge.promote(History { study: "", objectives: &objectives, trials });
        assert_eq!(promoted(&trials), None, "one of three climbs, and it did");
        trials.push(reported(3, &[0.1], true));
        assert_eq!(promoted(&trials), Some(0), "two of four climb");
        // It is taken up, and is not judged again by a rung that it left.
        trials[0] = reported(0, &[0.5, 0.7], false);
        let history = History { study: "", objectives: &objectives, trials: &trials };
        assert_eq!(judge.judge(history, &trials[0]), Verdict::Pause, "the first of its next rung");
        trials[0].paused = true;
        assert_eq!(promoted(&trials), None);
        // The higher rung comes first.
        trials[2] = reported(2, &[0.6, 0.8], true);
        trials.extend([reported(4, &[0.55], true), reported(5, &[0.0], true)]);
        assert_eq!(promoted(&trials), Some(2));
    }

    #[test]
    fn with_a_known_cost_a_small_network_need_not_be_as_good_as_a_large_one() {
        let params = Objective { name: "params".into(), direction: Direction::Minimize, known: true };
        let objectives = [accuracy(), params];
        let with_cost = |number: u64, value: f64, cost: f64| {
            let mut trial = reported(number, &[value], false);
            trial.system.insert(Trial::KNOWN.into(), json!([null, cost]));
            trial
        };
        let trials = [with_cost(0, 0.9, 100.0), with_cost(1, 0.89, 120.0), with_cost(2, 0.5, 110.0)];
        let history = History { study: "", objectives: &objectives, trials: &trials };
        let judge = |value: f64, cost: f64| asha(2).judge(history, &with_cost(3, value, cost));
        assert_eq!(judge(0.6, 10.0), Verdict::Continue, "nothing is as small and as good");
        assert_eq!(judge(0.6, 130.0), Verdict::Pause, "others are smaller and better");
        let complete: Vec<Trial> = trials
            .iter()
            .map(|trial| Trial { state: State::Complete, values: vec![0.0, 110.0], ..trial.clone() })
            .collect();
        let history = History { study: "", objectives: &objectives, trials: &complete };
        let median = pruner("median", json!({"n_startup_trials": 1}).as_object().unwrap()).unwrap();
        assert_eq!(median.judge(history, &with_cost(3, 0.6, 10.0)), Verdict::Continue);
        assert_eq!(median.judge(history, &with_cost(3, 0.6, 130.0)), Verdict::Stop);
    }

    #[test]
    fn names_and_settings_that_are_none_are_refused_with_what_there_is() {
        let message = |name: &str, settings: Value| match pruner(name, settings.as_object().unwrap()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name} {settings} was accepted"),
        };
        assert!(message("ahsa", json!({})).contains("did you mean `asha`?"));
        assert!(message("asha", json!({"rungs": 3})).contains("min_resource"));
        assert!(message("asha", json!({"reduction_factor": 1})).contains("at least 2"));
        assert!(message("patient", json!({"wrapped": "medain"})).contains("`median`"));
        assert!(message("threshold", json!({})).contains("`lower`, `upper` or both"));
    }
}

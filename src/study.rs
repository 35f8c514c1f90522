//! Answers from the trials of a study.

use crate::search::{Outcome, attributes, by_value};
use nasgen_search::{Direction, History, Objective, State, Trial, pareto};
use nasgen_storage::Study;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What a trial must have to be chosen, and which of those that have it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Measures that may not be above a value.
    pub at_most: Vec<(String, f64)>,
    /// Measures that may not be below a value.
    pub at_least: Vec<(String, f64)>,
    /// The measure that is the smallest, in place of the best first objective.
    pub smallest: Option<String>,
}

/// No trial is as wanted: a sentence on how near the nearest comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoneFits(String);

/// The number that a trial has for `name`: an objective, a user attribute, or a cost that was known before training.
/// `latency` and `latency_ms` are one.
pub fn measure(study: &Study, trial: &Trial, name: &str) -> Option<f64> {
    let objective = study.objectives.iter().position(|objective| same_measure(&objective.name, name));
    let value = objective.and_then(|place| values(study, trial).get(place).copied());
    let named = |(known, value): (&String, &Value)| same_measure(known, name).then(|| value.as_f64()).flatten();
    let attribute = || trial.user.iter().find_map(named);
    let cost = || trial.costs().find(|(cost, _)| same_measure(cost, name)).map(|(_, cost)| cost);
    value.or_else(attribute).or_else(cost)
}

fn same_measure(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.strip_suffix("_ms").unwrap_or(name).to_owned();
    plain(one) == plain(other)
}

/// The trials with values that keep the study's limits, the best of the first objective first; of equal ones the
/// earlier.
pub fn ranking<'a>(study: &Study, trials: &'a [Trial]) -> Vec<&'a Trial> {
    by_value(trials, &study.objectives).into_iter().filter(|trial| fits(study, trial)).collect()
}

/// Whether a trial costs no more than the search that was begun last allows: limits may have become narrower.
pub fn fits(study: &Study, trial: &Trial) -> bool {
    limits(study).all(|(name, limit)| measure(study, trial, name).is_none_or(|cost| cost <= limit))
}

fn limits(study: &Study) -> impl Iterator<Item = (&str, f64)> {
    let limits = study.system.get(attributes::LIMITS).and_then(Value::as_object);
    limits.into_iter().flatten().filter_map(|(name, limit)| Some((name.as_str(), limit.as_f64()?)))
}

/// The values of a trial, of the winner of a last step those that it had there if it has no others: it may have been
/// set aside before it came to its own.
pub fn values(study: &Study, trial: &Trial) -> Vec<f64> {
    if !trial.values.is_empty() {
        return trial.values.clone();
    }
    let finalists = last_step(study).map_or_else(Vec::new, |outcome| outcome.finalists);
    let Some(again) = finalists.iter().find(|finalist| finalist.number == trial.number) else { return Vec::new() };
    let cost = |name: &str| trial.costs().find(|(cost, _)| *cost == name).map_or(f64::NAN, |(_, cost)| cost);
    let others = study.objectives.iter().skip(1).map(|objective| cost(&objective.name));
    [again.mean()].into_iter().chain(others).collect()
}

/// What came of the last step of a study, if there was one.
pub fn last_step(study: &Study) -> Option<Outcome> {
    let outcome = study.system.get(attributes::FINAL)?["outcome"].clone();
    serde_json::from_value(outcome).ok().filter(|outcome: &Outcome| !outcome.finalists.is_empty())
}

/// The trial that is the best, and whether the last step says so: its winner is, as long as the trial with the best
/// value was among its finalists. A better one that came later was not compared, and its value decides.
pub fn best<'a>(study: &Study, trials: &'a [Trial]) -> Option<(&'a Trial, bool)> {
    let first = ranking(study, trials).first().copied();
    let compared = |outcome: &Outcome| {
        first.is_none_or(|first| outcome.finalists.iter().any(|finalist| finalist.number == first.number))
    };
    let winner = last_step(study).filter(compared).map(|outcome| outcome.winner().number);
    let winner = winner.and_then(|number| trials.iter().find(|trial| trial.number == number && fits(study, trial)));
    winner.map(|winner| (winner, true)).or_else(|| first.map(|first| (first, false)))
}

/// The trials that no other is better than in every objective, in the order of their first one.
pub fn front<'a>(study: &Study, trials: &'a [Trial]) -> Vec<&'a Trial> {
    let whole = |trial: &&Trial| trial.values.len() == study.objectives.len() && attributes::reused(trial).is_none();
    let complete: Vec<&Trial> = ranking(study, trials).into_iter().filter(whole).collect();
    let history = History { study: &study.name, objectives: &study.objectives, trials };
    let losses: Vec<Vec<f64>> = complete.iter().map(|trial| history.losses(trial)).collect();
    let mut places = pareto::front(&losses);
    places.sort_unstable();
    places.into_iter().map(|place| complete[place]).collect()
}

impl Wanted {
    /// The trial that is wanted.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose<'a>(&self, study: &Study, trials: &'a [Trial]) -> Result<&'a Trial, NoneFits> {
        let mut left = ranking(study, trials);
        if left.is_empty() {
            let limits = if limits(study).next().is_some() { " and keeps its limits" } else { "" };
            let (count, name) = (trials.len(), &study.name);
            return Err(NoneFits(format!("none of the {count} trials of `{name}` has a value yet{limits}")));
        }
        let limits = self.at_most.iter().map(|limit| (limit, true)).chain(self.at_least.iter().map(|l| (l, false)));
        for ((name, limit), above) in limits {
            let fits = |trial: &&Trial| {
                measure(study, trial, name).is_some_and(|value| if above { value <= *limit } else { value >= *limit })
            };
            let (fitting, rest): (Vec<&Trial>, Vec<&Trial>) = left.into_iter().partition(fits);
            if fitting.is_empty() {
                return Err(nearest(study, &rest, name, *limit, above));
            }
            left = fitting;
        }
        let Some(smallest) = &self.smallest else {
            let winner = best(study, trials)
                .map(|(trial, _)| trial)
                .filter(|trial| *self == Self::default() || left.iter().any(|fitting| fitting.number == trial.number));
            return Ok(winner.unwrap_or(left[0]));
        };
        let sized = left.iter().filter_map(|trial| Some((measure(study, trial, smallest)?, *trial)));
        let chosen = sized.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, trial)| trial);
        chosen.ok_or_else(|| NoneFits(unknown(smallest)))
    }
}

/// How near those that do not fit come.
fn nearest(study: &Study, rest: &[&Trial], name: &str, limit: f64, above: bool) -> NoneFits {
    let measured = rest.iter().filter_map(|trial| Some((measure(study, trial, name)?, trial.number)));
    let nearest = measured.min_by(|(one, _), (other, _)| {
        let distance = |value: &f64| if above { *value } else { -value };
        distance(one).total_cmp(&distance(other))
    });
    let bound = if above { "at most" } else { "at least" };
    NoneFits(match nearest {
        Some((value, number)) => {
            format!("no trial has {name} of {bound} {limit} with all else that is wanted: trial {number} has {value}")
        }
        None => unknown(name),
    })
}

fn unknown(name: &str) -> String {
    format!("no trial says what its `{name}` is; `nasgen study show` lists what the trials have")
}

/// The names of all numbers that trials have as user attributes, in order.
pub fn measures(trials: &[Trial]) -> Vec<String> {
    let mut names: Vec<String> = trials
        .iter()
        .flat_map(|trial| trial.user.iter().filter(|(_, value)| value.is_number()).map(|(name, _)| name.clone()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The names of all params of the trials, as they first came.
pub fn param_names(trials: &[Trial]) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let params = trials.iter().flat_map(|trial| &trial.params);
    params.filter(|param| seen.insert(param.name.as_str())).map(|param| param.name.clone()).collect()
}

/// The name of a state as Optuna writes it, and of a paused trial.
pub fn state_name(trial: &Trial) -> &'static str {
    match trial.state {
        State::Running if trial.paused => "PAUSED",
        State::Running => "RUNNING",
        State::Complete => "COMPLETE",
        State::Pruned => "PRUNED",
        State::Fail => "FAIL",
        State::Waiting => "WAITING",
    }
}

/// The study whose last step this one is; `None` for one that a user began.
pub fn last_step_of(study: &Study) -> Option<&str> {
    study.system.get(attributes::LAST_STEP_OF).and_then(Value::as_str)
}

/// When something last happened in one of the trials, in microseconds since 1970.
pub fn last_written(trials: &[Trial]) -> Option<i64> {
    trials.iter().flat_map(|trial| [trial.started, trial.finished]).flatten().max()
}

/// Everything that is known of a study. Numbers that JSON does not have are the texts `inf`, `-inf` and `nan`.
pub fn to_json(study: &Study, trials: &[Trial]) -> Value {
    let objectives: Vec<Value> = study.objectives.iter().map(objective_json).collect();
    let trials: Vec<Value> = trials.iter().map(trial_json).collect();
    json!({
        "study": study.name,
        "objectives": objectives,
        "user": study.user,
        "system": study.system,
        "trials": trials,
    })
}

fn objective_json(objective: &Objective) -> Value {
    let direction = match objective.direction {
        Direction::Minimize => "minimize",
        Direction::Maximize => "maximize",
    };
    json!({"name": objective.name, "direction": direction})
}

fn trial_json(trial: &Trial) -> Value {
    let params: Map<String, Value> =
        trial.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
    let reports: Vec<Value> = trial.reports.iter().map(|(step, value)| json!([step, number(*value)])).collect();
    json!({
        "number": trial.number,
        "state": state_name(trial),
        "values": trial.values.iter().map(|value| number(*value)).collect::<Vec<_>>(),
        "params": params,
        "reports": reports,
        "user": trial.user,
        "system": trial.system,
        "started": trial.started,
        "finished": trial.finished,
    })
}

/// Where a study's files are: beside its database, or in `studies`.
pub fn folder(url: &str, name: &str) -> PathBuf {
    let file = match url.split_once("://") {
        None => Some(url),
        Some((scheme, rest)) if scheme.starts_with("sqlite") => rest.strip_prefix('/'),
        Some(_) => None,
    };
    match file.map(Path::new) {
        Some(file) if file.file_stem().is_some_and(|stem| stem == name) => file.with_extension(""),
        Some(file) => file.with_extension("").join(name),
        None => Path::new("studies").join(name),
    }
}

/// A number, or the text that stands for it.
pub fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(number_text(value)) }
}

fn number_text(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

/// One line for each trial: what became of it, its values, its measures, and then its params under `param.`.
/// Times are those of ISO 8601, in UTC.
///
/// # Errors
/// Never, but for the contract of the writer.
pub fn to_csv(study: &Study, trials: &[Trial]) -> csv::Result<Vec<u8>> {
    let measures: Vec<String> = measures(trials)
        .into_iter()
        .filter(|name| study.objectives.iter().all(|objective| objective.name != *name))
        .collect();
    let params = param_names(trials);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = ["number", "state", "started", "finished", "steps", "reason"].map(str::to_owned).into_iter();
    let objectives = study.objectives.iter().map(|objective| objective.name.clone());
    let columns = params.iter().map(|name| format!("param.{name}"));
    writer.write_record(head.chain(objectives).chain(measures.iter().cloned()).chain(columns))?;
    for trial in trials {
        let time = |time: Option<i64>| time.and_then(time_text).unwrap_or_default();
        let head = [
            trial.number.to_string(),
            state_name(trial).to_owned(),
            time(trial.started),
            time(trial.finished),
            trial.reports.len().to_string(),
            attributes::reason(trial).unwrap_or_default().to_owned(),
        ];
        let values = (0..study.objectives.len()).map(|place| trial.values.get(place).map(|value| number_text(*value)));
        let measures = measures.iter().map(|name| trial.user.get(name).map(text));
        let params = params.iter().map(|name| trial.param(name).map(|param| text(&param.value)));
        let rest = values.chain(measures).chain(params).map(Option::unwrap_or_default);
        writer.write_record(head.into_iter().chain(rest))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// As ISO 8601 writes it, in UTC.
fn time_text(microseconds: i64) -> Option<String> {
    Some(jiff::Timestamp::from_microsecond(microseconds).ok()?.to_string())
}

/// A value as a table has it: a text without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_search::{Attributes, Param};

    fn study() -> Study {
        let objective = |name: &str, direction| Objective { name: name.to_owned(), direction, known: false };
        Study {
            name: "s".to_owned(),
            objectives: vec![objective("accuracy", Direction::Maximize), objective("latency", Direction::Minimize)],
            user: Attributes::new(),
            system: Attributes::new(),
        }
    }

    /// Accuracy, milliseconds, macro F1 and parameters.
    fn trial(number: u64, [accuracy, latency, macro_f1, params]: [f64; 4]) -> Trial {
        Trial {
            number,
            state: State::Complete,
            paused: false,
            params: vec![Param {
                name: "depth".to_owned(),
                distribution: nasgen_modules::Distribution::Int { low: 0, high: 9, step: 1, log: false },
                value: json!(number),
            }],
            values: vec![accuracy, latency],
            reports: vec![(1, accuracy / 2.0), (2, f64::NAN)],
            user: [("macro_f1".to_owned(), json!(macro_f1)), ("params".to_owned(), json!(params))].into(),
            system: Attributes::new(),
            started: Some(0),
            finished: Some(1_000_000),
        }
    }

    fn trials() -> Vec<Trial> {
        let mut failed = Trial { state: State::Fail, values: Vec::new(), ..trial(3, [9.0, 0.0, 9.0, 1.0]) };
        failed.user.insert(attributes::REASON.to_owned(), json!("no memory"));
        vec![
            trial(0, [0.6, 1.0, 0.55, 1000.0]),
            trial(1, [0.9, 3.0, 0.85, 9000.0]),
            trial(2, [0.8, 2.0, 0.75, 4000.0]),
            failed,
        ]
    }

    fn pair(name: &str, value: f64) -> (String, f64) {
        (name.to_owned(), value)
    }

    #[test]
    fn files_of_a_study_are_beside_its_database() {
        for (url, path) in [
            ("studies/cells.db", "studies/cells"),
            ("sqlite:///a/b.db", "a/b/cells"),
            ("sqlite:////root/cells.db", "/root/cells"),
            ("postgresql://u:p@host/db", "studies/cells"),
        ] {
            assert_eq!(folder(url, "cells"), Path::new(path), "{url}");
        }
    }

    #[test]
    fn the_best_within_limits() {
        let trials = trials();
        for (wanted, number) in [
            (Wanted::default(), 1),
            (Wanted { at_most: vec![pair("params", 5000.0)], ..Wanted::default() }, 2),
            (Wanted { at_most: vec![pair("latency_ms", 1.5)], ..Wanted::default() }, 0),
            (
                Wanted {
                    at_least: vec![pair("macro_f1", 0.7)],
                    smallest: Some("params".to_owned()),
                    ..Wanted::default()
                },
                2,
            ),
            (Wanted { smallest: Some("latency".to_owned()), ..Wanted::default() }, 0),
        ] {
            assert_eq!(wanted.choose(&study(), &trials).unwrap().number, number, "{wanted:?}");
        }
    }

    #[test]
    fn the_winner_of_the_last_step_is_the_best_until_a_better_value_comes() {
        let mut study = study();
        let mut trials = trials();
        assert_eq!(best(&study, &trials).map(|(trial, won)| (trial.number, won)), Some((1, false)));
        let finalist = |number: u64| json!({"number": number, "runs": [0], "values": [0.5], "chance": null});
        let last = json!({"name": "x", "outcome": {"finalists": [finalist(2), finalist(1)], "test": []}});
        study.system.insert(attributes::FINAL.to_owned(), last);
        let told = |trials: &[Trial]| best(&study, trials).map(|(trial, won)| (trial.number, won));
        assert_eq!(told(&trials), Some((2, true)));
        assert_eq!(Wanted::default().choose(&study, &trials).unwrap().number, 2);
        let narrow = Wanted { at_least: vec![pair("accuracy", 0.85)], ..Wanted::default() };
        assert_eq!(narrow.choose(&study, &trials).unwrap().number, 1);
        trials.push(trial(4, [0.95, 9.0, 0.5, 1.0]));
        assert_eq!(told(&trials), Some((4, false)));
        let front: Vec<u64> = front(&study, &trials).iter().map(|trial| trial.number).collect();
        assert_eq!(front, [4, 1, 2, 0]);
    }

    #[test]
    fn what_breaks_narrower_limits_is_not_chosen() {
        let mut study = study();
        let mut trials = trials();
        let numbers = |trials: Vec<&Trial>| trials.iter().map(|trial| trial.number).collect::<Vec<_>>();
        assert_eq!(numbers(ranking(&study, &trials)), [1, 2, 0]);
        let params = |trial: &Trial| measure(&study, trial, "params").unwrap();
        let limit = params(&trials[1]) - 1.0;
        let keeps: Vec<u64> =
            [1, 2, 0].into_iter().filter(|number| params(&trials[*number as usize]) <= limit).collect();
        assert!(!keeps.is_empty() && !keeps.contains(&1), "the best is too large: {keeps:?}");
        let finalist = json!({"number": 1, "runs": [0], "values": [0.5], "chance": null});
        let last = json!({"name": "x", "outcome": {"finalists": [finalist], "test": []}});
        study.system.insert(attributes::FINAL.to_owned(), last);
        study.system.insert(attributes::LIMITS.to_owned(), json!({"params": limit, "macs": 1e12}));
        assert_eq!(numbers(ranking(&study, &trials)), keeps);
        assert_eq!(best(&study, &trials).map(|(trial, won)| (trial.number, won)), Some((keeps[0], false)));
        assert_eq!(Wanted::default().choose(&study, &trials).unwrap().number, keeps[0]);
        trials.retain(|trial| !keeps.contains(&trial.number));
        let without = Study { system: [(attributes::LIMITS.to_owned(), json!({}))].into(), ..study.clone() };
        let error = Wanted::default().choose(&without, &[]).unwrap_err().to_string();
        assert!(!error.contains("limits"), "it has none: {error}");
        let error = Wanted::default().choose(&study, &trials).unwrap_err().to_string();
        assert!(error.contains("keeps its limits"), "{error}");
    }

    /// It may have been set aside in the search, and trained to the end in the last step alone.
    #[test]
    fn a_winner_without_own_values_has_those_of_the_last_step() {
        let mut study = study();
        let mut winner = Trial { state: State::Running, paused: true, values: vec![], ..trial(0, [0.0; 4]) };
        winner.system.insert(Trial::COSTS.to_owned(), json!({"latency": 0.25}));
        assert!(values(&study, &winner).is_empty());
        let finalist = json!({"number": 0, "runs": [0, 1], "values": [0.5, 0.75], "chance": null});
        let last = json!({"name": "x", "outcome": {"finalists": [finalist], "test": []}});
        study.system.insert(attributes::FINAL.to_owned(), last);
        assert_eq!(values(&study, &winner), [0.625, 0.25]);
        assert_eq!(measure(&study, &winner, "accuracy"), Some(0.625));
        assert_eq!(values(&study, &trial(0, [0.9, 9.0, 0.5, 1.0])), [0.9, 9.0], "what it has itself stands");
    }

    #[test]
    fn where_none_fits_the_nearest_is_named() {
        let trials = trials();
        for (wanted, words) in [
            (Wanted { at_least: vec![pair("macro_f1", 0.9)], ..Wanted::default() }, "trial 1 has 0.85"),
            (Wanted { at_most: vec![pair("params", 10.0)], ..Wanted::default() }, "trial 0 has 1000"),
            (Wanted { at_most: vec![pair("weight", 10.0)], ..Wanted::default() }, "`weight`"),
            (Wanted { smallest: Some("weight".to_owned()), ..Wanted::default() }, "`weight`"),
        ] {
            let error = wanted.choose(&study(), &trials).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = Wanted::default().choose(&study(), &trials[3..]).unwrap_err().to_string();
        assert!(error.contains("none of the 1 trials"), "{error}");
    }

    #[test]
    fn a_table_has_a_line_for_each_trial() {
        let text = String::from_utf8(to_csv(&study(), &trials()[2..]).unwrap()).unwrap();
        assert_eq!(
            text,
            "number,state,started,finished,steps,reason,accuracy,latency,macro_f1,params,param.depth\n\
             2,COMPLETE,1970-01-01T00:00:00Z,1970-01-01T00:00:01Z,2,,0.8,2,0.75,4000.0,2\n\
             3,FAIL,1970-01-01T00:00:00Z,1970-01-01T00:00:01Z,2,no memory,,,9.0,1.0,3\n"
        );
    }

    #[test]
    fn json_has_what_numbers_it_cannot_write() {
        let json = to_json(&study(), &trials());
        assert_eq!(json["trials"][1]["reports"], json!([[1, 0.45], [2, "nan"]]));
        assert_eq!(json["objectives"][1], json!({"name": "latency", "direction": "minimize"}));
    }
}

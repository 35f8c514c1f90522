//! The loop of a worker on a study of its own, with a scorer that answers at once.

use nasgen::{
    network::Network,
    search::{
        Assignment, Audience, Driver, Ending, Event, Fault, FaultKind, Heart, Keep, ModelSpace, Order, Proposal,
        Proposals, Sampled, Score, Scorer, SearchError, Shared, Watcher,
    },
    space::Space,
    spec::{SourceText, TrainSettings},
};
use nasgen_modules::Blocks;
use nasgen_search::{Attributes, Direction, History, NoCandidate, Objective, Rejection, State, Trial, pruner, sampler};
use nasgen_storage::{Storage, Study, connect};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::Path, sync::Mutex, time::Duration};

/// What a trial of `x` is worth after `step` of 9 steps: it rises, and the higher `x` the more.
fn worth(x: f64, step: u64) -> f64 {
    x * step as f64 / 9.0
}

/// Scores `x` of a space of values in nine steps, and can go on from the step that it was halted after.
struct Steps<'a> {
    /// Steps done, by trial.
    done: &'a Mutex<BTreeMap<u64, u64>>,
    goes_on: bool,
    fault: Option<FaultKind>,
}

impl Scorer for Steps<'_> {
    fn score(&mut self, assignment: &Assignment<'_>, audience: &dyn Audience) -> Result<Ending, Fault> {
        if let Some(kind) = self.fault {
            return Err(Fault::of_trial(kind, "as it was told"));
        }
        let x = assignment.proposal.candidate.params[0].value.as_f64().unwrap();
        let from =
            if self.goes_on { self.done.lock().unwrap().get(&assignment.number).copied().unwrap_or(0) } else { 0 };
        for step in from + 1..=9 {
            self.done.lock().unwrap().insert(assignment.number, step);
            if audience.told(step, worth(x, step)) == Order::Halt && step < 9 {
                return Ok(Ending::Halted);
            }
        }
        let values = BTreeMap::from([("value".to_owned(), worth(x, 9))]);
        Ok(Ending::Scored(Score { values, remarks: Attributes::new() }))
    }

    fn can_go_on(&self) -> bool {
        self.goes_on
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Watcher for Seen {
    fn see(&self, event: &Event<'_>) {
        let line = match event {
            Event::Began { number, after, .. } => format!("{number} begins after {after:?}"),
            Event::Paused { number, .. } => format!("{number} paused"),
            Event::Ended { number, state, .. } => format!("{number} {state:?}"),
            Event::Lost { number } => format!("{number} lost"),
            Event::Waiting { trials, .. } => format!("waiting for {trials:?}"),
            Event::Reported { .. } => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// A sampler's trials, the first of which cost more than is allowed by now.
struct Narrowed<'a> {
    sampled: Sampled<'a>,
    allowed_from: u64,
}

impl Proposals for Narrowed<'_> {
    fn objectives(&self) -> &[Objective] {
        self.sampled.objectives()
    }

    fn allows(&self, trial: &Trial) -> bool {
        trial.number >= self.allowed_from
    }

    fn next(&self, history: History<'_>, number: u64) -> Result<Proposal, NoCandidate> {
        self.sampled.next(history, number)
    }

    fn again(&self, draws: &Map<String, Value>, number: u64) -> Result<Proposal, Rejection> {
        self.sampled.again(draws, number)
    }

    fn given(&self, text: &str) -> Result<Proposal, Rejection> {
        self.sampled.given(text)
    }
}

struct Table {
    space: Space,
    objectives: Vec<Objective>,
    folder: tempfile::TempDir,
}

fn table(text: &str) -> Table {
    let source = SourceText { name: "values.yml".into(), text: text.into() };
    let space = Space::parse("values", &source, &Blocks::builtin()).unwrap();
    let objectives = vec![Objective { name: "value".into(), direction: Direction::Maximize, known: false }];
    Table { space, objectives, folder: tempfile::tempdir().unwrap() }
}

impl Table {
    fn storage(&self) -> Box<dyn Storage> {
        connect(&self.folder.path().join("study.db").display().to_string()).unwrap()
    }

    fn work(&self, scorer: &mut dyn Scorer, how: &How<'_>) -> (Result<(), SearchError>, Vec<String>, Vec<Trial>) {
        let settings =
            |train: &Map<String, Value>| TrainSettings::parse(train).map_err(|errors| errors[0].message.clone());
        let latency = |_: &Network| -> Result<f64, String> { Err("no network".into()) };
        let space = ModelSpace::new(&self.space, &self.objectives, &settings, &latency);
        let sampler = sampler(how.sampler, 0, &Map::new()).unwrap();
        let given: Map<String, Value> = serde_json::from_value(how.settings.clone()).unwrap();
        let pruner = pruner(how.pruner, &given).unwrap();
        let (heart, seen) = (Heart::default(), Seen::default());
        let mut storage = self.storage();
        let study = Study {
            name: "values".into(),
            objectives: self.objectives.clone(),
            user: Attributes::new(),
            system: Attributes::new(),
        };
        let (id, _) = storage.open(&study).unwrap();
        let driver = Driver {
            study: id,
            name: "values",
            proposals: &Narrowed {
                sampled: Sampled { space: &space, sampler: &*sampler, seed: 0, extended: false },
                allowed_from: how.allowed_from,
            },
            pruner: &*pruner,
            folder: &self.folder.path().join("files"),
            at_most: Some(how.trials),
            complete_at_least: 1,
            until: how.until,
            lease: Duration::from_secs(30),
            keep: Keep { best: 5, bytes: u64::MAX },
            stop: how.stop,
            watcher: &seen,
            heart: &heart,
            shared: Shared::default(),
        };
        let result = driver.work("worker", &mut *storage, scorer);
        let trials = storage.trials(id).unwrap().to_vec();
        (result, seen.0.into_inner().unwrap(), trials)
    }
}

struct How<'a> {
    sampler: &'a str,
    pruner: &'a str,
    settings: Value,
    trials: u64,
    until: Option<f64>,
    /// Trials before this number would not be begun now.
    allowed_from: u64,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Default for How<'_> {
    fn default() -> Self {
        Self {
            sampler: "random",
            pruner: "none",
            settings: json!({}),
            trials: 5,
            until: None,
            allowed_from: 0,
            stop: &|| false,
        }
    }
}

const VALUES: &str = "params: {x: {float: [0, 1]}}";

fn counts(trials: &[Trial], state: State) -> usize {
    trials.iter().filter(|trial| trial.state == state).count()
}

#[test]
fn trials_are_scored_until_there_are_enough_or_one_is_good_enough() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    let (result, _, trials) = table.work(&mut scorer, &How::default());
    result.unwrap();
    assert_eq!((trials.len(), counts(&trials, State::Complete)), (5, 5));
    for trial in &trials {
        let x = trial.params[0].value.as_f64().unwrap();
        assert_eq!((trial.values[0], trial.reports.len()), (worth(x, 9), 9));
        assert!(trial.user.contains_key("config") && trial.identity().is_some());
    }
    let best = trials.iter().map(|trial| trial.values[0]).fold(0.0, f64::max);
    let (result, seen, _) = table.work(&mut scorer, &How { trials: 50, until: Some(best), ..How::default() });
    result.unwrap();
    assert!(seen.is_empty(), "it was good enough before: {seen:?}");
}

/// A ladder whose losers wait: they are taken up again when they are the best of their rung.
#[test]
fn paused_trials_are_promoted_and_go_on_where_they_were() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    let settings = json!({"min_resource": 1, "reduction_factor": 3});
    let how = How { pruner: "asha", settings, trials: 27, ..How::default() };
    let (result, seen, trials) = table.work(&mut scorer, &how);
    result.unwrap();
    assert_eq!(trials.len(), 27);
    assert!(counts(&trials, State::Complete) >= 1, "{seen:?}");
    let paused = trials.iter().filter(|trial| trial.paused).count();
    assert!(paused >= 12, "{paused} of 27 wait");
    let taken_up = seen.iter().filter(|line| line.contains("begins after Some")).count();
    assert!(taken_up >= 1, "{seen:?}");
    let steps: usize = trials.iter().map(|trial| trial.reports.len()).sum();
    assert!(steps < 27 * 9 / 2, "{steps} steps of {}", 27 * 9);
    for trial in &trials {
        let steps: Vec<u64> = trial.reports.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>(), "each step once");
    }
    let mut storage = table.storage();
    let (id, _) = storage.study("values").unwrap().unwrap();
    storage.close(id).unwrap();
    assert_eq!(counts(storage.trials(id).unwrap(), State::Pruned), paused);
}

/// What is not allowed any more is no rival of what is, and not good enough.
#[test]
fn trials_are_compared_with_those_that_keep_the_limits() {
    let before = table("params: {x: {float: [0.8, 1]}}");
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    before.work(&mut scorer, &How { trials: 9, ..How::default() }).0.unwrap();
    let now = Table { space: table("params: {x: {float: [0, 0.5]}}").space, ..before };
    let settings = json!({"min_resource": 1, "reduction_factor": 3});
    let how = How { pruner: "asha", settings, trials: 18, until: Some(0.7), allowed_from: 9, ..How::default() };
    let (result, seen, trials) = now.work(&mut scorer, &how);
    result.unwrap();
    assert_eq!(trials.len(), 18, "{seen:?}");
    assert!(counts(&trials[9..], State::Complete) >= 1, "{seen:?}");
    assert!(trials[9..].iter().any(|trial| trial.paused), "{seen:?}");
}

/// With few trials no rung is full: one is trained to the end all the same.
#[test]
fn a_search_does_not_end_without_a_value() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    let settings = json!({"min_resource": 1, "reduction_factor": 4});
    let how = How { pruner: "asha", settings, trials: 3, ..How::default() };
    let (result, _, trials) = table.work(&mut scorer, &how);
    result.unwrap();
    let best = trials
        .iter()
        .max_by(|one, other| one.params[0].value.as_f64().unwrap().total_cmp(&other.params[0].value.as_f64().unwrap()));
    assert_eq!(best.unwrap().state, State::Complete, "{trials:?}");
    assert_eq!(counts(&trials, State::Complete), 1);
}

#[test]
fn what_cannot_go_on_is_stopped_instead_of_set_aside() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: false, fault: None };
    let settings = json!({"min_resource": 1, "reduction_factor": 3});
    let (result, seen, trials) =
        table.work(&mut scorer, &How { pruner: "asha", settings, trials: 9, ..How::default() });
    result.unwrap();
    assert!(trials.iter().all(|trial| !trial.paused), "{seen:?}");
    assert!(counts(&trials, State::Pruned) > 0);
    for trial in trials.iter().filter(|trial| trial.state == State::Pruned) {
        assert_eq!(trial.values, [trial.reports.last().unwrap().1]);
    }
}

#[test]
fn a_stop_sets_trials_aside_and_they_go_on_first() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    let stop = || done.lock().unwrap().get(&2) == Some(&4);
    let (result, seen, trials) = table.work(&mut scorer, &How { stop: &stop, ..How::default() });
    result.unwrap();
    assert_eq!(seen.last().unwrap(), "2 paused");
    assert!(trials[2].paused && trials[2].last_step() == Some(4) && trials.len() == 3);
    let (result, seen, trials) = table.work(&mut scorer, &How::default());
    result.unwrap();
    assert_eq!(seen[0], "2 begins after Some(4)");
    assert_eq!(counts(&trials, State::Complete), 5);
}

#[test]
fn failures_are_written_down_and_too_many_end_the_search() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: Some(FaultKind::OutOfMemory) };
    let (result, _, trials) = table.work(&mut scorer, &How { trials: 50, ..How::default() });
    assert!(matches!(result, Err(SearchError::KeepsFailing { count: 5, .. })), "{result:?}");
    assert_eq!(counts(&trials, State::Fail), 5);
    assert_eq!(
        (&trials[0].user["fault"], &trials[0].user["reason"]),
        (&json!("out of memory"), &json!("as it was told"))
    );
}

#[test]
fn a_space_that_is_used_up_ends_the_search_without_a_trial_too_many() {
    let table = table("params: {x: {choice: [0.25, 0.5, 1.0]}}");
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    for sampler in ["grid", "random"] {
        let (result, _, trials) = table.work(&mut scorer, &How { sampler, trials: 50, ..How::default() });
        result.unwrap();
        assert_eq!((trials.len(), counts(&trials, State::Complete)), (3, 3), "{sampler}");
    }
}

/// A trial whose worker died again and again before its first report is given up, not tried for ever.
#[test]
fn a_trial_that_kills_its_workers_is_given_up() {
    let table = table(VALUES);
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    table.work(&mut scorer, &How { trials: 1, ..How::default() }).0.unwrap();
    // Workers that die: they take the trial, and are never heard of again.
    let mut storage = table.storage();
    let (id, _) = storage.study("values").unwrap().unwrap();
    let Some(nasgen_storage::Work::New(lease)) = storage.begin(id, "dead", Duration::from_millis(1), None).unwrap()
    else {
        panic!("no new trial")
    };
    let first = storage.trials(id).unwrap()[0].clone();
    let mut system = first.system.clone();
    system.insert(Trial::IDENTITY.into(), json!("another"));
    storage.describe(&lease, &first.params, &first.user, &system).unwrap();
    drop(storage);
    let death = json!({"step": null, "count": 4});
    let mut storage = table.storage();
    std::thread::sleep(Duration::from_millis(1100));
    let Some(nasgen_storage::Work::Abandoned(lease, _)) =
        storage.begin(id, "dead", Duration::from_millis(1), None).unwrap()
    else {
        panic!("the trial was not abandoned")
    };
    storage.report(&lease, &[], &Attributes::from([("nasgen:deaths".to_owned(), death)])).unwrap();
    drop(storage);
    std::thread::sleep(Duration::from_millis(1100));
    let (result, _, trials) = table.work(&mut scorer, &How { trials: 3, ..How::default() });
    result.unwrap();
    assert_eq!(trials[1].state, State::Fail, "{trials:?}");
    assert!(trials[1].user["reason"].as_str().unwrap().contains("5 workers died"), "{:?}", trials[1].user);
    assert_eq!(counts(&trials, State::Complete), 2);
    assert!(Path::new(table.folder.path()).exists());
}

/// A worker elsewhere has the only trial and says nothing any more.
#[test]
fn waiting_for_a_dead_worker_is_said() {
    let table = table("params: {x: {int: [1, 9]}}");
    let mut storage = table.storage();
    let study = Study {
        name: "values".into(),
        objectives: table.objectives.clone(),
        user: Attributes::new(),
        system: Attributes::new(),
    };
    let (id, _) = storage.open(&study).unwrap();
    storage.begin(id, "elsewhere", Duration::from_secs(3), None).unwrap();
    let done = Mutex::default();
    let mut scorer = Steps { done: &done, goes_on: true, fault: None };
    let (result, seen, trials) = table.work(&mut scorer, &How { trials: 1, ..How::default() });
    result.unwrap();
    assert_eq!((seen[0].as_str(), counts(&trials, State::Complete)), ("waiting for [0]", 1), "{seen:?}");
    assert_eq!(seen.iter().filter(|line| line.starts_with("waiting")).count(), 1, "{seen:?}");
}

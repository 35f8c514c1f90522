//! Optuna and nasgen on the same database. Interpreters with Optuna are named by the environment's
//! `NASGEN_OPTUNA`, as `PATH` names folders; without it `python3` is tried.

use crate::databases::{self, Database};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State, Trial};
use nasgen_storage::{Lease, Storage, Study, Work};
use serde_json::{Value, json};
use std::{path::Path, process::Command, sync::OnceLock, time::Duration};

const LEASE: Duration = Duration::from_secs(1000);

/// The interpreters that have Optuna.
fn interpreters() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let named = std::env::var("NASGEN_OPTUNA").unwrap_or_else(|_| "python3".to_owned());
        let has_optuna = |python: &&str| {
            let answer = Command::new(python).args(["-c", "import optuna, plotly, psycopg2, pymysql"]).output();
            answer.is_ok_and(|answer| answer.status.success())
        };
        let found: Vec<String> = named.split(':').filter(has_optuna).map(str::to_owned).collect();
        if found.is_empty() {
            databases::missing("optuna");
        }
        found
    })
}

fn script(python: &str, name: &str, arguments: &[&str]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/optuna").join(name);
    let answer = Command::new(python).arg(file).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{python} {name} {arguments:?}:\n{errors}");
    String::from_utf8(answer.stdout).unwrap()
}

fn summary(python: &str, database: &Database, study: &str) -> Value {
    serde_json::from_str(&script(python, "summary.py", &[&database.url, study])).unwrap()
}

/// Every Optuna at hand opens the study and finds so many trials in it.
pub(crate) fn check_opens(url: &str, study: &str, trials: usize) {
    for python in interpreters() {
        script(python, "open.py", &[url, study, &trials.to_string()]);
    }
}

/// What Optuna costs for so many trials on a new file, in seconds; `None` without Optuna.
pub(crate) fn cost(trials: u32) -> Option<f64> {
    let python = interpreters().last()?;
    let database = databases::sqlite()?;
    script(python, "cost.py", &[&database.url, &trials.to_string()]).trim().parse().ok()
}

#[test]
fn the_tables_are_optunas() {
    for python in interpreters() {
        for ((name, own), (_, optunas)) in databases::all().iter().zip(databases::all()) {
            own.connect();
            let own = script(python, "schema.py", &[&own.url]);
            let optunas = script(python, "schema.py", &[&optunas.url]);
            assert!(optunas.contains("v3.2.0.a"));
            assert_eq!(own, optunas, "{name}");
        }
    }
}

fn objective(name: &str, direction: Direction) -> Objective {
    Objective { name: name.to_owned(), direction, known: false }
}

fn params(index: i64) -> Vec<Param> {
    let param = |name: &str, distribution, value| Param { name: name.to_owned(), distribution, value };
    let choices = vec![json!("Conv"), Value::Null, json!(true), json!(7), json!(0.5), json!([3, [5]]), json!({"k": 3})];
    vec![
        param(
            "train.lr",
            Distribution::Float { low: 1e-5, high: 0.1, step: None, log: true },
            json!(1e-4 * (index + 1) as f64),
        ),
        param("s1.drop", Distribution::Float { low: 0.0, high: 0.5, step: Some(0.25), log: false }, json!(0.25)),
        param("s0.depth", Distribution::Int { low: 2, high: 8, step: 2, log: false }, json!(2 + index % 4 * 2)),
        param("s0.width", Distribution::Int { low: 8, high: 512, step: 1, log: true }, json!(64)),
        param("s0.block", Distribution::Choice(choices.clone()), choices[index as usize % choices.len()].clone()),
    ]
}

/// What Optuna must say of [`params`].
fn params_of_optuna(index: i64) -> (Value, Value) {
    let choices = json!(["Conv", null, true, 7, 0.5, "[3,[5]]", "{\"k\":3}"]);
    let params = json!([
        ["train.lr", 1e-4 * (index + 1) as f64],
        ["s1.drop", 0.25],
        ["s0.depth", 2 + index % 4 * 2],
        ["s0.width", 64],
        ["s0.block", choices[index as usize % 7]],
    ]);
    let distributions = json!([
        {"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-5, "high": 0.1, "log": true}},
        {"name": "FloatDistribution", "attributes": {"step": 0.25, "low": 0.0, "high": 0.5, "log": false}},
        {"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 2, "high": 8}},
        {"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}},
        {"name": "CategoricalDistribution", "attributes": {"choices": choices}},
    ]);
    (params, distributions)
}

fn begin(storage: &mut dyn Storage, study: i64) -> Lease {
    match storage.begin(study, "w", LEASE, None).unwrap() {
        Some(Work::New(lease)) => lease,
        other => panic!("wanted a new trial, got {other:?}"),
    }
}

/// A study with trials in every state: complete ones, and then one each that is pruned, failed, waiting, paused
/// and running.
fn write(storage: &mut dyn Storage, name: &str, objectives: Vec<Objective>) -> i64 {
    let values = |value: f64| [value, 1000.0 - value][..objectives.len()].to_vec();
    let study = Study {
        name: name.to_owned(),
        user: Attributes::from([("space".to_owned(), json!("backbone: []"))]),
        system: Attributes::new(),
        objectives: objectives.clone(),
    };
    let (id, _) = storage.open(&study).unwrap();
    for index in 0..8 {
        let lease = begin(storage, id);
        let user = Attributes::from([("config".to_owned(), json!(format!("# {index}\nbackbone: []")))]);
        storage.describe(&lease, &params(index), &user, &Attributes::new()).unwrap();
        let value = index as f64 / 16.0;
        storage.report(&lease, &[(1, value / 2.0), (2, f64::NAN), (3, value)], &Attributes::new()).unwrap();
        let last = if index == 5 { f64::INFINITY } else { value };
        match index {
            6 => storage.finish(&lease, State::Pruned, &[], &Attributes::new()).unwrap(),
            7 => storage.finish(&lease, State::Fail, &[], &Attributes::new()).unwrap(),
            _ => storage.finish(&lease, State::Complete, &values(last), &Attributes::new()).unwrap(),
        }
    }
    let paused = begin(storage, id);
    storage.describe(&paused, &params(8), &Attributes::new(), &Attributes::new()).unwrap();
    storage.report(&paused, &[(1, 0.25)], &Attributes::new()).unwrap();
    storage.pause(&paused).unwrap();
    begin(storage, id);
    let fixed = Attributes::from([("s0.depth".to_owned(), json!(4)), ("s0.block".to_owned(), json!([3, [5]]))]);
    storage.enqueue(id, &fixed, &Attributes::new()).unwrap();
    id
}

fn check_read_by_optuna(python: &str, database: &Database, name: &str, objectives: usize) {
    let read = summary(python, database, name);
    assert_eq!(read["directions"], json!(["MAXIMIZE", "MINIMIZE"][..objectives]));
    assert_eq!(read["names"], json!(["accuracy", "macs"][..objectives]));
    assert_eq!(read["user"], json!({"space": "backbone: []"}));
    let trials = read["trials"].as_array().unwrap();
    let states: Vec<&str> = trials.iter().map(|trial| trial["state"].as_str().unwrap()).collect();
    let complete = ["COMPLETE"; 6];
    assert_eq!(states, [&complete[..], &["PRUNED", "FAIL", "RUNNING", "RUNNING", "WAITING"]].concat());
    for (index, trial) in (0_i64..).zip(&trials[..8]) {
        let (params, distributions) = params_of_optuna(index);
        assert_eq!(trial["params"], params);
        assert_eq!(trial["distributions"], distributions);
        assert_eq!(trial["user"], json!({"config": format!("# {index}\nbackbone: []")}));
        assert_eq!((&trial["started"], &trial["finished"]), (&json!(true), &json!(true)));
        let value = index as f64 / 16.0;
        let curve = json!([[1, value / 2.0], [2, "nan"], [3, value]]);
        // With several objectives Optuna's TPE fails on a pruned trial's curve: it stands elsewhere.
        assert_eq!(trial["reports"], if objectives == 2 && index == 6 { json!([]) } else { curve });
        let expected = match index {
            6 if objectives == 1 => json!([value]),
            6 | 7 => Value::Null,
            5 => json!([json!("inf"), json!("-inf")][..objectives]),
            _ => json!([value, 1000.0 - value][..objectives]),
        };
        assert_eq!(trial["values"], expected);
    }
}

fn check_goes_on_here(storage: &mut dyn Storage, study: i64) {
    let before = storage.trials(study).unwrap().to_vec();
    assert_eq!(before.len(), 14);
    // Optuna takes the queue's trial first, as it would its own.
    let asked: Vec<&Trial> = before.iter().filter(|trial| trial.user.contains_key("asked by")).collect();
    assert_eq!(asked.iter().map(|trial| trial.number).collect::<Vec<_>>(), [10, 11, 12]);
    let ours = params(0);
    for trial in asked {
        assert_eq!(trial.state, State::Complete);
        for param in &ours {
            let theirs = trial.param(&param.name).unwrap();
            assert_eq!(theirs.distribution, param.distribution, "{}", param.name);
            assert!(param.distribution.index_of(&theirs.value).is_some(), "{theirs:?}");
        }
    }
    assert_eq!(before[10].param("s0.depth").unwrap().value, json!(4));
    assert_eq!(before[10].param("s0.block").unwrap().value, json!([3, [5]]));
}

#[test]
fn optuna_goes_on_with_what_nasgen_wrote() {
    let objectives = [objective("accuracy", Direction::Maximize), objective("macs", Direction::Minimize)];
    for python in interpreters() {
        for (_, database) in databases::all() {
            for (name, count) in [("one", 1), ("two", 2)] {
                let mut storage = database.connect();
                let study = write(&mut *storage, name, objectives[..count].to_vec());
                check_read_by_optuna(python, &database, name, count);
                script(python, "goes_on.py", &[&database.url, name]);
                // One more of nasgen's after Optuna's.
                assert_eq!(begin(&mut *storage, study).number, 13);
                check_goes_on_here(&mut *storage, study);
                storage.close(study).unwrap();
            }
        }
    }
}

#[test]
fn nasgen_goes_on_with_what_optuna_wrote() {
    for python in interpreters() {
        for (_, database) in databases::all() {
            script(python, "make.py", &[&database.url]);
            let mut storage = database.connect();
            assert_eq!(storage.studies().unwrap(), ["one", "two"]);
            goes_on_with_one(python, &database, &mut *storage);
            goes_on_with_two(python, &database, &mut *storage);
        }
    }
}

fn goes_on_with_one(python: &str, database: &Database, storage: &mut dyn Storage) {
    let (id, study) = storage.study("one").unwrap().unwrap();
    assert_eq!(study.objectives, [objective("value", Direction::Maximize)]);
    assert_eq!(study.user["owner"], json!({"name": "me", "odd": "NaN"}));
    let trials = storage.trials(id).unwrap().to_vec();
    let theirs = summary(python, database, "one");
    for (trial, theirs) in trials.iter().zip(theirs["trials"].as_array().unwrap()) {
        let params: Vec<Value> = trial.params.iter().map(|param| json!([param.name, param.value])).collect();
        assert_eq!(json!(params), theirs["params"]);
        assert_eq!(trial.user["config"], "backbone: []");
        assert_eq!(trial.reports.len(), theirs["reports"].as_array().unwrap().len());
        if trial.number == 5 {
            break;
        }
    }
    use State::{Complete, Fail, Pruned, Waiting};
    let states: Vec<State> = trials.iter().map(|trial| trial.state).collect();
    assert_eq!(states, [Complete, Complete, Complete, Pruned, Fail, Complete, Waiting]);
    assert_eq!(trials[5].values, [f64::INFINITY]);
    assert_eq!(trials[3].values, [3.2]);
    assert!(trials[2].report_at(1).unwrap().is_nan());
    assert_eq!(
        trials[0].param("block").unwrap().distribution,
        Distribution::Choice(vec![json!("Conv"), json!("[3, 5]"), Value::Null, json!(true), json!(3), json!(0.5)])
    );
    let Some(Work::Queued(lease, queued)) = storage.begin(id, "w", LEASE, None).unwrap() else { panic!() };
    assert_eq!(queued.system["fixed_params"], json!({"depth": 7, "block": "[3, 5]"}));
    assert_eq!(queued.user["why"], "a guess");
    let mut params = trials[0].params.clone();
    params[2].value = json!(7);
    params[4].value = json!("[3, 5]");
    storage.describe(&lease, &params, &Attributes::new(), &Attributes::new()).unwrap();
    storage.finish(&lease, State::Complete, &[7.0], &Attributes::new()).unwrap();
    let theirs = summary(python, database, "one");
    assert_eq!(theirs["trials"][6]["params"][2], json!(["depth", 7]));
    assert_eq!(theirs["trials"][6]["values"], json!([7.0]));
}

fn goes_on_with_two(python: &str, database: &Database, storage: &mut dyn Storage) {
    let (id, study) = storage.study("two").unwrap().unwrap();
    assert_eq!(study.objectives, [objective("accuracy", Direction::Maximize), objective("macs", Direction::Minimize)]);
    // Optuna's own running trial is nobody's to take over.
    let lease = begin(storage, id);
    assert_eq!(lease.number, 4);
    storage.report(&lease, &[(1, 0.5)], &Attributes::new()).unwrap();
    storage.finish(&lease, State::Pruned, &[], &Attributes::new()).unwrap();
    storage.close(id).unwrap();
    assert_eq!(storage.trials(id).unwrap()[3].state, State::Running);
    script(python, "goes_on.py", &[&database.url, "two"]);
    assert_eq!(storage.trials(id).unwrap().len(), 8);
}

#[test]
fn the_dashboard_shows_it() {
    let has_dashboard = |python: &&String| {
        let answer = Command::new(python).args(["-c", "import optuna_dashboard"]).output();
        answer.is_ok_and(|answer| answer.status.success())
    };
    let Some(python) = interpreters().iter().find(has_dashboard) else {
        databases::missing("optuna");
        return;
    };
    let database = databases::sqlite().unwrap();
    let mut storage = database.connect();
    let objectives = [objective("accuracy", Direction::Maximize), objective("macs", Direction::Minimize)];
    for (name, count) in [("one", 1), ("two", 2)] {
        let study = write(&mut *storage, name, objectives[..count].to_vec());
        script(python, "dashboard.py", &[&database.url, name, "11"]);
        storage.close(study).unwrap();
    }
}

//! What `tests/optuna/make_fixtures.py` wrote, for tests.

use crate::{Direction, History, Objective, Param, State, Trial};
use nasgen_modules::Distribution;
use serde_json::Value;

/// The fixture called `name`.
pub(crate) fn load(name: &str) -> Value {
    let path = format!("{}/tests/optuna/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A number, where NaN and infinities are text.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

/// A list of numbers.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// A list of lists of numbers.
pub(crate) fn points(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

/// A list of indices.
pub(crate) fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|index| index.as_u64().unwrap() as usize).collect()
}

/// Holds `got` to `wanted` to a part in 10⁹.
pub(crate) fn assert_near(got: f64, wanted: f64, what: &str) {
    let near =
        got == wanted || (got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0) || (got.is_nan() && wanted.is_nan());
    assert!(near, "{what}: {got}, Optuna has {wanted}");
}

/// A study with its trials.
pub(crate) struct Study {
    pub(crate) name: String,
    pub(crate) objectives: Vec<Objective>,
    pub(crate) trials: Vec<Trial>,
}

impl Study {
    pub(crate) fn history(&self) -> History<'_> {
        History { study: &self.name, objectives: &self.objectives, trials: &self.trials }
    }

    pub(crate) fn read(value: &Value) -> Self {
        let objective = |(index, direction): (usize, &Value)| objective(&format!("value{index}"), direction);
        let directions = value["directions"].as_array().unwrap();
        let trials = value["trials"].as_array().unwrap().iter().enumerate();
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            objectives: directions.iter().enumerate().map(objective).collect(),
            trials: trials.map(|(number, trial)| read_trial(number as u64, trial, &value["distributions"])).collect(),
        }
    }
}

/// An objective that training finds out.
pub(crate) fn objective(name: &str, direction: &Value) -> Objective {
    let direction = match direction.as_str().unwrap().to_lowercase().as_str() {
        "maximize" => Direction::Maximize,
        _ => Direction::Minimize,
    };
    Objective { name: name.to_owned(), direction, known: false }
}

/// A trial of which nothing is known yet.
pub(crate) fn empty_trial(number: u64, state: State) -> Trial {
    Trial {
        number,
        state,
        paused: false,
        params: Vec::new(),
        values: Vec::new(),
        reports: Vec::new(),
        user: Default::default(),
        system: Default::default(),
        started: None,
        finished: None,
    }
}

fn read_trial(number_of: u64, value: &Value, distributions: &Value) -> Trial {
    let state = match value["state"].as_str().unwrap() {
        "COMPLETE" => State::Complete,
        "PRUNED" => State::Pruned,
        "RUNNING" => State::Running,
        "FAIL" => State::Fail,
        other => panic!("state {other}"),
    };
    let param = |(name, value): (&String, &Value)| Param {
        name: name.clone(),
        distribution: read_distribution(&distributions[name]),
        value: value.clone(),
    };
    let report = |report: &Value| (report[0].as_u64().unwrap(), number(&report[1]));
    Trial {
        params: value["params"].as_object().unwrap().iter().map(param).collect(),
        values: value.get("values").map_or(Vec::new(), numbers),
        reports: value["reports"].as_array().into_iter().flatten().map(report).collect(),
        system: value["system"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..empty_trial(number_of, state)
    }
}

fn read_distribution(value: &Value) -> Distribution {
    let own = &value["attributes"];
    let log = own["log"].as_bool().unwrap_or(false);
    match value["name"].as_str().unwrap() {
        "FloatDistribution" => Distribution::Float {
            low: own["low"].as_f64().unwrap(),
            high: own["high"].as_f64().unwrap(),
            step: own["step"].as_f64(),
            log,
        },
        "IntDistribution" => Distribution::Int {
            low: own["low"].as_i64().unwrap(),
            high: own["high"].as_i64().unwrap(),
            step: own["step"].as_i64().unwrap(),
            log,
        },
        _ => Distribution::Choice(own["choices"].as_array().unwrap().clone()),
    }
}

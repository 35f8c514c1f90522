//! What the storage costs. Measurements mean something on a machine that has nothing else to do:
//! `cargo test --release -p nasgen-storage cost -- --ignored --nocapture --test-threads 1`.

use crate::{databases, optuna};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State};
use nasgen_storage::{Storage, Study, Work};
use serde_json::json;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_secs(60);

fn study() -> Study {
    Study {
        name: "cost".to_owned(),
        objectives: vec![Objective { name: "accuracy".to_owned(), direction: Direction::Maximize, known: false }],
        user: Attributes::new(),
        system: Attributes::new(),
    }
}

/// Twelve params, ten reports and what a search writes besides.
fn whole_trial(storage: &mut dyn Storage, study: i64) {
    let Some(Work::New(lease)) = storage.begin(study, "w", LEASE, None).unwrap() else { panic!() };
    let distribution = Distribution::Int { low: 0, high: 100, step: 1, log: false };
    let params: Vec<Param> = (0..12)
        .map(|index| Param {
            name: format!("p{index}"),
            distribution: distribution.clone(),
            value: json!((lease.number as i64 + index) % 100),
        })
        .collect();
    let user = Attributes::from([("config".to_owned(), json!("x".repeat(1000)))]);
    storage.describe(&lease, &params, &user, &Attributes::new()).unwrap();
    for step in 0..10 {
        storage.report(&lease, &[(step, step as f64 / 10.0)], &Attributes::new()).unwrap();
    }
    let measures = Attributes::from([("params".to_owned(), json!(1000)), ("macs".to_owned(), json!(1_000_000))]);
    storage.finish(&lease, State::Complete, &[lease.number as f64], &measures).unwrap();
}

fn milliseconds_each(times: u32, mut what: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..times).for_each(|_| what());
    begun.elapsed().as_secs_f64() * 1000.0 / f64::from(times)
}

/// The least of a few measurements: what else the machine does slows some of them.
#[test]
fn a_trial_costs_less_than_five_milliseconds_in_a_file() {
    let database = databases::sqlite().unwrap();
    let mut storage = database.connect();
    let (id, _) = storage.open(&study()).unwrap();
    let measured = (0..5).map(|_| milliseconds_each(30, || whole_trial(&mut *storage, id)));
    let least = measured.fold(f64::INFINITY, f64::min);
    assert!(least < 5.0, "{least} ms");
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_trial() {
    for (name, database) in databases::all() {
        let mut storage = database.connect();
        let (id, _) = storage.open(&study()).unwrap();
        let each = milliseconds_each(300, || whole_trial(&mut *storage, id));
        println!("{name}: {each:.2} ms for a trial of 12 params and 10 reports");
    }
    if let Some(seconds) = optuna::cost(10) {
        println!("Optuna on SQLite: {:.2} ms", seconds * 100.0);
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_reading_ten_thousand_trials() {
    let database = databases::sqlite().unwrap();
    let mut storage = database.connect();
    let (id, _) = storage.open(&study()).unwrap();
    for _ in 0..10_000 {
        whole_trial(&mut *storage, id);
    }
    let first = milliseconds_each(1, || assert_eq!(storage.trials(id).unwrap().len(), 10_000));
    let again = milliseconds_each(50, || assert_eq!(storage.trials(id).unwrap().len(), 10_000));
    let next = milliseconds_each(50, || whole_trial(&mut *storage, id));
    println!("10 000 trials: {first:.0} ms to read first, {again:.2} ms to read again, {next:.2} ms for one more");
    assert!(again + next < 50.0);
}

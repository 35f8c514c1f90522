//! One suite for all kinds of databases.

use crate::databases::{self, Database};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State, Trial};
use nasgen_storage::{Error, Lease, Storage, Study, Work};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, SystemTime},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(1000);
/// Over before a test asks again.
const SHORT: Duration = Duration::from_millis(1);

/// One test for each case and kind of database.
macro_rules! suite {
    ($($case:ident)*) => {
        suite!(@on sqlite: $($case)*);
        suite!(@on postgres: $($case)*);
        #[cfg(feature = "mysql")]
        suite!(@on mariadb: $($case)*);
    };
    (@on $kind:ident: $($case:ident)*) => {
        mod $kind {
            $(#[test]
            fn $case() {
                if let Some(database) = super::databases::$kind() {
                    super::$case(&database);
                }
            })*
        }
    };
}

suite! {
    a_study_is_made_once
    a_study_that_exists_is_left_as_it_is
    a_study_comes_back_as_it_was_written
    an_unknown_study_is_none
    studies_are_listed_in_order_of_creation
    a_study_needs_an_objective
    names_are_as_long_as_optunas_tables_take
    study_attributes_are_set_anew
    attributes_keep_any_json
    a_deleted_study_is_gone_and_others_stay
    what_is_done_to_a_deleted_study_says_so
    an_id_given_away_again_carries_no_lease
    studies_of_one_database_do_not_mix
    a_new_trial_is_running_since_now
    numbers_have_no_gaps_with_many_workers
    params_come_back_in_order_as_what_they_were
    params_described_again_replace_the_first
    wrong_params_are_refused_and_change_nothing
    a_trial_may_have_no_params
    many_params_and_reports_fit
    reports_keep_every_number
    reports_are_by_step_and_the_last_counts
    values_keep_every_number
    a_value_that_is_not_a_number_fails_the_trial
    a_wrong_number_of_values_is_refused
    a_trial_cannot_end_unfinished
    a_finished_trial_never_changes
    a_pruned_trial_has_its_last_report_for_a_value
    a_pruned_trial_of_two_objectives_keeps_its_curve
    a_failed_trial_keeps_its_reports
    trial_attributes_gather
    the_queue_is_taken_in_order_and_first
    a_queued_trial_has_its_fixed_params
    each_trial_of_the_queue_is_taken_once
    there_are_at_most_so_many_trials
    a_silent_worker_loses_its_trial
    signs_of_life_keep_a_lease
    a_lease_that_nobody_took_still_holds
    an_abandoned_trial_goes_before_the_queue
    one_of_many_takes_an_abandoned_trial
    a_paused_trial_belongs_to_nobody
    one_of_many_takes_a_paused_trial_up
    a_trial_taken_up_goes_on
    closing_ends_what_nobody_will
    closing_waits_for_others
    a_storage_works_after_closing
    others_see_what_was_written
}

fn objective(name: &str, direction: Direction, known: bool) -> Objective {
    Objective { name: name.to_owned(), direction, known }
}

fn study(name: &str) -> Study {
    Study {
        name: name.to_owned(),
        objectives: vec![objective("accuracy", Direction::Maximize, false)],
        user: Attributes::new(),
        system: Attributes::new(),
    }
}

fn study_of_two(name: &str) -> Study {
    let objectives =
        vec![objective("accuracy", Direction::Maximize, false), objective("params", Direction::Minimize, true)];
    Study { objectives, ..study(name) }
}

fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn none() -> Attributes {
    Attributes::new()
}

/// A connection and a study in it.
fn opened(database: &Database) -> (Box<dyn Storage>, i64) {
    let mut storage = database.connect();
    let (id, _) = storage.open(&study("s")).unwrap();
    (storage, id)
}

fn new_trial(storage: &mut dyn Storage, study: i64, lease: Duration) -> Lease {
    match storage.begin(study, "w", lease, None).unwrap() {
        Some(Work::New(lease)) => lease,
        other => panic!("wanted a new trial, got {other:?}"),
    }
}

fn only_trial(storage: &mut dyn Storage, study: i64) -> Trial {
    let trials = storage.trials(study).unwrap();
    assert_eq!(trials.len(), 1);
    trials[0].clone()
}

fn number(name: &str, value: i64) -> Param {
    let distribution = Distribution::Int { low: 0, high: 100, step: 1, log: false };
    Param { name: name.to_owned(), distribution, value: json!(value) }
}

/// What `work` of each of ten workers gives, each with a connection of its own, at the same time.
fn ten_workers<T: Send>(database: &Database, work: impl Fn(&mut dyn Storage) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..10).map(|_| scope.spawn(|| work(&mut *database.connect()))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

fn a_study_is_made_once(database: &Database) {
    let made = ten_workers(database, |storage| storage.open(&study("s")).unwrap());
    assert_eq!(made.iter().filter(|(_, created)| *created).count(), 1, "{made:?}");
    assert!(made.iter().all(|(id, _)| *id == made[0].0), "{made:?}");
    assert_eq!(database.connect().studies().unwrap(), ["s"]);
}

fn a_study_that_exists_is_left_as_it_is(database: &Database) {
    let (mut storage, id) = opened(database);
    let other = Study { user: attributes([("owner", json!("me"))]), ..study_of_two("s") };
    assert_eq!(storage.open(&other).unwrap(), (id, false));
    assert_eq!(storage.study("s").unwrap(), Some((id, study("s"))));
}

fn a_study_comes_back_as_it_was_written(database: &Database) {
    let mut storage = database.connect();
    let study = Study {
        user: attributes([("note", json!("für später"))]),
        system: attributes([("nasgen:space", json!({"stages": [1, 2]}))]),
        ..study_of_two("two objectives")
    };
    let (id, created) = storage.open(&study).unwrap();
    assert!(created);
    assert_eq!(storage.study("two objectives").unwrap(), Some((id, study.clone())));
    assert_eq!(database.connect().study("two objectives").unwrap(), Some((id, study)));
}

fn an_unknown_study_is_none(database: &Database) {
    assert_eq!(database.connect().study("nobody").unwrap(), None);
}

fn studies_are_listed_in_order_of_creation(database: &Database) {
    let mut storage = database.connect();
    assert!(storage.studies().unwrap().is_empty());
    for name in ["z", "a", "M"] {
        storage.open(&study(name)).unwrap();
    }
    assert_eq!(storage.studies().unwrap(), ["z", "a", "M"]);
}

fn a_study_needs_an_objective(database: &Database) {
    let mut storage = database.connect();
    let error = storage.open(&Study { objectives: Vec::new(), ..study("s") }).unwrap_err();
    assert!(matches!(error, Error::Unstorable { .. }), "{error}");
    assert!(storage.studies().unwrap().is_empty());
}

fn names_are_as_long_as_optunas_tables_take(database: &Database) {
    let mut storage = database.connect();
    let longest = "ü".repeat(512);
    let (id, _) = storage.open(&study(&longest)).unwrap();
    storage.set_study_attribute(id, false, &longest, &json!(1)).unwrap();
    let lease = new_trial(&mut *storage, id, LONG);
    let user = attributes([(longest.as_str(), json!(2))]);
    storage.describe(&lease, &[number(&longest, 7)], &user, &none()).unwrap();
    assert_eq!(storage.study(&longest).unwrap().unwrap().1.user[&longest], json!(1));
    assert_eq!(storage.trials(id).unwrap()[0].params[0].name, longest);
    let longer = "ü".repeat(513);
    let refused = [
        storage.open(&study(&longer)).map(|_| ()),
        storage.set_study_attribute(id, true, &longer, &json!(1)),
        storage.describe(&lease, &[number(&longer, 7)], &none(), &none()),
        storage.report(&lease, &[], &attributes([(longer.as_str(), json!(2))])),
    ];
    for refusal in refused {
        assert!(matches!(refusal, Err(Error::Unstorable { .. })), "{refusal:?}");
    }
}

fn study_attributes_are_set_anew(database: &Database) {
    let (mut storage, id) = opened(database);
    for value in [json!(1), json!([2, "zwei"])] {
        storage.set_study_attribute(id, false, "key", &value).unwrap();
        storage.set_study_attribute(id, true, "key", &json!({ "system": value })).unwrap();
    }
    let (_, study) = storage.study("s").unwrap().unwrap();
    assert_eq!(study.user, attributes([("key", json!([2, "zwei"]))]));
    assert_eq!(study.system, attributes([("key", json!({"system": [2, "zwei"]}))]));
}

fn attributes_keep_any_json(database: &Database) {
    let (mut storage, id) = opened(database);
    let values = attributes([
        ("nested", json!({"a": [1, {"b": null}], "": {}})),
        ("text", json!("quote \" backslash \\ newline \n tab \t nul-free ünïcödé 🦀 '; DROP TABLE trials; --")),
        ("big", json!(i64::MAX)),
        ("bigger", json!(u64::MAX)),
        ("tiny", json!(5e-324)),
        ("precise", json!(0.1 + 0.2)),
        ("null", Value::Null),
        ("Key", json!("names differ by case")),
        ("key", json!("names differ by case")),
        ("long", json!("x".repeat(60_000))),
    ]);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.describe(&lease, &[], &values, &values).unwrap();
    let trial = only_trial(&mut *storage, id);
    assert_eq!(trial.user, values);
    assert_eq!(trial.system, values);
}

fn a_deleted_study_is_gone_and_others_stay(database: &Database) {
    let (mut storage, id) = opened(database);
    let (other, _) = storage.open(&study_of_two("other")).unwrap();
    for id in [id, other] {
        let lease = new_trial(&mut *storage, id, LONG);
        let user = attributes([("a", json!(1))]);
        storage.describe(&lease, &[number("p", 1)], &user, &user).unwrap();
        storage.report(&lease, &[(1, 0.5)], &none()).unwrap();
        storage.enqueue(id, &attributes([("p", json!([1]))]), &none()).unwrap();
    }
    let before = storage.trials(other).unwrap().to_vec();
    storage.delete(id).unwrap();
    assert_eq!(storage.studies().unwrap(), ["other"]);
    assert_eq!(storage.study("s").unwrap(), None);
    assert_eq!(storage.trials(other).unwrap(), before);
    let (again, created) = storage.open(&study("s")).unwrap();
    assert!(created && storage.trials(again).unwrap().is_empty());
}

fn what_is_done_to_a_deleted_study_says_so(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.trials(id).unwrap();
    database.connect().delete(id).unwrap();
    let gone = [
        storage.trials(id).map(|_| ()),
        storage.begin(id, "w", LONG, None).map(|_| ()),
        storage.enqueue(id, &none(), &none()).map(|_| ()),
        storage.set_study_attribute(id, false, "a", &json!(1)),
        storage.take_up(id, 0, "w", LONG).map(|_| ()),
        storage.close(id),
        storage.delete(id),
    ];
    for answer in gone {
        assert!(matches!(answer, Err(Error::NoStudy { .. })), "{answer:?}");
    }
    let written = [
        storage.heartbeat(&lease),
        storage.report(&lease, &[(0, 1.0)], &none()),
        storage.finish(&lease, State::Complete, &[1.0], &none()),
        storage.pause(&lease),
    ];
    for answer in written {
        assert!(matches!(answer, Err(Error::NoTrial { number: 0 })), "{answer:?}");
    }
}

fn an_id_given_away_again_carries_no_lease(database: &Database) {
    let (mut storage, id) = opened(database);
    let old = new_trial(&mut *storage, id, LONG);
    storage.trials(id).unwrap();
    database.connect().delete(id).unwrap();
    let (again, _) = storage.open(&study("s")).unwrap();
    let new = new_trial(&mut *storage, again, LONG);
    assert!(storage.finish(&old, State::Complete, &[1.0], &none()).is_err());
    assert_eq!(only_trial(&mut *storage, again).state, State::Running);
    storage.finish(&new, State::Complete, &[0.5], &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, again).values, [0.5]);
}

fn studies_of_one_database_do_not_mix(database: &Database) {
    let (mut storage, id) = opened(database);
    let (other, _) = storage.open(&study("other")).unwrap();
    let first = new_trial(&mut *storage, id, SHORT);
    thread::sleep(Duration::from_millis(20));
    storage.enqueue(id, &none(), &none()).unwrap();
    // Neither what is abandoned there nor what waits there.
    let second = new_trial(&mut *storage, other, LONG);
    assert_eq!((first.number, second.number), (0, 0));
    assert_eq!(storage.take_up(other, 1, "w", LONG).unwrap(), None);
    assert_eq!(storage.trials(id).unwrap().len(), 2);
    assert_eq!(storage.trials(other).unwrap().len(), 1);
}

fn a_new_trial_is_running_since_now(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    let trial = only_trial(&mut *storage, id);
    assert_eq!((trial.number, trial.state, trial.paused), (0, State::Running, false));
    assert_eq!(trial.finished, None);
    storage.finish(&lease, State::Complete, &[1.0], &none()).unwrap();
    let trial = only_trial(&mut *storage, id);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
    let (started, finished) = (trial.started.unwrap(), trial.finished.unwrap());
    assert!(started <= finished, "{started} {finished}");
    // MySQL has whole seconds here.
    assert!((now - started).abs() < 20_000_000, "{now} {started}");
}

fn numbers_have_no_gaps_with_many_workers(database: &Database) {
    let (mut storage, id) = opened(database);
    let numbers =
        ten_workers(database, |storage| (0..5).map(|_| new_trial(storage, id, LONG).number).collect::<Vec<_>>());
    let numbers: BTreeSet<u64> = numbers.into_iter().flatten().collect();
    assert_eq!(numbers, (0..50).collect());
    let trials = storage.trials(id).unwrap();
    assert!(trials.iter().map(|trial| trial.number).eq(0..50));
}

fn params_come_back_in_order_as_what_they_were(database: &Database) {
    let (mut storage, id) = opened(database);
    let choices = vec![json!("Conv"), Value::Null, json!(true), json!(3), json!(0.5), json!([1, [2]]), json!({"k": 3})];
    let mut params = vec![
        Param {
            name: "z.float".to_owned(),
            distribution: Distribution::Float { low: 1e-9, high: 1.0, step: None, log: true },
            value: json!(1.2345678901234567e-5),
        },
        Param {
            name: "a.step".to_owned(),
            distribution: Distribution::Float { low: 0.0, high: 0.7, step: Some(0.1), log: false },
            value: json!(0.3),
        },
        Param {
            name: "a.log".to_owned(),
            distribution: Distribution::Int { low: 1, high: 1 << 40, step: 1, log: true },
            value: json!(1_i64 << 39),
        },
        Param {
            name: "negative".to_owned(),
            distribution: Distribution::Int { low: -8, high: 8, step: 4, log: false },
            value: json!(-4),
        },
        Param {
            name: "Z.text".to_owned(),
            distribution: Distribution::Choice(vec![json!("[1,[2]]"), json!("x")]),
            value: json!("[1,[2]]"),
        },
    ];
    params.extend(choices.iter().enumerate().map(|(index, value)| Param {
        name: format!("s{index}.choice"),
        distribution: Distribution::Choice(choices.clone()),
        value: value.clone(),
    }));
    let lease = new_trial(&mut *storage, id, LONG);
    storage.describe(&lease, &params, &none(), &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).params, params);
    assert_eq!(only_trial(&mut *database.connect(), id).params, params);
}

fn params_described_again_replace_the_first(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.describe(&lease, &[number("a", 1), number("b", 2)], &none(), &none()).unwrap();
    storage.describe(&lease, &[number("b", 3), number("c", 4)], &none(), &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).params, [number("b", 3), number("c", 4)]);
}

fn wrong_params_are_refused_and_change_nothing(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.describe(&lease, &[number("a", 1)], &none(), &none()).unwrap();
    let choice = Distribution::Choice(vec![json!(1)]);
    let wrong = [
        vec![number("a", 2), number("a", 3)],
        vec![number("a", 2), Param { name: "b".to_owned(), distribution: choice, value: json!(2) }],
        vec![number("a", 2), Param { value: json!("x"), ..number("b", 0) }],
    ];
    for params in wrong {
        let error = storage.describe(&lease, &params, &none(), &none()).unwrap_err();
        assert!(matches!(error, Error::Unstorable { .. }), "{error}");
    }
    assert_eq!(only_trial(&mut *storage, id).params, [number("a", 1)]);
}

fn a_trial_may_have_no_params(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.describe(&lease, &[], &none(), &none()).unwrap();
    storage.report(&lease, &[], &none()).unwrap();
    storage.finish(&lease, State::Complete, &[1.0], &none()).unwrap();
    assert!(only_trial(&mut *storage, id).params.is_empty());
}

fn many_params_and_reports_fit(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    let params: Vec<Param> = (0..1200).map(|index| number(&format!("p{index}"), index % 100)).collect();
    let reports: Vec<(u64, f64)> = (0..1200).map(|step| (step, step as f64 / 7.0)).collect();
    storage.describe(&lease, &params, &none(), &none()).unwrap();
    storage.report(&lease, &reports, &none()).unwrap();
    let trial = only_trial(&mut *storage, id);
    assert_eq!(trial.params, params);
    assert_eq!(trial.reports, reports);
}

const NUMBERS: [f64; 9] =
    [0.0, 0.1, -3.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.7976931348623157e-308, f64::INFINITY, f64::NEG_INFINITY];

fn reports_keep_every_number(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    let reports: Vec<(u64, f64)> = (0..).zip(NUMBERS).collect();
    storage.report(&lease, &reports, &none()).unwrap();
    storage.report(&lease, &[(100, f64::NAN)], &none()).unwrap();
    let trial = only_trial(&mut *storage, id);
    assert_eq!(trial.reports[..NUMBERS.len()], reports);
    assert!(trial.reports[NUMBERS.len()].0 == 100 && trial.reports[NUMBERS.len()].1.is_nan());
}

fn reports_are_by_step_and_the_last_counts(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.report(&lease, &[(5, 0.5), (2, 0.2), (2, 0.25)], &none()).unwrap();
    storage.report(&lease, &[(3, 0.3), (5, 0.55)], &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).reports, [(2, 0.25), (3, 0.3), (5, 0.55)]);
}

fn values_keep_every_number(database: &Database) {
    let (mut storage, id) = opened(database);
    for value in NUMBERS {
        let lease = new_trial(&mut *storage, id, LONG);
        storage.finish(&lease, State::Complete, &[value], &none()).unwrap();
    }
    let values: Vec<f64> = storage.trials(id).unwrap().iter().map(|trial| trial.values[0]).collect();
    assert_eq!(values, NUMBERS);
}

fn a_value_that_is_not_a_number_fails_the_trial(database: &Database) {
    let mut storage = database.connect();
    let (id, _) = storage.open(&study_of_two("s")).unwrap();
    for state in [State::Complete, State::Pruned] {
        let lease = new_trial(&mut *storage, id, LONG);
        storage.finish(&lease, state, &[f64::NAN, 1.0], &none()).unwrap();
    }
    let trials = storage.trials(id).unwrap();
    assert_eq!(trials.iter().map(|trial| trial.state).collect::<Vec<_>>(), [State::Fail, State::Pruned]);
    assert!(trials.iter().all(|trial| trial.values.is_empty()));
}

fn a_wrong_number_of_values_is_refused(database: &Database) {
    let mut storage = database.connect();
    let (id, _) = storage.open(&study_of_two("s")).unwrap();
    let lease = new_trial(&mut *storage, id, LONG);
    for (state, values) in [
        (State::Complete, &[][..]),
        (State::Complete, &[1.0]),
        (State::Pruned, &[1.0]),
        (State::Fail, &[1.0, 2.0, 3.0]),
    ] {
        let error = storage.finish(&lease, state, values, &attributes([("a", json!(1))])).unwrap_err();
        assert!(matches!(error, Error::WrongValues { wanted: 2, .. }), "{error}");
    }
    let trial = only_trial(&mut *storage, id);
    assert_eq!((trial.state, trial.user), (State::Running, none()));
    storage.finish(&lease, State::Complete, &[1.0, 2.0], &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).values, [1.0, 2.0]);
}

fn a_trial_cannot_end_unfinished(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    for state in [State::Running, State::Waiting] {
        assert!(storage.finish(&lease, state, &[1.0], &none()).is_err());
    }
    assert_eq!(only_trial(&mut *storage, id).state, State::Running);
}

fn a_finished_trial_never_changes(database: &Database) {
    let (mut storage, id) = opened(database);
    for state in [State::Complete, State::Pruned, State::Fail] {
        let lease = new_trial(&mut *storage, id, SHORT);
        storage.report(&lease, &[(1, 0.5)], &none()).unwrap();
        storage.finish(&lease, state, &[0.5], &none()).unwrap();
        let before = storage.trials(id).unwrap().to_vec();
        let changes = attributes([("a", json!(1))]);
        for change in [
            storage.finish(&lease, State::Complete, &[0.75], &changes),
            storage.finish(&lease, state, &[0.5], &changes),
            storage.report(&lease, &[(2, 0.75)], &changes),
            storage.describe(&lease, &[number("a", 1)], &changes, &changes),
            storage.heartbeat(&lease),
            storage.pause(&lease),
        ] {
            assert!(matches!(change, Err(Error::Finished { .. })), "{change:?}");
        }
        assert_eq!(storage.take_up(id, lease.number, "w", LONG).unwrap(), None);
        // Nor does another connection, which has not read it before, see anything else.
        assert_eq!(database.connect().trials(id).unwrap(), before);
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(new_trial(&mut *storage, id, LONG).number, 3);
}

fn a_pruned_trial_has_its_last_report_for_a_value(database: &Database) {
    let (mut storage, id) = opened(database);
    let curves: [&[(u64, f64)]; 4] =
        [&[(1, 0.9), (2, 0.1)], &[(1, f64::NEG_INFINITY)], &[(1, 0.5), (2, f64::NAN)], &[]];
    for reports in curves {
        let lease = new_trial(&mut *storage, id, LONG);
        storage.report(&lease, reports, &none()).unwrap();
        storage.finish(&lease, State::Pruned, &[], &none()).unwrap();
    }
    let values: Vec<&[f64]> = storage.trials(id).unwrap().iter().map(|trial| trial.values.as_slice()).collect();
    assert_eq!(values, [&[0.1][..], &[f64::NEG_INFINITY], &[], &[]]);
}

fn a_pruned_trial_of_two_objectives_keeps_its_curve(database: &Database) {
    let mut storage = database.connect();
    let (id, _) = storage.open(&study_of_two("s")).unwrap();
    let reports = [(1, 0.5), (2, f64::INFINITY), (3, 0.25)];
    for state in [State::Pruned, State::Complete] {
        let lease = new_trial(&mut *storage, id, LONG);
        storage.report(&lease, &reports, &none()).unwrap();
        assert_eq!(storage.trials(id).unwrap().last().unwrap().reports, reports);
        storage.finish(&lease, state, &[0.25, 1000.0], &none()).unwrap();
    }
    for trial in storage.trials(id).unwrap() {
        assert_eq!(trial.reports, reports, "{:?}", trial.state);
        assert_eq!(trial.values, [0.25, 1000.0]);
    }
}

fn a_failed_trial_keeps_its_reports(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.report(&lease, &[(1, 0.5)], &none()).unwrap();
    storage.finish(&lease, State::Fail, &[], &attributes([("reason", json!("diverged"))])).unwrap();
    let trial = only_trial(&mut *storage, id);
    assert_eq!((trial.state, trial.reports.as_slice(), trial.values.len()), (State::Fail, &[(1, 0.5)][..], 0));
    assert_eq!(trial.user["reason"], json!("diverged"));
}

fn trial_attributes_gather(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    let pair = |key: &str, value: i64| attributes([(key, json!(value))]);
    storage.describe(&lease, &[], &pair("a", 1), &pair("a", 2)).unwrap();
    storage.report(&lease, &[(0, 0.5)], &pair("b", 3)).unwrap();
    storage.report(&lease, &[(1, 0.5)], &pair("b", 4)).unwrap();
    storage.finish(&lease, State::Complete, &[1.0], &pair("c", 5)).unwrap();
    let trial = only_trial(&mut *storage, id);
    assert_eq!(trial.user, attributes([("a", json!(1)), ("c", json!(5))]));
    assert_eq!(trial.system, attributes([("a", json!(2)), ("b", json!(4))]));
}

fn the_queue_is_taken_in_order_and_first(database: &Database) {
    let (mut storage, id) = opened(database);
    for value in 0..3 {
        let queued = storage.enqueue(id, &attributes([("p", json!(value))]), &none()).unwrap();
        assert_eq!(queued, value);
    }
    assert!(storage.trials(id).unwrap().iter().all(|trial| trial.state == State::Waiting && trial.started.is_none()));
    for number in 0..3 {
        let Some(Work::Queued(lease, trial)) = storage.begin(id, "w", LONG, Some(0)).unwrap() else { panic!() };
        assert_eq!((lease.number, trial.number, trial.state), (number, number, State::Running));
        assert!(trial.started.is_some());
    }
    assert_eq!(new_trial(&mut *storage, id, LONG).number, 3);
}

fn a_queued_trial_has_its_fixed_params(database: &Database) {
    let (mut storage, id) = opened(database);
    let fixed = attributes([("depth", json!(3)), ("kernels", json!([3, 5])), ("text", json!("[3,5]"))]);
    let user = attributes([("config", json!("backbone: []"))]);
    storage.enqueue(id, &fixed, &user).unwrap();
    let Some(Work::Queued(lease, trial)) = storage.begin(id, "w", LONG, None).unwrap() else { panic!() };
    assert_eq!(trial.system["fixed_params"], json!(fixed));
    assert_eq!(trial.user, user);
    assert!(trial.params.is_empty());
    storage.describe(&lease, &[number("depth", 3)], &none(), &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).params, [number("depth", 3)]);
}

fn each_trial_of_the_queue_is_taken_once(database: &Database) {
    let (mut storage, id) = opened(database);
    for _ in 0..30 {
        storage.enqueue(id, &none(), &none()).unwrap();
    }
    let taken = ten_workers(database, |storage| {
        let mut taken = Vec::new();
        while let Some(Work::Queued(lease, _)) = storage.begin(id, "w", LONG, Some(0)).unwrap() {
            taken.push(lease.number);
        }
        taken
    });
    let mut taken: Vec<u64> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..30).collect::<Vec<_>>());
}

fn there_are_at_most_so_many_trials(database: &Database) {
    let (mut storage, id) = opened(database);
    let first = new_trial(&mut *storage, id, LONG);
    let Some(Work::New(second)) = storage.begin(id, "w", LONG, Some(2)).unwrap() else { panic!() };
    assert_eq!(storage.begin(id, "w", LONG, Some(2)).unwrap(), Some(Work::Later));
    storage.finish(&first, State::Fail, &[], &none()).unwrap();
    assert_eq!(storage.begin(id, "w", LONG, Some(2)).unwrap(), Some(Work::Later));
    storage.finish(&second, State::Complete, &[1.0], &none()).unwrap();
    assert_eq!(storage.begin(id, "w", LONG, Some(2)).unwrap(), None);
    let Some(Work::New(third)) = storage.begin(id, "w", LONG, Some(3)).unwrap() else { panic!() };
    assert_eq!(third.number, 2);
    // What is set aside keeps nobody waiting.
    storage.pause(&third).unwrap();
    assert_eq!(storage.begin(id, "w", LONG, Some(3)).unwrap(), None);
}

/// The trial that another worker takes over.
fn take_over(storage: &mut dyn Storage, study: i64) -> (Lease, Trial) {
    thread::sleep(Duration::from_millis(20));
    match storage.begin(study, "other", LONG, Some(0)).unwrap() {
        Some(Work::Abandoned(lease, trial)) => (lease, *trial),
        other => panic!("wanted an abandoned trial, got {other:?}"),
    }
}

fn a_silent_worker_loses_its_trial(database: &Database) {
    let (mut storage, id) = opened(database);
    let mut other = database.connect();
    let old = new_trial(&mut *storage, id, SHORT);
    storage.describe(&old, &[number("a", 1)], &none(), &none()).unwrap();
    storage.report(&old, &[(1, 0.5)], &none()).unwrap();
    let (new, trial) = take_over(&mut *other, id);
    assert_eq!((new.number, new.trial, new.attempt, old.attempt), (old.number, old.trial, 2, 1));
    assert!(new.token != old.token);
    assert_eq!((trial.params.as_slice(), trial.reports.as_slice()), (&[number("a", 1)][..], &[(1, 0.5)][..]));
    for answer in [
        storage.heartbeat(&old),
        storage.report(&old, &[(2, 0.75)], &none()),
        storage.describe(&old, &[], &none(), &none()),
        storage.finish(&old, State::Complete, &[1.0], &none()),
        storage.pause(&old),
    ] {
        assert!(matches!(answer, Err(Error::LeaseLost { number: 0 })), "{answer:?}");
    }
    assert_eq!(only_trial(&mut *storage, id), trial);
    other.finish(&new, State::Complete, &[0.25], &none()).unwrap();
    let late = storage.finish(&old, State::Complete, &[1.0], &none());
    assert!(matches!(late, Err(Error::LeaseLost { number: 0 })), "{late:?}");
    assert_eq!(only_trial(&mut *storage, id).values, [0.25]);
}

fn signs_of_life_keep_a_lease(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, Duration::from_secs(4));
    let mut other = database.connect();
    for step in 0..6 {
        thread::sleep(Duration::from_millis(900));
        match step % 3 {
            0 => storage.heartbeat(&lease),
            1 => storage.report(&lease, &[(step, 0.5)], &none()),
            _ => storage.describe(&lease, &[number("a", 1)], &none(), &none()),
        }
        .unwrap();
        assert_eq!(other.begin(id, "other", LONG, Some(1)).unwrap(), Some(Work::Later));
    }
}

fn a_lease_that_nobody_took_still_holds(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, SHORT);
    thread::sleep(Duration::from_millis(20));
    storage.finish(&lease, State::Complete, &[1.0], &none()).unwrap();
    assert_eq!(storage.begin(id, "w", LONG, Some(1)).unwrap(), None);
}

fn an_abandoned_trial_goes_before_the_queue(database: &Database) {
    let (mut storage, id) = opened(database);
    new_trial(&mut *storage, id, SHORT);
    storage.enqueue(id, &none(), &none()).unwrap();
    assert_eq!(take_over(&mut *storage, id).0.number, 0);
    let Some(Work::Queued(lease, _)) = storage.begin(id, "w", LONG, None).unwrap() else { panic!() };
    assert_eq!(lease.number, 1);
}

fn one_of_many_takes_an_abandoned_trial(database: &Database) {
    let (mut storage, id) = opened(database);
    new_trial(&mut *storage, id, SHORT);
    thread::sleep(Duration::from_millis(20));
    let taken = ten_workers(database, |storage| storage.begin(id, "w", LONG, Some(1)).unwrap());
    let abandoned = taken.iter().filter(|work| matches!(work, Some(Work::Abandoned(..)))).count();
    let later = taken.iter().filter(|work| matches!(work, Some(Work::Later))).count();
    assert_eq!((abandoned, later), (1, 9), "{taken:?}");
}

fn a_paused_trial_belongs_to_nobody(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, SHORT);
    storage.report(&lease, &[(1, 0.5)], &none()).unwrap();
    storage.pause(&lease).unwrap();
    thread::sleep(Duration::from_millis(20));
    let trial = only_trial(&mut *storage, id);
    assert_eq!((trial.state, trial.paused), (State::Running, true));
    assert_eq!(storage.begin(id, "w", LONG, Some(1)).unwrap(), None);
    for answer in [
        storage.heartbeat(&lease),
        storage.report(&lease, &[(2, 0.75)], &none()),
        storage.finish(&lease, State::Complete, &[1.0], &none()),
        storage.pause(&lease),
    ] {
        assert!(matches!(answer, Err(Error::LeaseLost { number: 0 })), "{answer:?}");
    }
    assert_eq!(only_trial(&mut *storage, id), trial);
}

fn one_of_many_takes_a_paused_trial_up(database: &Database) {
    let (mut storage, id) = opened(database);
    let lease = new_trial(&mut *storage, id, LONG);
    storage.pause(&lease).unwrap();
    let taken = ten_workers(database, |storage| storage.take_up(id, 0, "w", LONG).unwrap());
    let taken: Vec<Lease> = taken.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].trial, taken[0].attempt), (lease.trial, 1));
    assert!(taken[0].token != lease.token);
}

fn a_trial_taken_up_goes_on(database: &Database) {
    let (mut storage, id) = opened(database);
    let first = new_trial(&mut *storage, id, LONG);
    storage.report(&first, &[(1, 0.5)], &none()).unwrap();
    storage.pause(&first).unwrap();
    let second = storage.take_up(id, 0, "other", SHORT).unwrap().unwrap();
    assert!(!only_trial(&mut *storage, id).paused);
    assert!(storage.heartbeat(&first).is_err());
    storage.report(&second, &[(2, 0.75)], &none()).unwrap();
    // Its worker may die again.
    let (third, trial) = take_over(&mut *storage, id);
    assert_eq!((third.number, third.attempt), (0, 2));
    assert_eq!(trial.reports, [(1, 0.5), (2, 0.75)]);
    storage.finish(&third, State::Complete, &[0.75], &none()).unwrap();
    assert_eq!(only_trial(&mut *storage, id).state, State::Complete);
}

fn closing_ends_what_nobody_will(database: &Database) {
    let (mut storage, id) = opened(database);
    let complete = new_trial(&mut *storage, id, LONG);
    storage.finish(&complete, State::Complete, &[1.0], &none()).unwrap();
    let paused = new_trial(&mut *storage, id, LONG);
    storage.report(&paused, &[(1, 0.5)], &none()).unwrap();
    storage.pause(&paused).unwrap();
    new_trial(&mut *storage, id, SHORT);
    thread::sleep(Duration::from_millis(20));
    storage.enqueue(id, &none(), &none()).unwrap();
    storage.close(id).unwrap();
    let trials = storage.trials(id).unwrap();
    let states: Vec<State> = trials.iter().map(|trial| trial.state).collect();
    assert_eq!(states, [State::Complete, State::Pruned, State::Fail, State::Waiting]);
    assert_eq!((trials[1].values.as_slice(), trials[1].paused), (&[0.5][..], false));
    assert!(trials[1].finished.is_some());
    assert_eq!(storage.take_up(id, 1, "w", LONG).unwrap(), None);
}

fn closing_waits_for_others(database: &Database) {
    let (mut storage, id) = opened(database);
    let paused = new_trial(&mut *storage, id, LONG);
    storage.pause(&paused).unwrap();
    let mut other = database.connect();
    let alive = new_trial(&mut *other, id, LONG);
    storage.close(id).unwrap();
    let taken = other.take_up(id, 0, "other", LONG).unwrap().unwrap();
    other.finish(&alive, State::Complete, &[1.0], &none()).unwrap();
    other.pause(&taken).unwrap();
    other.close(id).unwrap();
    assert_eq!(other.trials(id).unwrap()[0].state, State::Pruned);
}

fn a_storage_works_after_closing(database: &Database) {
    let (mut storage, id) = opened(database);
    storage.close(id).unwrap();
    storage.close(id).unwrap();
    let lease = new_trial(&mut *storage, id, LONG);
    storage.finish(&lease, State::Complete, &[1.0], &none()).unwrap();
    assert_eq!(only_trial(&mut *database.connect(), id).values, [1.0]);
}

fn others_see_what_was_written(database: &Database) {
    let (mut storage, id) = opened(database);
    let mut other = database.connect();
    assert!(other.trials(id).unwrap().is_empty());
    let first = new_trial(&mut *storage, id, LONG);
    let second = new_trial(&mut *storage, id, LONG);
    assert_eq!(other.trials(id).unwrap().len(), 2);
    storage.finish(&second, State::Complete, &[2.0], &none()).unwrap();
    storage.report(&first, &[(1, 0.5)], &none()).unwrap();
    let seen = other.trials(id).unwrap();
    assert_eq!((seen[0].reports.len(), seen[1].state), (1, State::Complete));
    let third = new_trial(&mut *storage, id, LONG);
    storage.finish(&first, State::Pruned, &[], &none()).unwrap();
    storage.pause(&third).unwrap();
    assert_eq!(other.trials(id).unwrap(), storage.trials(id).unwrap());
    assert!(other.trials(id).unwrap()[2].paused);
}

//! Several processes that do one search, and what happens to them: killed, stopped, without their database.

use crate::searching::{folder_with_space, search, start, told, trials, wait_for};
use nasgen_search::{State, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

/// Servers that tests start for themselves.
#[path = "../storage/tests/databases.rs"]
#[allow(dead_code, reason = "the tests of the storage need more of it")]
mod databases;

/// Eight trials of a second or two; a worker that is silent for a second counts as dead.
const WORK: &str =
    "space.yml --epochs 40 --subset 400 --sampler random --pruner none --trials 8 --jobs 1 --finalists 0 --lease 1s";

fn assert_all_succeed(folder: &Path, workers: &mut [Child]) {
    for worker in workers {
        let status = worker.wait().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(folder.join("workers.log")).unwrap());
    }
}

/// Four workers in four processes, each killed at random moments and started again, until the work is done; after
/// each kill `disturb` is called with its number.
fn killed_and_started_again(folder: &Path, arguments: &str, mut disturb: impl FnMut(u64)) {
    let mut workers: Vec<Child> = (0..4).map(|_| start(folder, arguments)).collect();
    let chance = nasgen_modules::randomness::Stream::new(3, "kills");
    let began = Instant::now();
    for number in 0..8 {
        sleep(Duration::from_millis(200 + (600.0 * chance.uniform(number)) as u64));
        let victim = (number % 4) as usize;
        // It may have found its work done.
        let _ = workers[victim].kill();
        workers[victim].wait().unwrap();
        disturb(number);
        workers[victim] = start(folder, arguments);
        assert!(began.elapsed().as_secs() < 120);
    }
    assert_all_succeed(folder, &mut workers);
}

/// Every trial is there, is counted once and has the value that it has in a search that nothing disturbs: trial n is
/// drawn from (seed, n), whoever trains it and however often that was killed.
fn assert_nothing_is_lost(folder: &Path, arguments: &str, mut ended: Vec<Trial>) {
    let (code, result, stderr) = search(folder, arguments);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(result["trials"], json!({"complete": 8, "pruned": 0, "failed": 0, "reused": 0, "paused": 0}));
    let (code, _, stderr) = search(folder, &format!("{WORK} --study whole"));
    assert_eq!(code, 0, "{stderr}");
    ended.sort_by_key(|trial| trial.number);
    assert_eq!(ended.iter().map(|trial| trial.number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(ended.iter().all(|trial| trial.state == State::Complete && !trial.paused));
    let mut whole = trials(folder, "whole");
    whole.sort_by_key(|trial| trial.number);
    assert_eq!(told(&ended), told(&whole));
}

#[test]
fn killed_workers_lose_nothing() {
    let folder = folder_with_space();
    let arguments = format!("{WORK} --study killed");
    killed_and_started_again(folder.path(), &arguments, |_| {});
    assert_nothing_is_lost(folder.path(), &arguments, trials(folder.path(), "killed"));
}

/// The trials of the study `killed`.
fn killed_trials(database: &databases::Database) -> Vec<Trial> {
    let mut storage = database.connect();
    let (id, _) = storage.study("killed").unwrap().unwrap();
    storage.trials(id).unwrap().to_vec()
}

#[test]
fn workers_outlive_each_other_and_a_postgres_that_is_restarted() {
    let Some(server) = databases::Server::postgres().map(Arc::new) else { return };
    let database = databases::Server::database(&server);
    let folder = folder_with_space();
    let arguments = format!("{WORK} --study killed --storage {}", database.url);
    killed_and_started_again(folder.path(), &arguments, |number| match number {
        2 => server.restart("fast"),
        5 => server.restart("immediate"),
        _ => {}
    });
    assert_nothing_is_lost(folder.path(), &arguments, killed_trials(&database));
}

#[cfg(feature = "mysql")]
#[test]
fn workers_outlive_each_other_on_mariadb() {
    let Some(database) = databases::mariadb() else { return };
    let folder = folder_with_space();
    let arguments = format!("{WORK} --study killed --storage {}", database.url);
    killed_and_started_again(folder.path(), &arguments, |_| {});
    assert_nothing_is_lost(folder.path(), &arguments, killed_trials(&database));
}

/// One trial of many epochs.
const LONG: &str = "space.yml --epochs 80 --sampler random --pruner none --trials 1 --jobs 1 --finalists 0 --lease 1s";

fn results(folder: &Path) -> String {
    fs::read_to_string(folder.join("results.csv")).unwrap_or_default()
}

fn epochs(table: &str) -> Vec<u64> {
    table.lines().skip(1).map(|row| row.split(',').next().unwrap().parse().unwrap()).collect()
}

/// A worker that is some epochs into the only trial.
fn in_the_middle(folder: &Path) -> Child {
    let worker = start(folder, LONG);
    let run = folder.join("studies/space/trials/00000");
    wait_for("some epochs", 60.0, || results(&run).lines().count() > 4);
    worker
}

/// A mark in what was written before the kill is still there at the end, which it would not be had the training begun
/// anew.
#[test]
fn a_trial_whose_worker_was_killed_goes_on_from_its_checkpoint() {
    let folder = folder_with_space();
    let mut worker = in_the_middle(folder.path());
    worker.kill().unwrap();
    worker.wait().unwrap();
    let run = folder.path().join("studies/space/trials/00000");
    let before = results(&run);
    let first = before.lines().nth(1).unwrap();
    let loss = first.split(',').nth(2).unwrap();
    assert!(epochs(&before).len() < 80, "it was done before it was killed");
    fs::write(run.join("results.csv"), before.replacen(loss, "7.777777", 1)).unwrap();

    let (code, result, stderr) = search(folder.path(), LONG);
    assert_eq!((code, &result["trials"]["complete"]), (0, &1.into()), "{stderr}");
    let table = results(&run);
    assert_eq!(table.lines().nth(1).unwrap(), first.replacen(loss, "7.777777", 1));
    assert_eq!(epochs(&table), (1..=80).collect::<Vec<_>>());
    assert_eq!(trials(folder.path(), "space")[0].reports.len(), 80);
}

/// Whether somebody is in the middle of writing to a database file.
fn is_locked(file: &Path) -> bool {
    let database = rusqlite::Connection::open(file).unwrap();
    database.busy_timeout(Duration::from_millis(200)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
}

/// Stopped for longer than its lease, a worker finds its trial taken over: by one that went on from a copy of its
/// checkpoint, since it still held the folder.
#[test]
fn a_worker_that_was_stopped_and_wakes_changes_nothing() {
    let folder = folder_with_space();
    let mut worker = in_the_middle(folder.path());
    let signal = |signal| kill(Pid::from_raw(worker.id().try_into().unwrap()), signal).unwrap();
    signal(Signal::SIGSTOP);
    // Stopped while it writes it holds the lock of the file, and nobody can write: not what is tried here.
    while is_locked(&folder.path().join("studies/space.db")) {
        signal(Signal::SIGCONT);
        sleep(Duration::from_millis(20));
        signal(Signal::SIGSTOP);
    }
    let (code, result, stderr) = search(folder.path(), LONG);
    assert_eq!((code, &result["trials"]["complete"]), (0, &1.into()), "{stderr}");
    let before = told(&trials(folder.path(), "space"));
    let run = folder.path().join("studies/space/trials");
    assert_eq!(epochs(&results(&run.join("00000-taken-over"))), (1..=80).collect::<Vec<_>>());
    let held = epochs(&results(&run.join("00000"))).len();
    assert!((1..80).contains(&held), "{held} epochs before it was stopped");
    signal(Signal::SIGCONT);
    assert!(worker.wait().unwrap().success());
    assert_eq!(told(&trials(folder.path(), "space")), before);
}

/// A trial that says nothing for longer than its lease is not another worker's: its worker's heart beats.
#[test]
fn a_silent_trial_belongs_to_the_worker_that_lives() {
    let script = "while read -r line; do echo \"$line\" >> asked; sleep 4; echo '{\"value\":1}'; done";
    let folder = crate::searching::mishaps::folder_with(script);
    let begin = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
        command.args(["search", "values.yml", "--evaluator", "sh train.sh", "--trials", "1", "--lease", "1s"]);
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let asked = || fs::read_to_string(folder.path().join("asked")).unwrap_or_default();
    let mut first = begin();
    wait_for("the trial", 20.0, || !asked().is_empty());
    let mut second = begin();
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(asked().lines().count(), 1, "the trial was taken from a worker that lives");
}

/// Of workers that share their files one trains the winner on all images, and one looks at the test images.
#[test]
fn workers_end_a_search_together() {
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 3 --subset 200 --kfold 2 --sampler random --pruner none --trials 2 --jobs 1 \
                     --finalists 1 --final-seeds 2 --lease 1s";
    let mut workers: Vec<Child> = (0..3).map(|_| start(folder.path(), arguments)).collect();
    assert_all_succeed(folder.path(), &mut workers);
    let (code, result, stderr) = search(folder.path(), arguments);
    assert_eq!((code, result["final"]["test"].as_array().map(Vec::len)), (0, Some(1)), "{stderr}");
    let run = folder.path().join(result["final"]["run"].as_str().unwrap());
    assert_eq!(epochs(&results(&run)), [1, 2, 3]);
    assert!(!run.with_file_name("on-all-images-taken-over").exists(), "two trained the winner at once");
}

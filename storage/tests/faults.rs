//! Workers that are killed, stopped and cut off; servers that go away; disks that fill up.

use crate::{
    databases::{self, Database, Server},
    optuna,
};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State, Trial};
use nasgen_storage::{Error, Lease, Storage, Study, Trouble, Work, connect, connect_existing};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const WORKERS: usize = 4;
const EPOCHS: u64 = 4;
/// Short, so that the dead are missed soon; long against a worker that waits for its turn at a busy processor.
const LEASE: Duration = Duration::from_secs(4);

/// How long workers are killed: `NASGEN_FAULT_SECONDS`, else long enough to see it work.
fn seconds_of_faults() -> u64 {
    std::env::var("NASGEN_FAULT_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(15)
}

fn study() -> Study {
    Study {
        name: "faults".to_owned(),
        objectives: vec![Objective { name: "accuracy".to_owned(), direction: Direction::Maximize, known: false }],
        user: Attributes::new(),
        system: Attributes::new(),
    }
}

/// What a trial comes to: everybody can tell whether it is right.
fn value_of(number: u64, epoch: u64) -> f64 {
    number as f64 + epoch as f64 / 8.0
}

fn params_of(number: u64) -> Vec<Param> {
    let distribution = Distribution::Int { low: 0, high: 1 << 30, step: 1, log: false };
    (0..3)
        .map(|index| Param {
            name: format!("p{index}"),
            distribution: distribution.clone(),
            value: json!(number * 10 + index),
        })
        .collect()
}

/// A study that worker processes search, and what they say of it.
struct Search {
    url: String,
    folder: TempDir,
}

/// What a worker process is told by its environment.
const URL: &str = "NASGEN_TEST_STORAGE";
const FOLDER: &str = "NASGEN_TEST_FOLDER";

impl Search {
    fn new(url: &str) -> Self {
        let mut storage = connect(url).unwrap();
        storage.open(&study()).unwrap();
        Self { url: url.to_owned(), folder: TempDir::new().unwrap() }
    }

    /// This program again, with `test` for its only one.
    fn start(&self, test: &str) -> Child {
        self.command(test).spawn().unwrap()
    }

    fn command(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([test, "--exact", "--ignored", "--quiet"])
            .env(URL, &self.url)
            .env(FOLDER, self.folder.path())
            .stdout(std::process::Stdio::null());
        command
    }

    /// Workers begin no further trials.
    fn stop(&self) {
        fs::write(self.folder.path().join("stop"), "").unwrap();
    }

    /// The trials whose end a worker was told of, each as often as it was told.
    fn told(&self) -> Vec<u64> {
        let lines = fs::read_to_string(self.folder.path().join("told")).unwrap_or_default();
        lines.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Everything that must be true once all workers have ended.
    fn check(&self) -> usize {
        let mut storage = connect_existing(&self.url).unwrap();
        let (id, _) = storage.study("faults").unwrap().unwrap();
        let trials = storage.trials(id).unwrap().to_vec();
        for (place, trial) in trials.iter().enumerate() {
            let number = trial.number;
            assert_eq!(number, place as u64, "numbers have neither gaps nor repeats");
            assert_eq!(trial.state, State::Complete, "{trial:?}");
            assert_eq!(trial.values, [value_of(number, EPOCHS)], "{trial:?}");
            assert_eq!(trial.params, params_of(number));
            let curve: Vec<_> = (1..=EPOCHS).map(|epoch| (epoch, value_of(number, epoch))).collect();
            assert_eq!(trial.reports, curve);
        }
        let mut told = self.told();
        let all = told.len();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), all, "nobody ends a trial that another one has ended");
        assert!(told.iter().all(|number| (*number as usize) < trials.len()), "no finished trial is lost");
        storage.close(id).unwrap();
        drop(storage);
        optuna::check_opens(&self.url, "faults", trials.len());
        trials.len()
    }
}

/// A worker process.
struct Worker {
    storage: Box<dyn Storage>,
    study: i64,
    name: String,
    folder: PathBuf,
}

impl Worker {
    fn from_environment() -> Option<Self> {
        let mut storage = connect(&std::env::var(URL).ok()?).unwrap();
        let (study, _) = storage.study("faults").unwrap().unwrap();
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        Some(Self { storage, study, name: std::process::id().to_string(), folder })
    }

    fn work(&mut self) {
        loop {
            let stopping = self.folder.join("stop").exists();
            if let Some(lease) = self.paused() {
                self.train(&lease);
                continue;
            }
            match self.storage.begin(self.study, &self.name, LEASE, stopping.then_some(0)).unwrap() {
                Some(Work::New(lease) | Work::Queued(lease, _) | Work::Abandoned(lease, _)) => self.train(&lease),
                Some(Work::Later) => thread::sleep(Duration::from_millis(100)),
                None => return,
            }
        }
    }

    /// A trial that somebody set aside.
    fn paused(&mut self) -> Option<Lease> {
        let trials = self.storage.trials(self.study).unwrap();
        let number = trials.iter().find(|trial| trial.paused)?.number;
        self.storage.take_up(self.study, number, &self.name, LEASE).unwrap()
    }

    fn train(&mut self, lease: &Lease) {
        match self.try_to_train(lease) {
            // Other workers are faster where this one had to wait too long.
            Ok(()) | Err(Error::LeaseLost { .. } | Error::Finished { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn try_to_train(&mut self, lease: &Lease) -> nasgen_storage::Result<()> {
        let number = lease.number;
        self.storage.describe(lease, &params_of(number), &Attributes::new(), &Attributes::new())?;
        let last = self.trial(number).last_step().unwrap_or(0);
        for epoch in last + 1..=EPOCHS {
            thread::sleep(Duration::from_millis(20));
            self.storage.report(lease, &[(epoch, value_of(number, epoch))], &Attributes::new())?;
            if number.is_multiple_of(5) && epoch == 2 {
                return self.storage.pause(lease);
            }
        }
        let worker = Attributes::from([("worker".to_owned(), json!(self.name))]);
        self.storage.finish(lease, State::Complete, &[value_of(number, EPOCHS)], &worker)?;
        self.tell(number);
        Ok(())
    }

    fn trial(&mut self, number: u64) -> &Trial {
        &self.storage.trials(self.study).unwrap()[number as usize]
    }

    /// Says that a trial ended. One write appends one line whole.
    fn tell(&self, number: u64) {
        let mut file = fs::File::options().append(true).create(true).open(self.folder.join("told")).unwrap();
        file.write_all(format!("{number}\n").as_bytes()).unwrap();
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn worker() {
    if let Some(mut worker) = Worker::from_environment() {
        worker.work();
    }
}

/// Kills one worker after the other while they search, then lets them end.
fn kill_workers(database: &Database) {
    let search = Search::new(&database.url);
    let mut storage = database.connect();
    let (id, _) = storage.study("faults").unwrap().unwrap();
    for _ in 0..10 {
        storage.enqueue(id, &Attributes::new(), &Attributes::new()).unwrap();
    }
    drop(storage);
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| search.start("faults::worker")).collect();
    let begun = Instant::now();
    let mut killed = 0;
    while begun.elapsed().as_secs() < seconds_of_faults() {
        // Not in step with what they do.
        thread::sleep(Duration::from_millis(700 + (killed as u64 * 211) % 600));
        let victim = (killed * 7 + killed / 3) % WORKERS;
        workers[victim].kill().unwrap();
        workers[victim].wait().unwrap();
        workers[victim] = search.start("faults::worker");
        killed += 1;
    }
    search.stop();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    let trials = search.check();
    println!("{killed} workers killed, {trials} trials");
    assert!(killed >= 5 && trials > 10, "{killed} workers killed, {trials} trials");
}

#[test]
fn killed_workers_lose_nothing_on_sqlite() {
    kill_workers(&databases::sqlite().unwrap());
}

#[test]
fn killed_workers_lose_nothing_on_postgres() {
    if let Some(database) = databases::postgres() {
        kill_workers(&database);
    }
}

#[cfg(feature = "mysql")]
#[test]
fn killed_workers_lose_nothing_on_mariadb() {
    if let Some(database) = databases::mariadb() {
        kill_workers(&database);
    }
}

#[test]
fn a_postgres_that_is_restarted_is_waited_for() {
    let Some(server) = Server::postgres().map(Arc::new) else { return };
    let database = Server::database(&server);
    let search = Search::new(&database.url);
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| search.start("faults::worker")).collect();
    let finished = || {
        let mut storage = database.connect();
        let (id, _) = storage.study("faults").unwrap().unwrap();
        storage.trials(id).unwrap().iter().filter(|trial| trial.state.is_finished()).count()
    };
    for mode in ["fast", "immediate", "fast", "immediate"] {
        thread::sleep(Duration::from_millis(1500));
        server.restart(mode);
        let (before, began) = (finished(), Instant::now());
        while finished() <= before + WORKERS {
            assert!(began.elapsed().as_secs() < 60, "the workers do not go on: {before} trials");
            thread::sleep(Duration::from_millis(50));
        }
    }
    search.stop();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success(), "a worker gave up");
    }
    assert!(search.check() > 0);
}

#[test]
#[ignore = "a process that other tests start"]
fn sleeper() {
    let Some(mut worker) = Worker::from_environment() else { return };
    let Ok(Some(Work::New(lease))) = worker.storage.begin(worker.study, "sleeper", Duration::from_secs(1), None) else {
        panic!("no trial to begin");
    };
    worker.storage.report(&lease, &[(1, 0.5)], &Attributes::new()).unwrap();
    // Stopped here, until the lease is long over; the signal may take a moment to reach this thread.
    kill(Pid::this(), Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_millis(500));
    for answer in [
        worker.storage.report(&lease, &[(2, 0.75)], &Attributes::new()),
        worker.storage.finish(&lease, State::Complete, &[0.75], &Attributes::new()),
    ] {
        assert!(matches!(answer, Err(Error::LeaseLost { number: 0 })), "{answer:?}");
    }
}

fn stop_a_worker(database: &Database) {
    let search = Search::new(&database.url);
    let mut storage = database.connect();
    let (id, _) = storage.study("faults").unwrap().unwrap();
    let mut sleeper = search.start("faults::sleeper");
    let begun = Instant::now();
    let lease = loop {
        assert!(begun.elapsed().as_secs() < 60, "the lease of a stopped worker never ends");
        match storage.begin(id, "other", LEASE, Some(0)).unwrap() {
            Some(Work::Abandoned(lease, trial)) if !trial.reports.is_empty() => break lease,
            Some(Work::Abandoned(..)) => panic!("the machine is too slow for a lease of a second"),
            _ => thread::sleep(Duration::from_millis(50)),
        }
    };
    storage.finish(&lease, State::Complete, &[0.25], &Attributes::new()).unwrap();
    kill(Pid::from_raw(sleeper.id() as i32), Signal::SIGCONT).unwrap();
    assert!(sleeper.wait().unwrap().success(), "the worker that was stopped was not refused");
    let trials = storage.trials(id).unwrap();
    assert_eq!((trials.len(), trials[0].values.as_slice(), trials[0].reports.len()), (1, &[0.25][..], 1));
}

#[test]
fn a_stopped_worker_is_refused_on_sqlite() {
    stop_a_worker(&databases::sqlite().unwrap());
}

#[test]
fn a_stopped_worker_is_refused_on_postgres() {
    if let Some(database) = databases::postgres() {
        stop_a_worker(&database);
    }
}

/// A worker may be stopped while it writes, and then holds the lock of the file.
#[test]
fn a_lock_that_is_never_given_back_is_told_and_loses_nothing() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("locked.db");
    let mut storage = connect(file.to_str().unwrap()).unwrap();
    let (id, _) = storage.open(&study()).unwrap();
    let Some(Work::New(lease)) = storage.begin(id, "w", Duration::from_secs(3600), None).unwrap() else { panic!() };
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = storage.report(&lease, &[(1, 0.5)], &Attributes::new()).unwrap_err();
    assert!(matches!(error, Error::Database { trouble: Trouble::Busy, .. }), "{error:?}");
    assert!(error.to_string().contains("locked.db") && error.to_string().contains("continue or end it"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    storage.report(&lease, &[(1, 0.5)], &Attributes::new()).unwrap();
    assert_eq!(storage.trials(id).unwrap()[0].reports.len(), 1);
}

#[test]
#[ignore = "a process that other tests start"]
fn filler() {
    let Some(mut worker) = Worker::from_environment() else { return };
    let weight = Attributes::from([("config".to_owned(), json!("x".repeat(20_000)))]);
    loop {
        let outcome = worker.storage.begin(worker.study, "filler", LEASE, None).and_then(|work| {
            let Some(Work::New(lease) | Work::Abandoned(lease, _)) = work else { panic!("{work:?}") };
            worker.storage.describe(&lease, &params_of(lease.number), &weight, &Attributes::new())?;
            worker.storage.finish(&lease, State::Complete, &[value_of(lease.number, EPOCHS)], &weight)?;
            Ok(lease.number)
        });
        match outcome {
            Ok(number) if number > 10_000 => panic!("the disk never filled up"),
            Ok(number) => worker.tell(number),
            Err(error) => {
                fs::write(worker.folder.join("error"), error.to_string()).unwrap();
                return;
            }
        }
    }
}

/// A small disk at `place`, where this process may mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(place: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3M", "none"]).arg(place).output().ok()?;
        mounted.status.success().then_some(Self(place))
    }

    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=64M"]).arg(self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a failed test may still have the file open.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = TempDir::new().unwrap();
    let disk = SmallDisk::mount(place.path());
    let search = Search::new(&format!("sqlite:///{}/full.db", place.path().display()));
    let filler = search.command("faults::filler");
    let ended = if disk.is_some() {
        search.start("faults::filler").wait().unwrap()
    } else {
        // Files that may not grow are the next best: the signal for it is ignored, so that the write fails.
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 3000; exec \"$0\" faults::filler --exact --ignored --quiet"])
            .arg(filler.get_program())
            .env(URL, &search.url)
            .env(FOLDER, search.folder.path())
            .status()
            .unwrap()
    };
    assert!(ended.success());
    let error = fs::read_to_string(search.folder.path().join("error")).unwrap();
    assert!(error.contains("disk"), "{error}");
    let told = search.told();
    assert!(told.len() > 5, "{told:?}");
    if let Some(disk) = &disk {
        assert!(error.contains("free some space"), "{error}");
        disk.grow();
    }
    let mut storage = connect_existing(&search.url).unwrap();
    let (id, _) = storage.study("faults").unwrap().unwrap();
    for number in told {
        let trial = &storage.trials(id).unwrap()[number as usize];
        assert_eq!((trial.state, trial.values.as_slice()), (State::Complete, &[value_of(number, EPOCHS)][..]));
        assert_eq!(trial.params, params_of(number));
    }
    // And it goes on, perhaps after the lease of the trial that failed.
    let lease = match storage.begin(id, "w", LEASE, None).unwrap() {
        Some(Work::New(lease) | Work::Abandoned(lease, _)) => lease,
        other => panic!("{other:?}"),
    };
    storage.finish(&lease, State::Complete, &[1.0], &Attributes::new()).unwrap();
}

#[test]
fn a_torn_log_loses_only_its_end() {
    let place = TempDir::new().unwrap();
    let whole = place.path().join("whole.db");
    let mut storage = connect(whole.to_str().unwrap()).unwrap();
    let (id, _) = storage.open(&study()).unwrap();
    // Some of it in the file, the rest in its log.
    for trials in [0..10, 10..30] {
        for number in trials {
            let Some(Work::New(lease)) = storage.begin(id, "w", LEASE, None).unwrap() else { panic!() };
            storage.describe(&lease, &params_of(number), &Attributes::new(), &Attributes::new()).unwrap();
            storage.finish(&lease, State::Complete, &[value_of(number, EPOCHS)], &Attributes::new()).unwrap();
        }
        if storage.trials(id).unwrap().len() == 10 {
            storage.close(id).unwrap();
        }
    }
    let log = fs::read(place.path().join("whole.db-wal")).unwrap();
    assert!(log.len() > 10_000, "{}", log.len());
    let mut finished_before = 0;
    for piece in 0..=40 {
        let length = if piece == 40 { log.len() } else { log.len() * piece / 40 + piece * 7 };
        let torn = place.path().join(format!("torn{piece}.db"));
        fs::copy(&whole, &torn).unwrap();
        fs::write(place.path().join(format!("torn{piece}.db-wal")), &log[..length.min(log.len())]).unwrap();
        finished_before = check_torn(&torn, finished_before);
    }
    assert_eq!(finished_before, 30);
}

/// How many trials of a file with a torn log are finished: never fewer than with a shorter one.
fn check_torn(file: &Path, finished_before: usize) -> usize {
    let mut storage = connect_existing(file.to_str().unwrap()).unwrap();
    let (id, _) = storage.study("faults").unwrap().unwrap();
    let trials = storage.trials(id).unwrap().to_vec();
    let finished = trials.iter().filter(|trial| trial.state == State::Complete).count();
    assert!(finished >= finished_before.max(10), "{finished} {finished_before}");
    assert!(trials.len() <= finished + 1);
    for trial in &trials[..finished] {
        assert_eq!(trial.values, [value_of(trial.number, EPOCHS)]);
        assert_eq!(trial.params, params_of(trial.number));
    }
    let lease = match storage.begin(id, "w", LEASE, None).unwrap() {
        Some(Work::New(lease) | Work::Abandoned(lease, _)) => lease,
        other => panic!("{other:?}"),
    };
    storage.finish(&lease, State::Complete, &[1.0], &Attributes::new()).unwrap();
    let numbers: BTreeMap<u64, State> = storage.trials(id).unwrap().iter().map(|t| (t.number, t.state)).collect();
    assert!(numbers.keys().copied().eq(0..numbers.len() as u64));
    drop(storage);
    assert!(!file.with_extension("db-wal").exists(), "the last one leaves one file");
    finished
}

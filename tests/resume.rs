//! A training that is stopped or killed, at any moment, ends as if it never had been.

use crate::program::nasgen;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A quick network with all that has state: norms, dropout, stochastic depth.
const SPEC: &str = "\
input_size: [12, 12]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [2, MBConv, [8, 2, 1, 3]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Dropout, [0.2]]
  - [1, Linear, [10]]
";

fn folder_with_spec() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    folder
}

/// Two classes of small grey images: dark and bright ones.
fn write_photos(folder: &Path, of_each: u8) {
    for (class, brightness) in [("cat", 0), ("dog", 100)] {
        fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..of_each {
            write_photo(&folder.join(class).join(format!("{number}.png")), brightness + number);
        }
    }
}

fn write_photo(path: &Path, brightness: u8) {
    image::GrayImage::from_pixel(12, 12, image::Luma([brightness])).save(path).unwrap();
}

fn start(folder: &Path, arguments: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args(arguments.split_whitespace()).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets the process run for a while; whether it was still running then and was killed.
fn kill_after(mut child: Child, time: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{}: {error}", folder.join(name).display()))
}

/// The columns of `results.csv` that do not depend on time.
fn results(folder: &Path) -> Vec<Vec<String>> {
    let text = String::from_utf8(read(folder, "results.csv")).unwrap();
    let timeless = |line: &str| {
        let cells = line.split(',').enumerate().filter(|(column, _)| ![1, 8].contains(column));
        cells.map(|(_, cell)| cell.to_owned()).collect()
    };
    text.lines().map(timeless).collect()
}

/// That two runs ended alike, to the byte.
fn assert_same(one: &Path, other: &Path) {
    for file in ["last.safetensors", "best.safetensors"] {
        assert!(read(one, file) == read(other, file), "{file} of {} and {} differ", one.display(), other.display());
    }
    assert_eq!(results(one), results(other));
}

/// Kills a training at `kills` random moments, then lets it end, and compares it with one that was
/// never killed.
fn survive_kills(executor: &str, epochs: usize, kills: u64, more: &str) {
    let folder = folder_with_spec();
    write_photos(&folder.path().join("photos"), 60);
    let settings = format!(
        "train cfg.yml --data photos --classes 2 --epochs {epochs} --batch 12 --lr 0.02 --executor {executor} {more}"
    );
    let began = Instant::now();
    let (code, _, stderr) = nasgen(folder.path(), &format!("{settings} --run whole"));
    assert_eq!(code, 0, "{stderr}");
    let whole = began.elapsed();

    let chance = nasgen_modules::randomness::Stream::new(5, "kills");
    let run = folder.path().join("killed");
    let (mut killed, mut moments) = (0, 0);
    while killed < kills {
        // A run that has reached its end begins anew: every kill counts.
        let arguments = match run.join("config.yaml").is_file() {
            true => "train --resume killed".to_owned(),
            false => {
                let _ = fs::remove_dir_all(&run);
                format!("{settings} --run killed")
            }
        };
        let moment = whole.mul_f64(0.75 * f64::from(chance.uniform(moments)));
        moments += 1;
        if kill_after(start(folder.path(), &arguments), moment) {
            killed += 1;
        } else {
            assert_same(&folder.path().join("whole"), &run);
            fs::remove_dir_all(&run).unwrap();
        }
    }
    let resume =
        if run.join("config.yaml").is_file() { "train --resume killed" } else { &format!("{settings} --run killed") };
    if !run.join("config.yaml").is_file() {
        let _ = fs::remove_dir_all(&run);
    }
    let (code, _, stderr) = nasgen(folder.path(), resume);
    assert_eq!(code, 0, "{stderr}");
    assert_same(&folder.path().join("whole"), &run);
    let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".nasgen-")), "{left:?}");
}

#[test]
fn twenty_kills_change_nothing_on_the_engine() {
    survive_kills("engine", 30, 20, "");
}

#[test]
fn twenty_kills_change_nothing_on_the_reference() {
    survive_kills("reference", 4, 20, "");
}

/// Everything that has a state of its own: moments, averages, waiting gradients, a plateau.
#[test]
fn kills_change_nothing_whatever_the_settings() {
    let more = "--optimizer adam --accumulate 3 --ema 0.9 --schedule plateau --plateau-patience 1 --gamma 0.7 \
                --loss focal --balance sampler --clip 0.5 --metric loss";
    survive_kills("engine", 20, 6, more);
    survive_kills("reference", 3, 3, more);
}

/// Rows that begin to learn one after the other, from weights of another training.
#[test]
fn kills_change_nothing_while_fine_tuning() {
    let folder = folder_with_spec();
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --epochs 1 --subset 200 --run before");
    assert_eq!(code, 0, "{stderr}");
    let before = folder.path().join("before");
    let more = format!("--init {} --freeze-until 5 --unfreeze-every 2 --optimizer adamw", before.display());
    survive_kills("engine", 10, 4, &more);
    survive_kills("reference", 4, 3, &more);
}

/// What a signal some time `after` the first checkpoint makes of a training: its exit code and messages.
#[cfg(unix)]
fn signalled(folder: &Path, arguments: &str, signal: &str, after: Duration) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args(arguments.split_whitespace()).current_dir(folder);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let last = folder.join("run/last.safetensors");
    while !last.exists() && began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(1));
    }
    sleep(after);
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_within_the_epoch_and_says_how_to_go_on() {
    let folder = folder_with_spec();
    let settings = "train cfg.yml --epochs 3 --batch 4 --lr 0.01";
    let (code, _, stderr) = nasgen(folder.path(), &format!("{settings} --run whole"));
    assert_eq!(code, 0, "{stderr}");
    let run = folder.path().join("run");
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        // A busy machine may be between two epochs when the signal comes.
        let stops_within_an_epoch = |milliseconds: u64| {
            let _ = fs::remove_dir_all(&run);
            let after = Duration::from_millis(milliseconds);
            let (actual, stderr) = signalled(folder.path(), &format!("{settings} --run run"), signal, after);
            assert_eq!(actual, code, "{stderr}");
            assert!(stderr.contains("go on with: nasgen train --resume run"), "{stderr}");
            nasgen::train::Checkpoint::load(&run.join("last.safetensors")).unwrap().progress.steps > 0
        };
        assert!([60, 90, 130, 180, 240].into_iter().any(stops_within_an_epoch), "it always stopped between epochs");
        let (actual, stdout, stderr) = nasgen(folder.path(), "train --resume run --json");
        assert_eq!(actual, 0, "{stderr}");
        assert_same(&folder.path().join("whole"), &run);
        let result: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(result["epochs"], 3);
    }
}

#[test]
fn epochs_may_be_raised_and_a_run_that_is_done_stays_so() {
    let folder = folder_with_spec();
    let constant = "--batch 100 --lr 0.01 --warmup 0";
    let (code, first, stderr) = nasgen(folder.path(), &format!("train cfg.yml --epochs 1 {constant} --run run --json"));
    assert_eq!(code, 0, "{stderr}");
    let before = read(&folder.path().join("run"), "last.safetensors");
    let (code, again, stderr) = nasgen(folder.path(), "train --resume run --json");
    assert_eq!(code, 0, "{stderr}");
    let best = |stdout: &str| serde_json::from_str::<Value>(stdout).unwrap()["best"].clone();
    assert_eq!((best(&first), before), (best(&again), read(&folder.path().join("run"), "last.safetensors")));

    let (code, raised, stderr) = nasgen(folder.path(), "train --resume run --epochs 3 --json");
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("3 epochs instead of 1"), "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(&raised).unwrap()["epochs"], 3);
    assert_eq!(results(&folder.path().join("run")).len(), 4);
    let config = String::from_utf8(read(&folder.path().join("run"), "config.yaml")).unwrap();
    assert!(config.contains("  epochs: 3  # flag --epochs of a resume; before: 1\n"), "{config}");
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2");
    assert!(code == 2 && stderr.contains("wanted more than the 3"), "{stderr}");
}

#[test]
fn a_resume_takes_its_settings_from_the_run_alone() {
    let folder = folder_with_spec();
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --epochs 1 --batch 200 --run run");
    assert_eq!(code, 0, "{stderr}");
    for (arguments, message) in [
        ("train --resume run --lr 0.1 --weight-decay 0", "--lr, --weight-decay cannot be given"),
        ("train cfg.yml --resume run", "a model spec cannot be given"),
        ("train --resume run --executor reference", "--executor cannot be given"),
        ("train --resume nowhere", "no config.yaml"),
        ("train", "CONFIG"),
    ] {
        let (code, _, stderr) = nasgen(folder.path(), arguments);
        assert!(code == 2 && stderr.contains(message), "`{arguments}`: {stderr}");
    }
    let run = folder.path().join("run");
    let last = nasgen::train::Checkpoint::load(&run.join("last.safetensors")).unwrap();
    let elsewhere = nasgen::train::Checkpoint { build: "another nasgen".into(), ..last };
    elsewhere.save(&run.join("last.safetensors"), &serde_json::json!({})).unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2");
    assert!(code == 2 && stderr.contains("trained by another nasgen"), "{stderr}");
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2 --allow-different-build");
    assert!(code == 0 && stderr.contains("need not be the same to the bit"), "{stderr}");
}

#[test]
fn images_that_changed_since_a_run_began_stop_its_resume() {
    let folder = folder_with_spec();
    let photos = folder.path().join("photos");
    let image = |path: &str, value: u8| write_photo(&photos.join(path), value);
    write_photos(&photos, 12);
    let (code, _, stderr) =
        nasgen(folder.path(), "train cfg.yml --classes 2 --data photos --epochs 1 --batch 8 --run run");
    assert_eq!(code, 0, "{stderr}");
    image("dog/3.png", 7);
    image("dog/new.png", 7);
    fs::remove_file(photos.join("cat/0.png")).unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2");
    assert_eq!(code, 3, "{stderr}");
    for part in ["split.csv", "1 not in the data: cat/0.png", "1 changed: dog/3.png"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    image("cat/0.png", 0);
    image("dog/3.png", 103);
    fs::rename(&photos, folder.path().join("moved")).unwrap();
    let (code, _, stderr) = nasgen(folder.path(), "train --resume run --epochs 2 --data moved");
    assert!(code == 0 && stderr.contains("1 images are not in run/split.csv and left out"), "{stderr}");
}

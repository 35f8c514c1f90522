//! `nasgen study`: what is said of a study.

use crate::{golden, program::nasgen};
use nasgen_modules::Distribution;
use nasgen_search::{Attributes, Direction, Objective, Param, State};
use nasgen_storage::{Study, Work, connect};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, time::Duration};

const LEASE: Duration = Duration::from_secs(1000);

fn objective(name: &str, direction: Direction) -> Objective {
    Objective { name: name.to_owned(), direction, known: name != "accuracy" }
}

/// Writes the study `name` with five trials: three complete, one failed, one waiting.
fn write(folder: &Path, name: &str, objectives: &[Objective]) {
    let mut storage = connect(&format!("sqlite:///{}/studies/{name}.db", folder.display())).unwrap();
    let study = Study {
        name: name.to_owned(),
        objectives: objectives.to_vec(),
        user: Attributes::new(),
        system: Attributes::new(),
    };
    let (id, _) = storage.open(&study).unwrap();
    for (accuracy, macro_f1, params, macs) in
        [(0.625, 0.55, 1200, 150_000), (0.875, 0.8, 9000, 4_000_000), (0.75, 0.7125, 4000, 900_000), (0.0, 0.0, 1, 1)]
    {
        let Some(Work::New(lease)) = storage.begin(id, "w", LEASE, None).unwrap() else { panic!() };
        let distribution = Distribution::Choice(vec![json!("Conv"), json!([3, 5])]);
        let value = if lease.number == 1 { json!([3, 5]) } else { json!("Conv") };
        let config = format!("# trial {}\nbackbone: []\n", lease.number);
        let user = Attributes::from([
            ("config".to_owned(), json!(config)),
            ("params".to_owned(), json!(params)),
            ("macs".to_owned(), json!(macs)),
        ]);
        let param = Param { name: "s0.kernel".to_owned(), distribution, value };
        storage.describe(&lease, &[param], &user, &Attributes::new()).unwrap();
        let values = [accuracy, f64::from(params)];
        let measures = Attributes::from([("macro_f1".to_owned(), json!(macro_f1))]);
        match lease.number {
            3 => storage.finish(&lease, State::Fail, &[], &Attributes::new()).unwrap(),
            _ => storage.finish(&lease, State::Complete, &values[..objectives.len()], &measures).unwrap(),
        }
    }
    storage.enqueue(id, &Attributes::new(), &Attributes::new()).unwrap();
}

fn folder_with(studies: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let objectives = [objective("accuracy", Direction::Maximize), objective("params", Direction::Minimize)];
    for (count, name) in (1..).zip(studies) {
        write(folder.path(), name, &objectives[..count]);
    }
    folder
}

#[test]
fn studies_are_listed_and_shown() {
    let folder = folder_with(&["first", "second"]);
    let mut said = String::new();
    for command in ["list", "show first", "show second --top 2", "best first", "best second --max-macs 1M"] {
        let (code, stdout, stderr) = nasgen(folder.path(), &format!("study {command}"));
        assert_eq!((code, stderr.as_str()), (0, ""), "{command}");
        said += &format!("$ nasgen study {command}\n{stdout}\n");
    }
    golden::check("studies.txt", &said);
}

/// A search trains its best again in a study of its own, which no user asks for.
#[test]
fn the_study_of_a_last_step_is_never_the_last_study() {
    let folder = folder_with(&["cells"]);
    let mut storage = connect(&format!("sqlite:///{}/studies/cells.db", folder.path().display())).unwrap();
    let name = "cells last step: 1, 2 × 3";
    let study = Study {
        name: name.to_owned(),
        objectives: vec![objective("accuracy", Direction::Maximize)],
        user: Attributes::new(),
        system: Attributes::from([("nasgen:last_step_of".to_owned(), json!("cells"))]),
    };
    let (id, _) = storage.open(&study).unwrap();
    let Some(Work::New(lease)) = storage.begin(id, "w", LEASE, None).unwrap() else { panic!() };
    storage.finish(&lease, State::Complete, &[0.99], &Attributes::new()).unwrap();
    drop(storage);

    for command in ["show", "best", "export --json"] {
        let (code, stdout, stderr) = nasgen(folder.path(), &format!("study {command}"));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("0.875") && !stdout.contains("0.99"), "{command}: {stdout}");
    }
    let (_, best, _) = nasgen(folder.path(), "study best");
    assert!(best.contains("study    cells in studies/cells.db"), "{best}");
    let (_, listed, _) = nasgen(folder.path(), "study list");
    assert!(!listed.contains("last step"), "{listed}");
    let (_, listed, _) = nasgen(folder.path(), "study list --all");
    assert!(listed.contains(name), "{listed}");
    let shown = Command::new(env!("CARGO_BIN_EXE_nasgen"))
        .args(["study", "show", name])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("0.9900"), "{shown:?}");
}

#[test]
fn the_best_is_written_to_a_file() {
    let folder = folder_with(&["s"]);
    for (flags, number) in [
        ("", 1),
        ("--max-macs 1M", 2),
        ("--max-params 2k", 0),
        ("--min macro_f1=0.7 --smallest params", 2),
        ("--min macro_f1=0.5 --smallest macs", 0),
        ("--max macs=150000", 0),
    ] {
        let (code, stdout, _) = nasgen(folder.path(), &format!("study best --json --force --out best.yml {flags}"));
        let best: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, best["trial"].as_u64()), (0, Some(number)), "{flags}");
        let spec = fs::read_to_string(folder.path().join("best.yml")).unwrap();
        assert!(spec.starts_with(&format!("# trial {number}\n")), "{spec}");
    }
    for (flags, code, words) in [
        ("--min macro_f1=0.9", 5, "trial 1 has 0.8"),
        ("--max-params 10", 5, "trial 0 has 1200"),
        ("--smallest weight", 5, "`weight`"),
        ("--min macro_f1", 2, "NAME=NUMBER"),
    ] {
        let (came, _, stderr) = nasgen(folder.path(), &format!("study best --out none.yml {flags}"));
        assert!(came == code && stderr.contains(words), "{flags}: {came} {stderr}");
    }
    assert!(!folder.path().join("none.yml").exists());
    // What nasgen did not write stays.
    fs::write(folder.path().join("mine.yml"), "mine").unwrap();
    for command in ["best", "export"] {
        let (code, _, stderr) = nasgen(folder.path(), &format!("study {command} --out mine.yml"));
        assert!(code == 2 && stderr.contains("--force"), "{stderr}");
        assert_eq!(fs::read_to_string(folder.path().join("mine.yml")).unwrap(), "mine");
    }
}

#[test]
fn trials_are_exported() {
    let folder = folder_with(&["s"]);
    let (code, table, _) = nasgen(folder.path(), "study export --csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((code, lines.len()), (0, 6));
    assert_eq!(lines[0], "number,state,started,finished,steps,reason,accuracy,macro_f1,macs,params,param.s0.kernel");
    assert!(lines[2].ends_with(",0,,0.875,0.8,4000000,9000,\"[3,5]\""), "{}", lines[2]);
    assert!(lines[5].starts_with("4,WAITING,,,0,"), "{}", lines[5]);
    let (code, stdout, _) = nasgen(folder.path(), "study export --json");
    let whole: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, whole["trials"].as_array().unwrap().len()), (0, 5));
    assert_eq!(whole["trials"][1]["params"], json!({"s0.kernel": [3, 5]}));
    for (file, wanted) in [("out.csv", table), ("out.json", format!("{whole:#}\n"))] {
        let (code, _, stderr) = nasgen(folder.path(), &format!("study export --out {file}"));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), wanted);
    }
}

#[test]
fn a_study_is_deleted_when_it_is_meant() {
    let folder = folder_with(&["s"]);
    let (code, _, stderr) = nasgen(folder.path(), "study delete s");
    assert!(code == 2 && stderr.contains("5 trials") && stderr.contains("--yes"), "{stderr}");
    let files = folder.path().join("studies/s");
    fs::create_dir_all(files.join("trials/00000")).unwrap();
    fs::write(files.join("best.yml"), "").unwrap();
    let mut storage = connect(&format!("sqlite:///{}/studies/s.db", folder.path().display())).unwrap();
    let last = Study {
        name: "s last step: 1".to_owned(),
        objectives: vec![objective("accuracy", Direction::Maximize)],
        user: Attributes::new(),
        system: Attributes::from([("nasgen:last_step_of".to_owned(), json!("s"))]),
    };
    storage.open(&last).unwrap();
    drop(storage);
    let (code, stdout, _) = nasgen(folder.path(), "study delete s --yes");
    assert!(code == 0 && stdout.contains("deleted"), "{stdout}");
    assert!(!files.exists(), "its files go with it");
    let left: Vec<_> = fs::read_dir(folder.path().join("studies")).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let (_, listed, _) = nasgen(folder.path(), "study list --all");
    assert!(listed.contains("no studies"), "{listed}");
    let (code, _, stderr) = nasgen(folder.path(), "study show");
    assert!(code == 2 && stderr.contains("there are no studies in studies/"), "{stderr}");
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let folder = folder_with(&["mine"]);
    fs::write(folder.path().join("notes.txt"), "no database, but as long as a header of one would be\n".repeat(9))
        .unwrap();
    fs::write(folder.path().join("empty.db"), "").unwrap();
    for (command, words) in [
        ("show other", "studies/mine.db"),
        ("show other --storage studies/mine.db", "there are: mine"),
        ("show --storage nowhere.db", "no such file"),
        ("show --storage redis://host", "postgresql://"),
        ("show --storage notes.txt", "no database of SQLite"),
        ("list --storage empty.db", "the file is empty"),
    ] {
        let (code, _, stderr) = nasgen(folder.path(), &format!("study {command}"));
        assert!(code == 2 && stderr.contains(words), "{command}: {stderr}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (code, _, stderr) = nasgen(empty.path(), "study best");
    assert!(code == 2 && stderr.contains("nasgen search"), "{stderr}");
    let (code, stdout, _) = nasgen(empty.path(), "study list");
    assert!(code == 0 && stdout.contains("no studies"), "{stdout}");
    assert!(fs::read_dir(empty.path()).unwrap().next().is_none(), "looking leaves nothing behind");
}

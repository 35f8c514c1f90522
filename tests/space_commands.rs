//! `sample`, `space` and their neighbours as a user meets them who makes mistakes.

use crate::program::nasgen;
use serde_json::Value;
use std::{fs, path::Path};

const SPACE: &str = "backbone:\n  - [1, Conv, [{int: [8, 32], step: 8, name: stem}, 3]]\n  - [1, GlobalAvgPool, []]\n  \
                     - [1, Flatten, []]\n  - [1, Linear, [10]]\n";
const FIXED: &str = "backbone:\n  - [1, Conv, [16, 3]]\n  - [1, Linear, [10]]\n";

fn write(folder: &Path, files: &[(&str, &str)]) {
    files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
}

#[test]
fn only_samples_are_replaced_unless_by_force() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("space.yml", SPACE), ("mine.yml", SPACE)]);
    let run = |arguments: &str| nasgen(folder.path(), arguments);
    assert_eq!(run("sample space.yml --out cfg.yml").0, 0);
    // A README's first command is run twice.
    let (code, _, stderr) = run("sample space.yml --seed 1 --out cfg.yml");
    assert!(code == 0 && stderr.contains("replaced cfg.yml"), "{stderr}");

    let (code, _, stderr) = run("sample space.yml --out mine.yml");
    assert!(code == 2 && stderr.contains("mine.yml exists and is no sample") && stderr.contains("--force"), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path().join("mine.yml")).unwrap(), SPACE);
    assert_eq!(run("sample space.yml --out mine.yml --force").0, 0);
    assert!(fs::read_to_string(folder.path().join("mine.yml")).unwrap().contains("\nsample:\n"));

    assert_eq!(run("sample space.yml --count 3 --out many").0, 0);
    let before = fs::read(folder.path().join("many/0001.yml")).unwrap();
    let (code, _, stderr) = run("sample space.yml --count 2 --out many --seed 5");
    assert!(code == 2 && stderr.contains("many has samples already (0001.yml)"), "{stderr}");
    assert_eq!(fs::read(folder.path().join("many/0001.yml")).unwrap(), before);
    let (code, _, stderr) = run("sample space.yml --count 2 --out many --seed 5 --force");
    assert!(code == 0 && stderr.contains("others there are left"), "{stderr}");
    assert!(folder.path().join("many/0003.yml").exists());
    assert_eq!(run("sample space.yml --out - --count 1").0, 0);
}

#[test]
fn a_drawing_that_fails_midway_says_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("space.yml", SPACE)]);
    // A folder in the way of the third file.
    fs::create_dir_all(folder.path().join("many/0003.yml/full")).unwrap();
    let (code, stdout, stderr) = nasgen(folder.path(), "sample space.yml --count 5 --out many --force --json");
    let error: Value = serde_json::from_str(&stdout).unwrap();
    let told = "written before that: 2 files, many/0001.yml to many/0002.yml";
    assert!(code == 1 && stderr.contains("cannot write many/0003.yml") && stderr.contains(told), "{stderr}");
    assert!(error["error"]["message"].as_str().unwrap().contains(told), "{error}");
    assert!(folder.path().join("many/0002.yml").exists());
}

#[test]
fn settings_stand_in_the_json_object() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("values.yml", "params: {a: {choice: [1, 2, 3]}}\n")]);
    write(folder.path(), &[("both.yml", &format!("{SPACE}train: {{epochs: {{int: [1, 5]}}}}\n"))]);
    for (file, networks, settings, specs) in [("values.yml", "0", "3", "3"), ("both.yml", "4", "5", "20")] {
        let (_, stdout, _) = nasgen(folder.path(), &format!("space {file} --json"));
        let space: Value = serde_json::from_str(&stdout).unwrap();
        let digits = ["networks", "settings", "specs"].map(|key| space[key]["digits"].as_str().unwrap().to_owned());
        assert_eq!(digits, [networks, settings, specs], "{file}");
    }
}

#[test]
fn mistakes_are_told_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let stood = "backbone:\n  - [1, Conv, [16, 3]]\n  - [1, GlobalAvgPool, []]\n";
    write(folder.path(), &[("space.yml", SPACE), ("fixed.yml", FIXED), ("net.yml", stood)]);
    write(folder.path(), &[("values.yml", "params: {a: {choice: [1, 2, 3]}}\n")]);
    write(folder.path(), &[("adamw.yml", &format!("{stood}train: {{optimizer: adamw}}\n"))]);
    assert_eq!(nasgen(folder.path(), "sample space.yml --out s.yml").0, 0);
    for (arguments, messages) in [
        // A fixed network that cannot stand: the same from all three.
        ("sample fixed.yml", ["error: Linear on 16×32×32: Linear needs a vector", "fixed.yml:3:5"]),
        ("space fixed.yml", ["Linear on 16×32×32: Linear needs a vector", "fixed.yml:3:5"]),
        ("show fixed.yml", ["error: Linear on 16×32×32: Linear needs a vector", "fixed.yml:3:5"]),
        ("show space.yml", ["is a search space, not one network", "nasgen sample"]),
        ("train space.yml", ["is a search space, not one network", "space.yml:2:16"]),
        ("space values.yml --max-params 1k", ["--max-params is about networks", "`values` has none"]),
        ("sample values.yml --max-macs 1k", ["--max-macs is about networks", "`values` has none"]),
        ("sample values.yml --input 1x8x8", ["--input is about networks", "`values` has none"]),
        ("space lecture_fredd", ["did you mean the built-in `lecture_free`?", "lecture_fredd"]),
        ("sample zebra", ["built in are cells, lecture_fixed", "zebra"]),
        ("sample space.yml --replay s.yml --set stm=8", ["nothing asks for a draw `stm`", "did you mean `stem`?"]),
        ("sample space.yml --replay s.yml --set zebra=8", ["nothing asks for a draw `zebra`", "draws are stem"]),
        (
            "sample adamw.yml --tune momentum=0.1..0.2",
            ["setting `momentum` is not used by optimizer adamw", "adamw.yml:4:1"],
        ),
        (
            "sample net.yml --tune momentum=0.1..0.2,optimizer=1..2",
            ["setting `optimizer` takes one of sgd", "no range"],
        ),
        ("sample net.yml --max-params 10", ["the network of `net` does not fit the budget", "it has 464 parameters"]),
        ("sample net.yml --tune lr=0.1..0.2:0", ["--tune", "lr: step: wanted a number above 0"]),
        ("sample space.yml --count 3 --out net.yml", ["net.yml is a file", "writes to a folder"]),
        ("sample --seed -1", ["'--seed <SEED>'", "wanted a whole number from 0"]),
        ("sample --count -1 --out x", ["-1 is not in 1..=1000000", "--count"]),
        ("sample --max-params -5", ["wanted a number such as 300000", "`-5`"]),
        ("bench net.yml --seconds -1", ["wanted a number of seconds", "--seconds"]),
        ("bench net.yml --optimizer sgd", ["--train", "required"]),
        ("bench net.yml --train --optimizer sdg", ["rmsprop, lion", "did you mean `sgd`?"]),
    ] {
        let (code, stdout, stderr) = nasgen(folder.path(), arguments);
        assert_eq!(code, if arguments.contains("--max-params 10") { 5 } else { 2 }, "{arguments}: {stderr}");
        for message in messages {
            assert!(stderr.contains(message), "`{arguments}` says nothing of `{message}`: {stderr}");
        }
        assert!(!stderr.contains("to pass '-") && stdout.is_empty(), "{arguments}: {stderr}");
    }
    let (_, _, stderr) = nasgen(folder.path(), "train net.yml --augment flp");
    assert_eq!(stderr.matches("augment`").count(), 1, "{stderr}");
}

#[test]
fn help_and_notes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("net.yml", "backbone:\n  - [1, Conv, [16, 3]]\n")]);
    let (code, stdout, stderr) = nasgen(folder.path(), "sample --json --help");
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert!(code == 0 && object["help"].as_str().unwrap().contains("--count") && stderr.is_empty());
    let (_, stdout, _) = nasgen(folder.path(), "--version --json");
    assert!(serde_json::from_str::<Value>(&stdout).unwrap()["version"].as_str().unwrap().starts_with("nasgen "));
    let (_, stdout, _) = nasgen(folder.path(), "bench --help");
    assert!(stdout.contains("rmsprop"), "{stdout}");

    let (_, stdout, _) = nasgen(folder.path(), "show net.yml --input 1x16x16");
    assert!(stdout.contains("1 channels in the place of the spec's input_channel 3"), "{stdout}");
    let (_, stdout, _) = nasgen(folder.path(), "show net.yml --input 3x16x16");
    assert!(!stdout.contains("input_channel"), "{stdout}");
    let (code, stdout, _) = nasgen(folder.path(), "modules gate");
    assert!(code == 0 && stdout.contains("squeeze, inner = ReLU, outer = Sigmoid"), "{stdout}");
}

/// Of a thousand random networks none fits; the smallest that is found does.
#[test]
fn a_budget_that_no_random_network_keeps_is_estimated_without_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text, stderr) = nasgen(folder.path(), "space cells --max-macs 1M");
    let line = text.lines().find(|line| line.starts_with("in budget")).unwrap_or_default();
    assert!(code == 0 && line.contains("at most ") && line.ends_with("; some fit: one was found"), "{line} {stderr}");
    assert!(!line.contains("about 0"), "{line}");
    let (_, text, _) = nasgen(folder.path(), "space cells --max-macs 1k");
    assert!(text.contains("; none was found"), "{text}");
}

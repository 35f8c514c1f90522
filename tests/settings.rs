//! Where settings come from, and what is said of those that cannot be.

use crate::{
    planning::{SPEC, folder},
    program::nasgen,
};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn train(folder: &Path, arguments: &str) -> String {
    let epochs = if arguments.contains("--epochs") { "" } else { "--epochs 1" };
    let (code, stdout, stderr) = nasgen(folder, &format!("train cfg.yml --subset 100 --batch 16 {epochs} {arguments}"));
    assert_eq!(code, 0, "`{arguments}`: {stderr}");
    stdout + &stderr
}

fn refused(folder: &Path, arguments: &str) -> String {
    let (code, _, stderr) = nasgen(folder, &format!("train cfg.yml --epochs 2 {arguments}"));
    assert_eq!(code, 2, "`{arguments}`: {stderr}");
    stderr
}

fn with_variables(folder: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args(["train", "cfg.yml"]).current_dir(folder).envs(variables.iter().copied());
    command.output().unwrap()
}

#[test]
fn a_setting_inside_a_choice_has_the_choices_origin() {
    let folder =
        folder(&format!("{SPEC}train: {{optimizer: {{adamw: {{weight_decay: 0.3, lr: 0.01}}}}, beta1: 0.8}}\n"));
    let here = folder.path();
    train(here, "--run spec");
    let config = fs::read_to_string(here.join("spec/config.yaml")).unwrap();
    for line in ["weight_decay: 0.3  # the spec", "lr: 0.01  # the spec", "optimizer: adamw  # the spec"] {
        assert!(config.contains(line), "{line}: {config}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.args("train cfg.yml --subset 100 --epochs 1 --run flag --optimizer".split(' '));
    let output = command.arg("{adamw: {weight_decay: 0.1}}").current_dir(here).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let config = fs::read_to_string(here.join("flag/config.yaml")).unwrap();
    for line in ["weight_decay: 0.1  # flag --weight-decay", "lr: 0.01  # the spec", "beta1: 0.8  # the spec"] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn a_wrong_value_says_where_it_came_from() {
    let folder = folder(SPEC);
    let output = with_variables(folder.path(), &[("NASGEN_LR", "abc")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("(from NASGEN_LR)"), "{output:?}");
    fs::write(folder.path().join("file.yml"), "train: {lr: abc}\n").unwrap();
    assert!(refused(folder.path(), "--config file.yml").contains("(from the file of --config)"));
}

#[test]
fn what_would_teach_nothing_is_refused() {
    let folder = folder(SPEC);
    for (arguments, words) in [
        ("--lr 0", "above 0"),
        ("--clip 0", "null for no limit"),
        ("--schedule multistep", "such as 15,25"),
        ("--schedule multistep --milestones 1,2", "behind the last one"),
        ("--crop 16", "moved out of sight"),
        ("--subset 1.5", "a share such as 10%"),
        ("--augment [trivial", "not closed"),
        ("--lr-find --lr 3", "--lr cannot be given"),
    ] {
        let said = refused(folder.path(), arguments);
        assert!(said.contains(words), "`{arguments}`: {said}");
    }
    assert!(train(folder.path(), "--kfold 2 --val 0.3 --run folds").contains("note: val is not used: each fold"));
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn the_next_command_keeps_what_was_set() {
    let folder = folder(SPEC);
    let here = folder.path();
    let found = train(here, "--lr-find --run found --optimizer adamw --val 0.2");
    let next = found.lines().find(|line| line.starts_with("next:")).unwrap();
    assert!(next.contains("nasgen train cfg.yml --subset 100 --batch 16"), "{next}");
    assert!(next.contains("--optimizer adamw --val 0.2 --lr ") && !next.contains("found"), "{next}");

    // Weights that do not move guess, and it is said.
    assert!(train(here, "--run guess --lr 1e-30").contains("hint:   hardly better than guessing"));

    // A link to the last run among runs, whatever it is called.
    train(here, "--run runs/first");
    train(here, "--run runs/second");
    assert_eq!(fs::read_link(here.join("runs/latest")).unwrap(), Path::new("second"));
}

#[test]
fn an_early_end_is_said_and_cannot_be_prolonged() {
    let folder = folder(SPEC);
    let here = folder.path();
    // Such steps lead nowhere.
    let said = train(here, "--run run --epochs 40 --lr 3 --patience 1");
    assert!(said.contains("early   it ended before epoch 40: no better one in 1 (patience)"), "{said}");
    let (code, _, stderr) = nasgen(here, "train --resume run --epochs 60");
    assert_eq!(code, 2);
    assert!(stderr.contains("nasgen train --config run/config.yaml --patience 2"), "{stderr}");
    assert_eq!(nasgen(here, "train --resume run").0, 0, "what is done is done");
}

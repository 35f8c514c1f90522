//! The last step of a search: what its winner learns from, and how often the test images are looked at.

use crate::{
    program::nasgen,
    searching::{folder_with_space, search, trials},
};
use nasgen_storage::connect;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

const QUICK: &str = "space.yml --epochs 1 --subset 100 --batch 50 --sampler random --pruner none --jobs 1";

/// The last epoch's value in a column of a run's `results.csv`.
fn result(run: &Path, column: &str) -> f64 {
    let table = fs::read_to_string(run.join("results.csv")).unwrap();
    let place = table.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
    table.lines().last().unwrap().split(',').nth(place).unwrap().parse().unwrap()
}

/// Names of a run's images for `what`.
fn images(run: &Path, what: &str) -> BTreeSet<String> {
    let table = fs::read_to_string(run.join("split.csv")).unwrap();
    let rows = table.lines().filter(|row| row.split(',').nth(2) == Some(what));
    rows.map(|row| row.split(',').next().unwrap().to_owned()).collect()
}

#[test]
fn after_a_cross_validation_the_winner_learns_from_all_images() {
    let folder = folder_with_space();
    let arguments = format!("{QUICK} --kfold 3 --trials 2 --finalists 1 --final-seeds 1");
    let (code, found, stderr) = search(folder.path(), &arguments);
    assert_eq!((code, &found["trials"]["complete"]), (0, &2.into()), "{stderr}");
    assert!(stderr.contains("1,233 images are left out"), "of a fold's 1,333: {stderr}");
    for trial in trials(folder.path(), "space") {
        // After each fold the mean of those that are done is reported; the last one is the trial's value.
        let run = folder.path().join(format!("studies/space/trials/{:05}", trial.number));
        let folds: Vec<f64> = (1..=3).map(|fold| result(&run.join(format!("fold-{fold}")), "val/accuracy")).collect();
        let steps: Vec<u64> = trial.reports.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [1, 2, 3]);
        for (done, (_, value)) in (1..).zip(&trial.reports) {
            let mean = folds[..done].iter().sum::<f64>() / done as f64;
            assert!((value - mean).abs() < 1e-5, "{value} after {done} of {folds:?}");
        }
        assert_eq!(trial.values, [trial.reports[2].1]);
    }
    let last = &found["final"];
    let run = folder.path().join(last["run"].as_str().unwrap());
    assert!(run.ends_with("on-all-images"), "{}", run.display());
    let (learnt, measured, test) = (images(&run, "train"), images(&run, "val"), images(&run, "test"));
    assert_eq!((learnt.len(), measured.len(), test.len()), (2000, 667, 500), "--subset is of trials alone");
    assert!(measured.is_subset(&learnt) && test.is_disjoint(&learnt));
    let (code, evaluated, stderr) = nasgen(folder.path(), &format!("eval {} --json", run.display()));
    assert_eq!(code, 0, "{stderr}");
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(last["test"], json!([evaluated["accuracy"]]));
}

/// A value that no measurement gives stays where the same trainings were measured before.
#[test]
fn the_test_images_are_looked_at_once() {
    let folder = folder_with_space();
    let arguments = format!("{QUICK} --objective loss --finalists 1 --final-seeds 2 --trials");
    let (code, first, stderr) = search(folder.path(), &format!("{arguments} 1"));
    assert_eq!((code, first["final"]["test"].as_array().map(Vec::len)), (0, Some(2)), "{stderr}");
    {
        let mut storage = connect(&folder.path().join("studies/space.db").display().to_string()).unwrap();
        let (id, study) = storage.study("space").unwrap().unwrap();
        let (name, of) = study.system.iter().find(|(_, value)| value["outcome"]["test"].is_array()).unwrap();
        let mut of = of.clone();
        of["outcome"]["test"] = json!([7.0, 8.0]);
        storage.set_study_attribute(id, true, name, &of).unwrap();
    }
    let (code, again, stderr) = search(folder.path(), &format!("{arguments} 1"));
    assert_eq!((code, &again["final"]["test"]), (0, &json!([7.0, 8.0])), "measured again: {stderr}");

    // More trials may have another winner; that its test values are no choice is said.
    for more in 2.. {
        let (code, other, stderr) = search(folder.path(), &format!("{arguments} {more}"));
        assert_eq!(code, 0, "{stderr}");
        let said = stderr.contains("the test images were looked at before, when trial 0 won the last step");
        let winner = &other["final"]["finalists"][0]["number"];
        assert_eq!(said, *winner != 0, "{stderr}");
        if said {
            assert_ne!(other["final"]["test"], json!([7.0, 8.0]));
            break;
        }
        assert!(more < 20, "no trial of twenty is better than the first");
    }
}

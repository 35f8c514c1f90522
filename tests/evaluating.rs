//! Measures against scikit-learn's, and `nasgen eval` and `nasgen predict`.

use crate::{program::nasgen, repository};
use image::{Rgb, RgbImage};
use nasgen::evaluation::{Answers, Evaluation, Vote, probabilities};
use serde_json::Value;
use std::{fs, path::Path};

#[test]
fn every_measure_is_that_of_scikit_learn() {
    let text = fs::read_to_string(repository("tests/fixtures/training/measures.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let numbers = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
        let classes = case["classes"].as_u64().unwrap() as usize;
        let scores: Vec<f32> = numbers("scores").into_iter().map(|score| score as f32).collect();
        let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).unwrap();
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let answers = Answers::of(&[probabilities(&scores, classes)], classes, Vote::Soft);
        let evaluation = serde_json::to_value(Evaluation::of(&answers, &labels, &names)).unwrap();
        let same = |what: &str, actual: &Value, expected: &Value| match (actual.as_f64(), expected.as_f64()) {
            (Some(actual), Some(expected)) => assert!((actual - expected).abs() < 1e-9, "{what}: {actual} {expected}"),
            (actual, expected) => assert_eq!(actual, expected, "{what}"),
        };
        for name in ["accuracy", "loss", "macro_f1", "micro_f1", "weighted_f1", "roc_auc", "calibration_error", "top5"]
        {
            same(name, &evaluation[name], &case[name]);
        }
        for class in 0..classes {
            let actual = &evaluation["per_class"][class];
            for (name, of_case) in [
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1", "f1"),
                ("images", "images"),
                ("roc_auc", "per_class_roc_auc"),
            ] {
                same(&format!("{name} of class {class}"), &actual[name], &case[of_case][class]);
            }
        }
        assert_eq!(evaluation["confusion"], case["confusion"]);
    }
}

const SPEC: &str = "\
input_size: [10, 14]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [2]]
";

/// Reddish and greenish pictures of several sizes; `test` only if asked for.
fn write_photos(folder: &Path, test: bool) {
    let splits = [("train", 24), ("val", 8), ("test", 6)];
    for (split, count) in splits.into_iter().take(if test { 3 } else { 2 }) {
        for (class, colour) in [("green", [30, 120, 40]), ("red", [120, 50, 40])] {
            let folder = folder.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let noise = |x: u32, y: u32| ((x * 7 + y * 13 + number * 29) % 60) as u8;
                let picture = RgbImage::from_fn(9 + number % 8, 12, |x, y| Rgb(colour.map(|c| c + noise(x, y))));
                picture.save(folder.join(format!("{split}{number}.png"))).unwrap();
            }
        }
    }
}

fn json_of(folder: &Path, arguments: &str) -> Value {
    let (code, stdout, stderr) = nasgen(folder, &format!("{arguments} --json"));
    assert_eq!(code, 0, "`{arguments}`: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn runs_are_evaluated_alone_and_together_and_predict_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    write_photos(&here.join("photos"), true);
    for (run, seed) in [("a", 1), ("b", 2)] {
        let settings = "--data photos --epochs 3 --batch 8 --lr 0.02";
        json_of(here, &format!("train cfg.yml {settings} --seed {seed} --run {run}"));
    }
    let (a, b) = (json_of(here, "eval a --predictions a.csv"), json_of(here, "eval b"));
    assert_eq!((&a["split"], &a["images"]), (&"test".into(), &12.into()));
    assert_ne!(a["loss"], b["loss"], "two seeds gave one network");
    let best: Value = json_of(here, "eval a --split val");
    let (_, stdout, _) = nasgen(here, "train --resume a --json");
    let trained: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(best["accuracy"], trained["best"]["accuracy"], "the best epoch's weights give what it measured");
    assert!((number(&best["loss"]) - number(&trained["best"]["loss"])).abs() < 1e-9);

    let both = json_of(here, "eval a b");
    let mean_of_losses = f64::midpoint(number(&a["loss"]), number(&b["loss"]));
    assert!(number(&both["loss"]) <= mean_of_losses + 1e-12, "the mean of answers is no worse than their mean loss");
    assert_ne!(both["loss"], a["loss"]);
    json_of(here, "eval a b --vote hard");
    let flipped = json_of(here, "eval a --tta flips");
    assert_ne!(flipped["loss"], a["loss"]);
    // Twice the same network is that network.
    let twice = json_of(here, "eval a a");
    assert!((number(&twice["loss"]) - number(&a["loss"])).abs() < 1e-12);

    let predicted = json_of(here, "predict a photos/test --top 2");
    let table = fs::read_to_string(here.join("a.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["image", "class", "answer", "probability", "p_green", "p_red"]);
    assert_eq!(rows.len(), 13);
    for row in &rows[1..] {
        let path = format!("photos/{}", row[0]);
        let images = predicted["images"].as_array().unwrap();
        let found = images.iter().find(|image| image["image"] == path.as_str());
        let found = found.unwrap_or_else(|| panic!("{path} is not predicted"));
        assert_eq!(found["class"], row[2]);
        assert!((number(&found["probability"]) - row[3].parse::<f64>().unwrap()).abs() < 1e-6, "{path}");
        assert_eq!(found["top"].as_array().unwrap().len(), 2);
    }
    let (code, stdout, _) = nasgen(here, "predict a b photos/test/red/test0.png --csv");
    assert_eq!(
        (code, stdout.lines().count(), stdout.lines().next()),
        (0, 2, Some("image,answer,probability,p_green,p_red"))
    );

    let (code, stdout, _) = nasgen(here, "eval a");
    assert_eq!(code, 0);
    for part in ["test images", "95 % interval", "ROC-AUC", "recall", "green"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn what_cannot_be_evaluated_or_predicted_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    write_photos(&here.join("photos"), false);
    json_of(here, "train cfg.yml --data photos --epochs 1 --run a");
    assert_eq!(json_of(here, "eval a")["split"], "val");
    fs::rename(here.join("photos/train/red"), here.join("photos/train/scarlet")).unwrap();
    fs::rename(here.join("photos/val/red"), here.join("photos/val/scarlet")).unwrap();
    fs::write(here.join("text.png"), "no image").unwrap();
    for (arguments, code, message) in [
        ("eval a", 3, "not in the data: train/red/"),
        ("eval a --data photos", 3, "it has green, scarlet; the network knows green, red"),
        ("eval a --split test --data photos", 3, "the network knows"),
        ("eval nowhere", 2, "nowhere is no run"),
        ("predict a nowhere.png", 3, "nowhere.png"),
        ("predict a text.png", 3, "no image that can be read"),
        ("predict text.png a", 2, "got no run first"),
        ("predict a", 2, "got no image"),
        ("predict a --top 1 photos/val/green/val0.png", 0, ""),
    ] {
        let (actual, _, stderr) = nasgen(here, arguments);
        assert!(actual == code && stderr.contains(message), "`{arguments}`: {actual} {stderr}");
    }
    let predicted = json_of(here, "predict a text.png photos/val/green/val0.png");
    assert_eq!((predicted["images"].as_array().unwrap().len(), predicted["skipped"].as_array().unwrap().len()), (1, 1));
}

#[test]
fn images_that_a_network_has_learnt_from_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    write_photos(&here.join("photos"), false);
    json_of(here, "train cfg.yml --data photos --epochs 1 --kfold 2 --run cv");
    let said = |arguments: &str| nasgen(here, arguments).2;
    assert!(said("eval cv").contains("name its folds, which are one classifier together: cv/fold-*"));
    assert!(said("eval cv/fold-1 --split train").contains("note: cv/fold-1 learnt from "));
    assert!(!said("eval cv/fold-1").contains("learnt from"));
}

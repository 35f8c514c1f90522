//! Which images a training gets: tables, splits, subsets, folds.

use crate::program::nasgen;
use image::{GrayImage, Luma};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

const SPEC: &str = "\
input_channel: 1
input_size: [8, 8]
backbone:
  - [1, Conv, [6, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [2]]
";

/// A folder with a spec and 40 dark and 20 bright images.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    for (class, count, brightness) in [("dark", 40u8, 20), ("light", 20, 140)] {
        fs::create_dir_all(folder.path().join("photos").join(class)).unwrap();
        for number in 0..count {
            let image = GrayImage::from_fn(8, 8, |x, y| Luma([brightness + number + (x * y) as u8]));
            image.save(folder.path().join(format!("photos/{class}/{number}.png"))).unwrap();
        }
    }
    folder
}

fn json_of(folder: &Path, arguments: &str) -> Value {
    let (code, stdout, stderr) = nasgen(folder, &format!("{arguments} --json"));
    assert_eq!(code, 0, "`{arguments}`: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Names of the images of a split in a run's `split.csv`.
fn images(run: &Path, split: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(run.join("split.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[2] == split).map(|row| row[0].to_owned()).collect()
}

#[test]
fn a_split_is_used_again_and_a_subset_keeps_the_validation_images() {
    let folder = folder();
    let here = folder.path();
    let settings = "train cfg.yml --data photos --epochs 1 --batch 8";
    let first = json_of(here, &format!("{settings} --val 0.2 --run a"));
    assert_eq!((&first["train_images"], &first["val_images"]), (&48.into(), &12.into()));
    // Another seed would split otherwise.
    json_of(here, &format!("{settings} --seed 5 --val 0.2 --run b"));
    assert_ne!(images(&here.join("a"), "val"), images(&here.join("b"), "val"));
    json_of(here, &format!("{settings} --seed 5 --split a/split.csv --run c"));
    assert_eq!(images(&here.join("a"), "val"), images(&here.join("c"), "val"));

    let part = json_of(here, &format!("{settings} --val 0.2 --subset 50% --run d"));
    assert_eq!((&part["train_images"], &part["val_images"]), (&24.into(), &12.into()));
    let light = images(&here.join("d"), "train").into_iter().filter(|name| name.starts_with("light")).count();
    assert_eq!(light, 8, "of each class the same share");
    let config = fs::read_to_string(here.join("d/config.yaml")).unwrap();
    assert!(config.contains("subset: \"50%\"  # flag --subset"), "{config}");
    // A resume keeps to the images of the run.
    let (code, _, stderr) = nasgen(here, "train --resume d --epochs 2");
    assert!(code == 0 && stderr.contains("24 training"), "{stderr}");
    let (code, _, stderr) = nasgen(here, &format!("{settings} --subset 0%"));
    assert!(code == 2 && stderr.contains("--subset: wanted a share"), "{stderr}");
}

#[test]
fn a_table_names_images_their_classes_and_splits() {
    let folder = folder();
    let here = folder.path();
    let row = |class: &str, number: u8, split: &str| format!("photos/{class}/{number}.png,{class},{split}\n");
    let rows = |range: std::ops::Range<u8>, split: &str| {
        range.map(|number| row("dark", number, split) + &row("light", number, split)).collect::<String>()
    };
    let table = format!("path,label,split\n{}{}{}", rows(0..12, "train"), rows(12..16, "val"), rows(16..18, "test"));
    fs::write(here.join("list.csv"), table + "photos/dark/nowhere.png,dark,train\n").unwrap();
    let (code, stdout, stderr) = nasgen(here, "train cfg.yml --data list.csv --epochs 1 --batch 8 --run a --json");
    assert!(code == 0 && stderr.contains("1 unreadable image skipped: photos/dark/nowhere.png"), "{stderr}");
    let trained: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&trained["train_images"], &trained["val_images"]), (&24.into(), &8.into()));
    let evaluated = json_of(here, "eval a");
    assert_eq!((&evaluated["split"], &evaluated["images"]), (&"test".into(), &4.into()));
}

#[test]
fn every_image_is_measured_on_by_a_network_that_did_not_learn_from_it() {
    let folder = folder();
    let here = folder.path();
    let settings = "train cfg.yml --data photos --epochs 2 --batch 8 --lr 0.02 --kfold 3";
    let whole = json_of(here, &format!("{settings} --run cv"));
    let folds: Vec<BTreeSet<String>> =
        (1..=3).map(|fold| images(&here.join(format!("cv/fold-{fold}")), "val")).collect();
    let union: BTreeSet<String> = folds.iter().flatten().cloned().collect();
    assert_eq!((union.len(), folds.iter().map(BTreeSet::len).sum::<usize>()), (60, 60));
    for (index, fold) in folds.iter().enumerate() {
        let learnt = images(&here.join(format!("cv/fold-{}", index + 1)), "train");
        assert!(learnt.is_disjoint(fold) && learnt.len() + fold.len() == 60);
    }
    let number = |value: &Value| value.as_f64().unwrap();
    let accuracies: Vec<f64> = (0..3).map(|fold| number(&whole["folds"][fold]["best"]["accuracy"])).collect();
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    let deviation = (accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((number(&whole["accuracy"]["mean"]) - mean).abs() < 1e-12);
    assert!((number(&whole["accuracy"]["deviation"]) - deviation).abs() < 1e-12);
    assert_eq!(whole["out_of_fold"]["images"], 60);
    assert!((number(&whole["out_of_fold"]["accuracy"]) - mean).abs() < 1e-9, "folds of 20 images weigh the same");
    let table = fs::read_to_string(here.join("cv/out_of_fold.csv")).unwrap();
    assert_eq!(table.lines().count(), 61);
    let page = fs::read_to_string(here.join("cv/report.html")).unwrap();
    for words in ["Cross-validation in 3 folds", "fold-3/report.html", "Confusion matrix", "Accuracy of each fold"] {
        assert!(page.contains(words), "{words}");
    }

    // Stopped after its first fold, it goes on with the others and ends alike.
    fs::remove_dir_all(here.join("cv/fold-2")).unwrap();
    fs::remove_file(here.join("cv/fold-3/config.yaml")).unwrap();
    let again = json_of(here, "train --resume cv");
    assert_eq!(again["out_of_fold"], whole["out_of_fold"]);
    assert_eq!(fs::read_to_string(here.join("cv/out_of_fold.csv")).unwrap(), table);

    let longer = json_of(here, "train --resume cv --epochs 3");
    for (index, fold) in longer["folds"].as_array().unwrap().iter().enumerate() {
        let run = here.join(format!("cv/fold-{}", index + 1));
        let rows = fs::read_to_string(run.join("results.csv")).unwrap().lines().count() - 1;
        assert_eq!((&fold["epochs"], rows), (&3.into(), 3));
        assert!(
            fs::read_to_string(run.join("config.yaml")).unwrap().contains("  epochs: 3  # flag --epochs of a resume")
        );
    }
    assert!(fs::read_to_string(here.join("cv/config.yaml")).unwrap().contains("  epochs: 3  # flag --epochs"));
    let together = json_of(here, "predict cv/fold-1 cv/fold-2 cv/fold-3 photos/light");
    assert_eq!(together["images"].as_array().unwrap().len(), 20);
}

#[test]
fn a_check_finds_what_would_spoil_a_training_and_touches_nothing() {
    let folder = folder();
    let here = folder.path();
    let (code, stdout, stderr) = nasgen(here, "check photos --input 1x8x8");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("60 images, 2 classes") && stdout.contains("imbalance   2.0 : 1"), "{stdout}");

    for split in ["train", "val"] {
        fs::create_dir_all(here.join("leaky").join(split)).unwrap();
    }
    fs::rename(here.join("photos/dark"), here.join("leaky/train/dark")).unwrap();
    fs::rename(here.join("photos/light"), here.join("leaky/train/light")).unwrap();
    fs::create_dir_all(here.join("leaky/val/dark")).unwrap();
    fs::copy(here.join("leaky/train/dark/7.png"), here.join("leaky/val/dark/again.png")).unwrap();
    fs::write(here.join("leaky/train/light/broken.png"), "no image").unwrap();
    let (code, stdout, _) = nasgen(here, "check leaky --input 1x8x8 --json");
    assert_eq!(code, 3);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["error"]["code"], 3);
    let group = &found["survey"]["duplicates"][0];
    assert_eq!((&group[0]["image"], &group[1]["image"]), (&"train/dark/7.png".into(), &"val/dark/again.png".into()));
    assert!(found["notes"].to_string().contains("1 unreadable image skipped: train/light/broken.png"));
    assert_eq!(fs::read(here.join("leaky/train/light/broken.png")).unwrap(), b"no image");
    let (code, _, stderr) = nasgen(here, "check leaky --input 1x8x8");
    assert!(code == 3 && stderr.contains("1 image is in several splits"), "{stderr}");
}

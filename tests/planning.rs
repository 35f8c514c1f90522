//! What is decided before a training: rates, batches, forecasts, settings of other programs.

use crate::program::nasgen;
use nasgen::{
    network::Network,
    spec::{ModelSpec, SourceText},
};
use serde_json::Value;
use std::{fs, path::Path};

pub(crate) const SPEC: &str = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

/// A folder with a spec in it, cfg.yml.
pub(crate) fn folder(spec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), spec).unwrap();
    folder
}

fn json_of(folder: &Path, arguments: &str) -> (Value, String) {
    let (code, stdout, stderr) = nasgen(folder, &format!("{arguments} --json"));
    assert_eq!(code, 0, "`{arguments}`: {stderr}");
    (serde_json::from_str(&stdout).unwrap(), stderr)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_learning_rate_is_suggested_with_a_picture_and_a_table() {
    let folder = folder(SPEC);
    let here = folder.path();
    let (result, _) = json_of(here, "train cfg.yml --lr-find --batch 32 --run found");
    let suggestion = result["suggestion"].as_f64().unwrap();
    assert!((1e-4..1.0).contains(&suggestion), "{suggestion}");
    assert_eq!(names(&here.join("found")), ["lr_find.csv", "lr_find.png"], "no weights are kept");
    let table = fs::read_to_string(here.join("found/lr_find.csv")).unwrap();
    let points = result["points"].as_array().unwrap();
    assert_eq!(table.lines().count(), 1 + points.len());
    assert!(table.starts_with("learning_rate,loss,smoothed_loss\n1e-6,"), "{table}");
    assert!(points.last().unwrap()[0] == 1.0 || result["exploded"] == true);

    // The suggested rate is drawn where it belongs.
    let picture = image::open(here.join("found/lr_find.png")).unwrap().into_rgb8();
    let red: Vec<u32> = (90..960).filter(|x| picture.get_pixel(*x, 400).0 == [200, 60, 20]).collect();
    let last = points.last().unwrap()[0].as_f64().unwrap();
    let expected = 90.0 + 870.0 * (suggestion / 1e-6).log10() / (last / 1e-6).log10();
    assert!(!red.is_empty() && red.iter().all(|x| (f64::from(*x) - expected).abs() < 3.0), "{red:?}, not {expected}");

    let (code, _, stderr) = nasgen(here, "train cfg.yml --lr-find --run found");
    assert!(code == 2 && stderr.contains("found"), "it writes over nothing: {stderr}");
    let (again, _) = json_of(here, "train cfg.yml --lr-find --batch 32 --accumulate 1 --run again");
    assert_eq!(again["points"], result["points"]);
}

/// The executor is as it was: what is trained after a range test in the same process is what is trained without.
#[test]
fn a_range_test_leaves_the_executor_as_it_was() {
    use nasgen::{
        data::{Fit, ImageFormat, Normalisation, Room, Source},
        spec::TrainSettings,
        train::{Executor, OptimizerRule, TrainingData, range_test},
        weights::Weights,
    };
    let network = planned(SPEC);
    let format = ImageFormat { channels: 3, height: 16, width: 16, fit: Fit::Letterbox };
    let images = Source::Synthetic.load(&format, &Room::default()).unwrap().train.subset(&(0..300).collect::<Vec<_>>());
    let data =
        TrainingData { train: &images, validation: &images, classes: 10, normalisation: Normalisation::of(&images) };
    let settings = TrainSettings::default();
    let weights = Weights::initial(&network.layers, 0);
    let mut engine = nasgen::engine::compile(&network.layers, &weights, OptimizerRule::of(&settings), 0).unwrap();
    let before = Executor::state(&mut engine).unwrap();
    let test = range_test(&mut engine, &data, &settings, &mut |_| {}).unwrap();
    assert!(test.points.len() > 50);
    assert!(Executor::state(&mut engine).unwrap() == before);
}

#[test]
fn a_batch_is_chosen_by_measuring() {
    let folder = folder(SPEC);
    let (_, stderr) = json_of(folder.path(), "train cfg.yml --batch auto --epochs 1 --run run");
    let line = stderr.lines().find(|line| line.starts_with("batch ")).unwrap_or_else(|| panic!("{stderr}"));
    let chosen: usize = line.split([' ', ',']).filter(|part| !part.is_empty()).nth(1).unwrap().parse().unwrap();
    // 1,800 training images: at least 20 steps.
    assert!(chosen.is_power_of_two() && (8..=64).contains(&chosen), "{line}");
    assert!(line.contains("8: ") && line.contains("64: ") && !line.contains("128: "), "{line}");
    let config = fs::read_to_string(folder.path().join("run/config.yaml")).unwrap();
    assert!(config.contains(&format!("  batch: {chosen}  # flag --batch")), "{config}");
    let (code, _, stderr) = nasgen(folder.path(), "train cfg.yml --batch automatic");
    assert!(code == 2 && stderr.contains("batch"), "{stderr}");
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let folder = folder(SPEC);
    let here = folder.path();
    let settings = "train cfg.yml --dry-run --lr 0.02 --set epochs=7 --batch 32";
    let (code, stdout, stderr) = nasgen(here, settings);
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "data    synthetic: 1,800 training and 200 validation images, 10 classes",
        "model   cfg.yml: ",
        "    lr: 0.02  # flag --lr\n",
        "    epochs: 7  # --set\n",
        "    optimizer: sgd  # default\n",
        "files    runs/",
        " for 7 epochs: ",
        "memory   ",
        "disk     ",
    ] {
        assert!(stdout.contains(part), "no `{part}` in\n{stdout}");
    }
    let (result, _) = json_of(here, settings);
    assert_eq!(result["settings"]["lr"], serde_json::json!({"value": 0.02, "origin": "flag"}));
    assert_eq!((&result["train_images"], &result["val_images"]), (&1800.into(), &200.into()));
    let number = |name: &str| result[name].as_f64().unwrap();
    assert!(number("seconds") > 7.0 * 1800.0 / number("images_per_second") * 0.99, "{result}");
    let (folds, _) = json_of(here, "train cfg.yml --dry-run --kfold 4 --run a/b");
    assert_eq!((&folds["train_images"], &folds["run"], &folds["kfold"]), (&1500.into(), &"a/b".into(), &4.into()));
    assert_eq!(names(here), ["cfg.yml"], "it writes something");
    for (wrong, message) in
        [("--data photos", "no folder `"), ("--data mnist --cache c", "mnist is not here yet: 11.6 MB")]
    {
        let (code, _, stderr) = nasgen(here, &format!("train cfg.yml --dry-run {wrong}"));
        assert!(code != 0 && stderr.contains(message), "{stderr}");
    }
    assert_eq!(names(here), ["cfg.yml"]);

    // The forecast of the disk is no less than what a run takes.
    let (_, _) = json_of(here, "train cfg.yml --epochs 1 --run run");
    let size = |name: String| fs::metadata(here.join("run").join(name)).unwrap().len() as f64;
    let taken: f64 = names(&here.join("run")).into_iter().map(size).sum();
    assert!(taken <= number("disk_bytes"), "{taken}");

    // Of a fine-tuning it says what a training would say of the weights.
    let (code, _, stderr) = nasgen(here, "train cfg.yml --epochs 1 --subset 100 --run first");
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = nasgen(here, "train cfg.yml --dry-run --init first --freeze-until 1");
    assert!(code == 0 && stderr.contains("init    ") && stderr.contains("frozen  row"), "{stderr}");
}

fn planned(spec: &str) -> Network {
    let source = SourceText { name: "cfg.yml".into(), text: spec.into() };
    let spec = ModelSpec::parse(&source, &nasgen_modules::Blocks::builtin()).unwrap_or_else(|error| panic!("{error}"));
    Network::plan(&spec, nasgen_modules::Shape::image(3, 16, 16)).unwrap()
}

/// Four residual sums; `drop` stands for the fifth argument of each of the blocks.
fn residual(drops: [f64; 4]) -> String {
    let row = |drop: f64| format!("  - [1, MBConv, [2, 8, 1, 3, {drop}]]\n");
    let rows: String = drops.map(row).concat();
    format!(
        "input_size: [16, 16]\nbackbone:\n  - [1, Conv, [8, 3, 2]]\n{rows}  - [1, GlobalAvgPool, []]\n  \
         - [1, Flatten, []]\n  - [1, Linear, [10]]\n"
    )
}

#[test]
fn stochastic_depth_is_a_spec_with_drops_written_by_hand() {
    let plain = planned(&residual([0.0; 4]));
    let by_hand = planned(&residual([0.05, 0.1, 0.15000000000000002, 0.2]));
    assert_eq!(plain.layers.clone().with_stochastic_depth(0.2), Some(by_hand.layers));
    assert_ne!(plain.layers.clone().with_stochastic_depth(0.2), Some(plain.layers));
    let own = planned(&residual([0.0, 0.5, 0.0, 0.0]));
    assert_eq!(
        own.layers.with_stochastic_depth(0.2),
        Some(planned(&residual([0.05, 0.5, 0.15000000000000002, 0.2])).layers)
    );
    assert_eq!(planned(SPEC).layers.with_stochastic_depth(0.2), None);

    let folder = folder(&residual([0.0; 4]));
    let here = folder.path();
    fs::write(here.join("hand.yml"), residual([0.05, 0.1, 0.15000000000000002, 0.2])).unwrap();
    fs::write(here.join("none.yml"), SPEC).unwrap();
    for executor in ["engine", "reference"] {
        let train = |spec: &str, flags: &str, run: &str| {
            let run = format!("{run}-{executor}");
            let settings = "--epochs 1 --batch 50 --subset 100 --crop 0";
            let (code, _, stderr) =
                nasgen(here, &format!("train {spec} {flags} {settings} --executor {executor} --run {run}"));
            assert_eq!(code, 0, "{stderr}");
            nasgen::train::Checkpoint::load(&here.join(run).join("last.safetensors")).unwrap().state
        };
        let setting = train("cfg.yml", "--stochastic-depth 0.2", "a");
        assert!(setting == train("hand.yml", "", "b"), "{executor}");
        assert!(setting != train("cfg.yml", "", "c"), "{executor}: nothing is dropped");
    }
    let (code, _, stderr) = nasgen(here, "train --resume a-engine --epochs 2");
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = nasgen(here, "train none.yml --stochastic-depth 0.2");
    assert!(code == 2 && stderr.contains("no residual sums"), "{stderr}");
}

#[test]
fn data_files_of_the_python_project_are_settings() {
    let folder = folder(SPEC);
    let here = folder.path();
    for class in ["a", "b", "c"] {
        fs::create_dir_all(here.join("photos").join(class)).unwrap();
        for number in 0..10u8 {
            let picture = image::GrayImage::from_pixel(9, 9, image::Luma([20 * number]));
            picture.save(here.join(format!("photos/{class}/{number}.png"))).unwrap();
        }
    }
    let data = "DATA_PATH: photos\nDATASET: TACO\nAUG_TRAIN: randaugment_train\nAUG_TEST: simple_augment_test\n\
                AUG_TRAIN_PARAMS: {n_select: 3}\nAUG_TEST_PARAMS: null\nBATCH_SIZE: 8\nEPOCHS: 2\nVAL_RATIO: 0.3\n\
                INIT_LR: 0.01\nSUBSET_SAMPLING_RATIO: 0.5\nFP16: true\nIMG_SIZE: 12\n";
    fs::write(here.join("data.yaml"), data).unwrap();
    let (result, stderr) = json_of(here, "train cfg.yml --config data.yaml --classes 3 --run run");
    assert_eq!((&result["train_images"], &result["val_images"], &result["epochs"]), (&21.into(), &9.into(), &2.into()));
    let note = "note: read as settings of the Python project: DATA_PATH (data), AUG_TRAIN (augment), AUG_TRAIN_PARAMS \
                (augment), BATCH_SIZE (batch), EPOCHS (epochs), VAL_RATIO (val), INIT_LR (lr), IMG_SIZE (input_size)\n\
                note: not used: DATASET, AUG_TEST, AUG_TEST_PARAMS, FP16\n\
                note: unknown and not used: SUBSET_SAMPLING_RATIO\n";
    assert!(stderr.contains(note), "{stderr}");
    let config = fs::read_to_string(here.join("run/config.yaml")).unwrap();
    for line in ["batch: 8", "epochs: 2", "lr: 0.01", "val: 0.3", "augment: {randaugment: {\"n\": 3, m: 14}}"] {
        assert!(config.contains(&format!("  {line}  # the file of --config\n")), "no {line} in\n{config}");
    }
    assert!(fs::read_to_string(here.join("run/model.yaml")).unwrap().contains("input_size: [12, 12]"));
    // A flag goes before it, and a run made with it is resumed like any other.
    let (_, stderr) = json_of(here, "train cfg.yml --config data.yaml --classes 3 --batch 7 --epochs 1 --run other");
    assert!(fs::read_to_string(here.join("other/config.yaml")).unwrap().contains("batch: 7  # flag"), "{stderr}");
    json_of(here, "train --resume run --epochs 3");

    for (wrong, message) in [
        (data.replace("EPOCHS: 2", "EPOCH: 2"), "did you mean `EPOCHS`?"),
        (data.replace("BATCH_SIZE: 8", "BATCH_SIZE: many"), "BATCH_SIZE: "),
        (data.replace("IMG_SIZE: 12", "IMG_SIZE: -3"), "IMG_SIZE: wanted [height, width]"),
        (data.replace("DATA_PATH: photos", "DATA_PATH: [1]"), "DATA_PATH: wanted a folder"),
    ] {
        fs::write(here.join("wrong.yaml"), wrong).unwrap();
        let (code, _, stderr) = nasgen(here, "train cfg.yml --config wrong.yaml --run wrong");
        assert!(code == 2 && stderr.contains(message), "no `{message}` in {stderr}");
    }
    // A name stands for a published set where no folder is named.
    fs::write(here.join("named.yaml"), "DATASET: CIFAR10\n").unwrap();
    let (code, _, stderr) = nasgen(here, "train cfg.yml --config named.yaml --dry-run --cache none");
    assert!(code == 2 && stderr.contains("cifar10 is not here yet"), "{stderr}");
}

//! Operators against torchvision's, and augmentation as a setting.

use crate::{program::nasgen, repository};
use nasgen::{
    data::{
        Fit, ImageFormat, Normalisation, Room, Source,
        augment::{Canvas, Operation},
        permutation, training_batch,
    },
    network::Network,
    spec::{ModelSpec, SourceText, TrainSettings},
    train::{
        self, EpochReport, Executor, Job, Objective, Observer, OptimizerRule, RunFolder, Schedule, Step, StepReport,
        TrainingData, augmentation, steps_per_epoch,
    },
    weights::{Array, Weights},
};
use serde_json::{Value, json};
use std::fs;

const HEIGHT: usize = 13;
const WIDTH: usize = 17;

/// The image twice in each direction.
fn tiled(pixels: &[u8]) -> Vec<u8> {
    let row = |row: &[u8]| [row, row].concat();
    let plane = |plane: &[u8]| plane.chunks(WIDTH).flat_map(row).collect::<Vec<u8>>();
    pixels.chunks(WIDTH * HEIGHT).flat_map(|pixels| [plane(pixels), plane(pixels)].concat()).collect()
}

/// The upper left quarter of such an image.
fn quarter(pixels: &[u8]) -> Vec<u8> {
    let planes = pixels.chunks(4 * WIDTH * HEIGHT);
    planes.flat_map(|plane| plane.chunks(2 * WIDTH).take(HEIGHT).flat_map(|row| row[..WIDTH].to_vec())).collect()
}

#[test]
fn every_operator_is_torchvisions() {
    let (fixture, _) = Weights::load(&repository("tests/fixtures/augmentation.safetensors")).unwrap();
    let bytes = |array: &Array| array.values.iter().map(|value| *value as u8).collect::<Vec<u8>>();
    let affine = |angle, translate, shear, at_corner| Operation::Affine { angle, translate, shear, at_corner };
    let sheared = |x: f64, y: f64| affine(0.0, [0.0; 2], [x.atan().to_degrees(), y.atan().to_degrees()], true);
    let mut wrong = Vec::new();
    // The last number: by how much a value may differ, where torchvision rounds sums of float32.
    for (name, operation, tolerance) in [
        ("flip", Operation::Flip, 0),
        // torchvision's `rotate` goes against the clock.
        ("rotate", affine(-23.7, [0.0; 2], [0.0; 2], false), 0),
        ("translate", affine(0.0, [3.0, -2.0], [0.0; 2], false), 0),
        ("affine", affine(11.3, [1.0, 2.0], [7.1, -4.3], false), 0),
        ("shear_x", sheared(0.23, 0.0), 0),
        ("shear_y", sheared(0.0, -0.17), 0),
        ("brightness_less", Operation::Brightness(0.37), 0),
        ("contrast_less", Operation::Contrast(0.37), 1),
        ("saturation_less", Operation::Saturation(0.37), 1),
        ("hue_less", Operation::Hue(-0.27), 1),
        ("hue_more", Operation::Hue(0.41), 1),
        ("sharpness_less", Operation::Sharpness(0.37), 1),
        ("brightness_more", Operation::Brightness(1.63), 0),
        ("contrast_more", Operation::Contrast(1.63), 1),
        ("saturation_more", Operation::Saturation(1.63), 1),
        ("sharpness_more", Operation::Sharpness(1.63), 1),
        ("posterize", Operation::Posterize(3), 0),
        ("solarize", Operation::Solarize(140.0), 0),
        ("autocontrast", Operation::AutoContrast, 1),
        ("equalize", Operation::Equalize, 0),
        ("invert", Operation::Invert, 0),
        ("blur", Operation::Blur { kernel: 5, sigma: 1.1 }, 1),
        ("erase", Operation::Erase { window: [2, 3, 6, 5] }, 0),
        ("crop_shrunk", Operation::ResizedCrop { window: [3, 5, 21, 25] }, 1),
        ("crop_grown", Operation::ResizedCrop { window: [2, 4, 7, 6] }, 1),
    ] {
        for (kind, channels) in [("colour", 3), ("grey", 1)] {
            let expected = bytes(fixture.get(&format!("{name}.{kind}")).unwrap_or_else(|| panic!("no {name}")));
            let mut pixels = bytes(fixture.get(kind).unwrap());
            let large = ["equalize", "crop_shrunk"].contains(&name);
            let factor = if large { 2 } else { 1 };
            if large {
                pixels = tiled(&pixels);
            }
            let original = pixels.clone();
            let (height, width) = (factor * HEIGHT, factor * WIDTH);
            operation.apply(&mut Canvas { channels, height, width, pixels: &mut pixels });
            let unchanged = ["saturation", "hue"].iter().any(|colour| name.starts_with(colour)) && channels == 1;
            assert!(unchanged || pixels != original, "{name} does nothing");
            if name == "equalize" {
                pixels = quarter(&pixels);
            }
            assert_eq!(pixels.len(), expected.len(), "{name}");
            let worst =
                pixels.iter().zip(&expected).map(|(actual, expected)| actual.abs_diff(*expected)).max().unwrap();
            let differing = pixels.iter().zip(&expected).filter(|(actual, expected)| actual != expected).count();
            // A value on the edge between two may fall either way, but not many do: resizing is torchvision's
            // with weights that are whole numbers of 15 bits.
            let few = if name.starts_with("crop") { 20 } else { 100 };
            if worst > tolerance || differing * few > pixels.len() {
                wrong.push(format!("{name}.{kind}: {differing} of {} values, by up to {worst}", pixels.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const SPEC: &str = "\
input_size: [16, 16]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

#[test]
fn policies_are_settings_repeat_and_are_shown_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let train = "train:\n  augment: [trivial, {rotate: 20}, {mixup: 0.2}]\n  epochs: 2\n  batch: 200\n";
    fs::write(here.join("cfg.yml"), format!("{SPEC}{train}")).unwrap();
    for run in ["a", "b"] {
        let (code, _, stderr) = nasgen(here, &format!("train cfg.yml --run {run}"));
        assert_eq!(code, 0, "{stderr}");
    }
    let file = |run: &str, name: &str| fs::read(here.join(run).join(name)).unwrap();
    assert!(file("a", "last.safetensors") == file("b", "last.safetensors"), "two runs with one seed differ");
    assert!(file("a", "aug_preview.png") == file("b", "aug_preview.png"));
    let shown = image::open(here.join("a/aug_preview.png")).unwrap();
    assert_eq!((shown.width(), shown.height()), (9 * 66, 6 * 66));
    let config = String::from_utf8(file("a", "config.yaml")).unwrap();
    assert!(config.contains("  augment: [trivial, {rotate: 20}, {mixup: 0.2}]  # the spec"), "{config}");
    let (code, _, stderr) = nasgen(here, "train --resume a --epochs 3");
    assert_eq!(code, 0, "{stderr}");

    let (code, _, stderr) = nasgen(here, "train cfg.yml --augment [flip,{cutout:6}] --epochs 1 --run c");
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("cutout:6"), "YAML wants a space after the colon: {stderr}");
    let (code, _, stderr) = nasgen(here, "train cfg.yml --augment rand-m9-mstd0.5 --epochs 1 --run d");
    assert_eq!(code, 0, "{stderr}");
    assert!(file("d", "last.safetensors") != file("a", "last.safetensors"));
    let (code, _, stderr) = nasgen(here, "train cfg.yml --augment trivail");
    assert!(code == 2 && stderr.contains("did you mean `trivial`?"), "{stderr}");
}

/// Nobody watches.
struct Unseen;

impl Observer for Unseen {
    fn step(&mut self, _: &StepReport) {}
    fn epoch(&mut self, _: &EpochReport) {}
}

/// Batches are made ahead on any thread; step by step on one thread they give the same weights.
#[test]
fn batches_that_are_made_ahead_change_no_bit() {
    let source = SourceText { name: "cfg.yml".into(), text: SPEC.into() };
    let spec = ModelSpec::parse(&source, &nasgen_modules::Blocks::builtin()).unwrap();
    let network = Network::plan(&spec, nasgen_modules::Shape::image(3, 16, 16)).unwrap();
    let format = ImageFormat { channels: 3, height: 16, width: 16, fit: Fit::Letterbox };
    let images = Source::Synthetic.load(&format, &Room::default()).unwrap().train.subset(&(0..700).collect::<Vec<_>>());
    let validation = images.subset(&[1, 2, 3]);
    let settings = json!({"augment": ["trivial", {"mixup": 0.2}, "noise"], "epochs": 2, "batch": 50, "seed": 3});
    let settings = TrainSettings::parse(settings.as_object().unwrap()).unwrap();
    let data = TrainingData {
        train: &images,
        validation: &validation,
        classes: 10,
        normalisation: Normalisation::of(&images),
    };
    let initial = Weights::initial(&network.layers, settings.seed);
    let executor = || nasgen::engine::compile(&network.layers, &initial, OptimizerRule::of(&settings), 3).unwrap();

    let trained = |threads: usize| {
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::create_anew(&folder.path().join("run")).unwrap();
        let job = Job {
            data: &data,
            settings: &settings,
            layers: &network.layers,
            folder: &folder,
            metadata: &Value::Null,
            build: "",
            stop: &|| false,
            now: &|| 0.0,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut executor = executor();
        pool.install(|| train::train(&mut executor, &job, None, &mut Unseen)).unwrap();
        Executor::weights(&mut executor).unwrap()
    };

    let mut alone = executor();
    let steps = steps_per_epoch(images.len(), settings.batch);
    let (schedule, objective) = (Schedule::of(&settings, steps), Objective::of(&settings, &images.class_counts(10)));
    for epoch in 1..=2 {
        let order = permutation(images.len(), settings.seed, epoch);
        for (step, indices) in order.chunks(settings.batch).take(steps).enumerate() {
            let batch =
                training_batch(&images, indices, &data.normalisation, &augmentation(&settings), settings.seed, epoch);
            let index = (epoch - 1) * steps as u64 + step as u64;
            let step = Step::alone(index, schedule.rate(index, 0), &objective);
            Executor::train_step(&mut alone, &batch, &step).unwrap();
        }
    }
    let expected = Executor::weights(&mut alone).unwrap();
    assert_ne!(expected, initial);
    for threads in [1, 3] {
        assert!(trained(threads) == expected, "{threads} threads");
    }
}

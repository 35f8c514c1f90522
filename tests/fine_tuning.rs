//! Weights from elsewhere, and rows that do not learn.

use crate::{golden, program::nasgen, repository};
use nasgen::{
    data::Batch,
    engine,
    network::Network,
    pretrained::Pretrained,
    reference::Reference,
    spec::{ModelSpec, Optimizer, SourceText, TrainSettings},
    train::{Executor, Freezing, Objective, OptimizerRule, Step},
    weights::{Array, Weights},
};
use nasgen_modules::{Blocks, Shape, randomness::Stream};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Tensors' names and shapes.
type Shapes = BTreeMap<String, Vec<usize>>;

/// What a network of PyTorch answered, and its tensors' names and shapes.
struct Foreign {
    fixture: Value,
    tensors: Shapes,
}

impl Foreign {
    fn all() -> Vec<(String, Self)> {
        let folder = fs::read_dir(repository("tests/fixtures/pretrained")).unwrap();
        let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let json = paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
        json.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), Self::read(&path))).collect()
    }

    fn of(name: &str) -> Self {
        Self::read(&repository(&format!("tests/fixtures/pretrained/{name}.json")))
    }

    fn read(path: &std::path::Path) -> Self {
        let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let tensors = serde_json::from_value(fixture["tensors"].clone()).unwrap();
        Self { fixture, tensors }
    }

    fn gain(&self) -> f64 {
        self.fixture["gain"].as_f64().unwrap()
    }

    /// The spec of `model_configs/` for ten classes.
    fn spec(&self) -> ModelSpec {
        let mut spec = shipped(self.fixture["spec"].as_str().unwrap()).with_classes(10).unwrap();
        if let Some(eps) = self.fixture["norm_eps"].as_f64() {
            spec.rules.norm.eps = eps;
        }
        spec
    }

    fn network(&self) -> Network {
        Network::plan(&self.spec(), Shape::image(3, 64, 64)).unwrap()
    }

    /// A safetensors file of it.
    fn file(&self) -> Vec<u8> {
        file(self.tensors.iter().map(|(name, shape)| (name.clone(), shape.clone(), formula(name, shape, self.gain()))))
    }
}

fn shipped(name: &str) -> ModelSpec {
    let text = fs::read_to_string(repository(&format!("model_configs/{name}.yml"))).unwrap();
    ModelSpec::parse(&SourceText { name: name.into(), text }, &Blocks::builtin()).unwrap()
}

fn file(tensors: impl Iterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes = |values: Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors: Vec<_> = tensors.map(|(name, shape, values)| (name, shape, bytes(values))).collect();
    let view = |(name, shape, bytes): &'_ (String, Vec<usize>, Vec<u8>)| (name.clone(), shape.clone(), bytes.clone());
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views =
        owned.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// What `values` of make_pretrained_fixtures.py gives.
fn formula(name: &str, shape: &[usize], gain: f64) -> Vec<f32> {
    let hash = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let end = name.rsplit('.').next().unwrap();
    let count: usize = shape.iter().product();
    let value = |index: usize| {
        let mut word = (index as u32).wrapping_mul(2_654_435_761).wrapping_add(hash);
        for (shift, factor) in [(15, 0x2C1B_3C6D), (12, 0x297A_2D39), (15, 1)] {
            word = (word ^ (word >> shift)).wrapping_mul(factor);
        }
        let draw = f64::from(word) / 2_147_483_648.0 - 1.0;
        let value = match end {
            _ if shape.len() > 1 => draw * (3.0 * gain / shape[1..].iter().product::<usize>() as f64).sqrt(),
            "weight" => 1.0 + 0.2 * draw,
            "running_var" => 1.0 + 0.5 * draw,
            _ => 0.1 * draw,
        };
        value as f32
    };
    (0..count).map(value).collect()
}

fn classes() -> Vec<String> {
    (0..10).map(|class| format!("class {class}")).collect()
}

#[test]
fn networks_of_torchvision_and_timm_answer_as_in_pytorch() {
    let all = Foreign::all();
    assert_eq!(all.len(), 12);
    for (name, foreign) in all {
        let network = foreign.network();
        let pretrained = Pretrained::parse(&foreign.file()).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let initial = Weights::initial(&network.layers, 1);
        let fitted = pretrained.fit(&network.layers, initial, &classes());
        let fitted = fitted.unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!((fitted.new_classifier, fitted.note), (None, None), "{name}");

        let shape = [2, 3, 64, 64];
        let images = formula("images.weight", &shape, (3 * 64 * 64) as f64);
        let batch = Batch { images, labels: vec![0, 0], partners: Vec::new(), shape, placed: None };
        let expected: Vec<f64> = serde_json::from_value(foreign.fixture["logits"].clone()).unwrap();
        let device = candle_core::Device::Cpu;
        let rule = OptimizerRule::PLAIN;
        let mut executors: Vec<Box<dyn Executor>> =
            vec![Box::new(engine::compile(&network.layers, &fitted.weights, rule, 0).unwrap())];
        // timm's are the same networks again.
        if foreign.fixture["library"] == "torchvision" {
            executors.push(Box::new(Reference::new(&network.layers, &fitted.weights, rule, 0, &device).unwrap()));
        }
        for mut executor in executors {
            let scores = executor.scores(&batch).unwrap();
            let differences = scores.iter().zip(&expected).map(|(score, wanted)| (f64::from(*score) - wanted).abs());
            let largest = differences.fold(0.0, f64::max);
            assert!(scores.len() == 20 && largest < 1e-4, "{name}, {}: {largest}", executor.name());
        }
    }
}

/// No file says what norms add to the variance: timm's MobileNetV3 has another value than torchvision's.
#[test]
fn norms_that_compute_something_else_are_remarked_on() {
    let foreign = Foreign::of("timm_mobilenetv3_small_100");
    let network = Network::plan(&shipped("mobilenetv3_small"), Shape::image(3, 64, 64)).unwrap();
    let pretrained = Pretrained::parse(&foreign.file()).unwrap();
    let fitted = pretrained.fit(&network.layers, Weights::initial(&network.layers, 1), &classes()).unwrap();
    assert!(fitted.note.unwrap().contains("`norm: {eps: 0.00001}`"));
}

#[test]
fn another_classifier_begins_anew_and_the_rest_is_kept() {
    let foreign = Foreign::of("timm_mobilenetv3_small_100");
    let pretrained = Pretrained::parse(&foreign.file()).unwrap();
    let spec = foreign.spec().with_classes(4).unwrap();
    let network = Network::plan(&spec, Shape::image(3, 64, 64)).unwrap();
    let initial = Weights::initial(&network.layers, 1);
    let fitted = pretrained.fit(&network.layers, initial.clone(), &classes()[..4]).unwrap();
    assert_eq!(fitted.new_classifier.as_deref(), Some("the file's has 10 classes, the network 4"));
    let (last, others): (Vec<_>, Vec<_>) =
        fitted.weights.iter().partition(|(name, _)| name.starts_with("backbone.13."));
    assert!(last.len() == 2 && last.iter().all(|(name, array)| initial.get(name) == Some(array)));
    let changed = others.iter().filter(|(name, array)| initial.get(name) != Some(*array)).count();
    assert_eq!(changed, others.len());
}

/// Files that do not fit, and what is said of them.
#[test]
fn wrong_weights_are_errors_that_name_the_tensor() {
    let foreign = Foreign::of("torchvision_squeezenet1_1");
    let network = foreign.network();
    let mut text = String::new();
    let mut say = |case: &str, tensors: &Shapes, network: &Network| {
        let bytes = file(tensors.iter().map(|(name, shape)| (name.clone(), shape.clone(), formula(name, shape, 1.0))));
        let fitted = Pretrained::parse(&bytes)
            .and_then(|pretrained| pretrained.fit(&network.layers, Weights::initial(&network.layers, 0), &classes()));
        let answer = match fitted {
            Ok(fitted) => format!("fits; new classifier: {:?}", fitted.new_classifier),
            Err(problem) => problem,
        };
        text += &format!("{case}:\n  {answer}\n");
    };
    let tensors = &foreign.tensors;
    let changed = |change: &dyn Fn(&mut Shapes)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        tensors
    };
    say("as it is", tensors, &network);
    let wrapped = tensors.iter().map(|(name, shape)| (format!("module.{name}"), shape.clone())).collect();
    say("of DataParallel", &wrapped, &network);
    say("no classifier", &changed(&|tensors| tensors.retain(|name, _| !name.starts_with("classifier"))), &network);
    say("a bias less", &changed(&|tensors| drop(tensors.remove("features.7.squeeze.bias"))), &network);
    say(
        "a layer less",
        &changed(&|tensors| tensors.retain(|name, _| !name.starts_with("features.12.squeeze"))),
        &network,
    );
    say(
        "another shape",
        &changed(&|tensors| drop(tensors.insert("features.0.weight".into(), vec![64, 1, 3, 3]))),
        &network,
    );
    say(
        "another name",
        &changed(&|tensors| drop(tensors.insert("features.13.scale.weight".into(), vec![1]))),
        &network,
    );
    say(
        "surplus tensor",
        &changed(&|tensors| drop(tensors.insert("features.0.running_mean".into(), vec![64]))),
        &network,
    );
    say("empty", &BTreeMap::new(), &network);
    let resnet = BTreeMap::from([("layer1.0.conv1.weight".to_owned(), vec![8, 8, 3, 3]), ("fc.bias".into(), vec![10])]);
    say("a ResNet", &resnet, &network);
    say("for MobileNetV2", tensors, &Foreign::of("torchvision_mobilenet_v2").network());
    golden::check("wrong_weights.txt", &text);
}

/// Everything that has state or treats training apart from evaluation.
const SPEC: &str = "\
input_size: [12, 12]
backbone:
  - [1, Conv, [8, 3, 1]]
  - [1, ShuffleNetV2, [1]]
  - [2, MBConv, [2, 8, 1, 3, 0.2]]
  - [1, Fire, [4, 6, 6]]
  - [1, FixedConv, [8, 3, 2, null, 1, null]]
  - [1, MaxPool, [2, 2]]
  - [[-1, -1], 1, Add, []]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Dropout, [0.3]]
  - [1, Linear, [10]]
";

/// Convolutions that take over the norm of the one before. New norms are hardly more than their activation, and this one
/// shows when it is applied twice.
const CHAIN: &str = "\
input_size: [12, 12]
backbone:
  - [1, Conv, [8, 3, 1, null, 1, Hardswish]]
  - [1, Conv, [12, 3, 2, null, 1, Hardswish]]
  - [2, InvertedResidualv2, [8, 2, 1]]
  - [1, Conv, [8, 1, 1, null, 1, Hardswish]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

fn small() -> Network {
    network(SPEC)
}

fn network(text: &str) -> Network {
    let spec = ModelSpec::parse(&SourceText { name: "x".into(), text: text.into() }, &Blocks::builtin()).unwrap();
    Network::plan(&spec, Shape::image(3, 12, 12)).unwrap()
}

fn noise(images: usize) -> Batch {
    let stream = Stream::new(4, "images");
    let shape = [images, 3, 12, 12];
    let values = (0..shape.iter().product::<usize>() as u64).map(|index| stream.normal(index) as f32).collect();
    Batch { images: values, labels: (0..images as u32).collect(), partners: Vec::new(), shape, placed: None }
}

fn row(name: &str) -> usize {
    name.split('.').nth(1).unwrap().parse().unwrap()
}

#[test]
fn frozen_rows_stay_to_the_bit_and_both_executors_agree() {
    check_freezing(&small(), &[None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(10)]);
}

#[test]
fn frozen_rows_whose_norms_others_would_apply_stay_too() {
    check_freezing(&network(CHAIN), &[None, Some(1), Some(2), Some(3), Some(4), Some(6)]);
}

fn check_freezing(network: &Network, rows: &[Option<usize>]) {
    let weights = Weights::initial(&network.layers, 3);
    let objective = Objective::of(&TrainSettings::default(), &[1; 10]);
    for optimizer in [Optimizer::Sgd, Optimizer::Adam] {
        for freeze_until in rows.iter().copied() {
            let settings = TrainSettings {
                optimizer,
                freeze_until,
                unfreeze_every: freeze_until.map(|_| 2),
                // With a small one Adam's first step is the sign of a gradient, which may be rounding error alone.
                epsilon: 1.0,
                ..TrainSettings::default()
            };
            let rule = OptimizerRule::of(&settings);
            let device = candle_core::Device::Cpu;
            let mut executors: [Box<dyn Executor>; 2] = [
                Box::new(engine::compile(&network.layers, &weights, rule, 7).unwrap()),
                Box::new(Reference::new(&network.layers, &weights, rule, 7, &device).unwrap()),
            ];
            // Three epochs of one update: in the third, a row begins to learn.
            for (epoch, index) in (1..=3).zip(0..) {
                let freezing = Freezing::at(&settings, &network.layers, epoch, 1);
                let (mut after, mut losses) = (Vec::new(), Vec::new());
                for executor in &mut executors {
                    let before = executor.weights().unwrap();
                    executor.freeze(&freezing);
                    let step = Step { clip: Some(1.0), ..Step::alone(index, 1e-3, &objective) };
                    losses.push(executor.train_step(&noise(8), &step).unwrap().loss);
                    let newest = executor.weights().unwrap();
                    let moved = newest.iter().filter(|(name, array)| before.get(name) != Some(*array));
                    let moved: BTreeSet<usize> = moved.map(|(name, _)| row(name)).collect();
                    let learning = newest.iter().filter(|(name, _)| !freezing.is_frozen(name));
                    let learning: BTreeSet<usize> = learning.map(|(name, _)| row(name)).collect();
                    assert_eq!(moved, learning, "epoch {epoch}, until {freeze_until:?}, {}", executor.name());
                    after.push(newest);
                }
                // Weights move too little to show what was wrong on the way.
                let difference = (losses[0] - losses[1]).abs();
                assert!(difference < 1e-5, "{losses:?} in epoch {epoch}, until {freeze_until:?}");
                let close = |one: &Array, other: &Array| {
                    one.values.iter().zip(&other.values).all(|(one, other)| (one - other).abs() < 2e-4)
                };
                for (name, array) in after[0].iter() {
                    let other = after[1].get(name).unwrap();
                    assert!(close(array, other), "{name} in epoch {epoch}, {optimizer:?}, until {freeze_until:?}");
                }
            }
        }
    }
}

/// A row that begins to learn late moves as one whose optimizer is new, in PyTorch too: its parameters
/// have steps and moments of their own.
#[test]
fn a_row_that_begins_late_begins_with_a_new_optimizer() {
    let network = small();
    let weights = Weights::initial(&network.layers, 3);
    let objective = Objective::of(&TrainSettings::default(), &[1; 10]);
    let settings = TrainSettings {
        optimizer: Optimizer::Adam,
        freeze_until: Some(10),
        unfreeze_every: Some(1),
        ..TrainSettings::default()
    };
    let rule = OptimizerRule::of(&settings);
    let mut executor = engine::compile(&network.layers, &weights, rule, 7).unwrap();
    let mut largest = |epoch: usize, row_number: usize| {
        let before = Executor::weights(&mut executor).unwrap();
        Executor::freeze(&mut executor, &Freezing::at(&settings, &network.layers, epoch, 1));
        let step = Step::alone(epoch as u64 - 1, 1e-3, &objective);
        Executor::train_step(&mut executor, &noise(8), &step).unwrap();
        let after = Executor::weights(&mut executor).unwrap();
        let of_row = after.iter().filter(|(name, _)| row(name) == row_number && name.ends_with(".weight"));
        let moved = of_row.flat_map(|(name, array)| {
            let before = &before.get(name).unwrap().values;
            array.values.iter().zip(before).map(|(one, other)| f64::from((one - other).abs())).collect::<Vec<_>>()
        });
        moved.fold(0.0, f64::max)
    };
    // The first step of Adam moves everything by the learning rate, whatever the gradient.
    for (epoch, row) in [(1, 10), (2, 4), (3, 3), (4, 2)] {
        let moved = largest(epoch, row);
        assert!((moved - 1e-3).abs() < 2e-5, "row {row} moved by {moved} in epoch {epoch}");
    }
}

#[test]
fn a_run_begins_with_another_runs_weights() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cfg.yml"), SPEC).unwrap();
    let train = "train cfg.yml --epochs 1 --subset 300";
    let (code, _, stderr) = nasgen(folder.path(), &format!("{train} --run first"));
    assert_eq!(code, 0, "{stderr}");
    // Nothing but the last row learns, and it begins with what it has learnt already.
    let (code, _, stderr) = nasgen(folder.path(), &format!("{train} --run second --init first --freeze-until 10"));
    assert!(code == 0 && stderr.contains("with its classifier"), "{stderr}");
    assert!(stderr.contains("rows 0 to 4 are frozen: 90 of"), "{stderr}");
    let load = |run: &str| Weights::load(&folder.path().join(run).join("best.safetensors")).unwrap();
    let ((first, about_first), (second, about_second)) = (load("first"), load("second"));
    for (name, array) in second.iter() {
        assert_eq!(first.get(name) == Some(array), row(name) < 10, "{name}");
    }
    let said =
        |about: &BTreeMap<String, String>| serde_json::from_str::<Value>(&about["nasgen"]).unwrap()["mean"].clone();
    assert_eq!(said(&about_first), said(&about_second));
    let config = fs::read_to_string(folder.path().join("second/config.yaml")).unwrap();
    assert!(config.contains("first\"  # flag --init\n") || config.contains("first  # flag --init\n"), "{config}");

    for (flags, problem) in [
        ("--freeze-until 11", "freeze_until 11 leaves no row to learn"),
        ("--unfreeze-every 2", "`unfreeze_every` is used only with freeze_until"),
        ("--init nowhere.pth", "nowhere.pth"),
        ("--init cfg.yml", "wanted weights in safetensors or as torch.save"),
    ] {
        let (code, _, stderr) = nasgen(folder.path(), &format!("{train} --run third {flags}"));
        assert!(code == 2 && stderr.contains(problem), "{flags}: {stderr}");
        assert!(!folder.path().join("third").exists(), "{flags}");
    }
}

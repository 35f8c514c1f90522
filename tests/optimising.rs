//! Losses, optimizers and what else the settings say, on both executors.

use crate::{program::nasgen, repository};
use candle_core::Device;
use nasgen::{
    data::Batch,
    engine,
    reference::Reference,
    train::{Executor, Objective, ObjectiveKind, OptimizerRule, Step},
    weights::{Array, Weights},
};
use nasgen_modules::{Layers, Primitive, Shape, Source, randomness::Stream};
use std::fs;

/// A linear classifier of vectors.
fn linear(inputs: usize, classes: usize) -> Layers {
    let mut layers = Layers::identity(vec![Shape::image(inputs, 1, 1)]);
    let flat = layers.push("flat".into(), Primitive::Flatten, vec![Source::Input(0)]).unwrap();
    layers.push("linear".into(), Primitive::Linear { out: classes }, vec![flat]).unwrap();
    layers
}

fn executors(layers: &Layers, weights: &Weights, rule: OptimizerRule) -> [Box<dyn Executor>; 2] {
    let reference = Reference::new(layers, weights, rule, 3, &Device::Cpu).unwrap();
    [Box::new(engine::compile(layers, weights, rule, 3).unwrap()), Box::new(reference)]
}

fn tensor(name: &str, shape: &[usize], values: Vec<f32>) -> (String, Array) {
    (name.to_owned(), Array { shape: shape.to_vec(), values })
}

/// Weights under which the scores are the inputs, so that the gradient of the loss shows in one plain step.
fn identity(classes: usize) -> Weights {
    let ones = (0..classes * classes).map(|index| f32::from(u8::from(index % (classes + 1) == 0)));
    let weight = tensor("linear.weight", &[classes, classes], ones.collect());
    [weight, tensor("linear.bias", &[classes], vec![0.0; classes])].into_iter().collect()
}

#[test]
fn every_loss_and_its_gradient_are_pytorchs() {
    let (fixture, _) = Weights::load(&repository("tests/fixtures/training/losses.safetensors")).unwrap();
    let values = |name: &str| fixture.get(name).unwrap_or_else(|| panic!("no {name}")).values.clone();
    let whole = |name: &str| values(name).into_iter().map(|value| value as u32).collect::<Vec<u32>>();
    let (labels, partners, shares) = (whole("labels"), whole("partners"), values("share"));
    let (logits, classes) = (values("logits"), 5);
    let plain = Objective::cross_entropy(classes, 0.0);
    let smooth = Objective::cross_entropy(classes, 0.1);
    let focal = |gamma| Objective { kind: ObjectiveKind::Focal { gamma }, ..plain.clone() };
    let binary = |smoothing| Objective { kind: ObjectiveKind::Binary, smoothing, ..plain.clone() };
    let weighted = |objective: Objective| Objective { class_weights: values("weights"), ..objective };
    let offsets = values("prior").into_iter().map(|share| 1.5 * share.ln()).collect();
    for (name, objective, mixed) in [
        ("ce", plain.clone(), false),
        ("ce_smooth", smooth.clone(), false),
        ("ce_weighted", weighted(plain.clone()), false),
        ("ce_weighted_smooth", weighted(smooth), false),
        ("ce_mixed", plain.clone(), true),
        ("focal", focal(2.0), false),
        ("focal_weighted", weighted(focal(1.5)), false),
        ("logit_adjusted", Objective { offsets, ..plain.clone() }, false),
        ("bce", binary(0.0), false),
        ("bce_smooth_mixed", binary(0.1), true),
        ("bce_weighted", weighted(binary(0.0)), false),
    ] {
        let partners = partners.iter().copied().zip(shares.iter().copied()).collect();
        let partners = if mixed { partners } else { Vec::new() };
        let batch =
            Batch { images: logits.clone(), labels: labels.clone(), partners, shape: [8, classes, 1, 1], placed: None };
        let (loss, gradient) = (values(&format!("{name}.loss"))[0], values(&format!("{name}.grad")));
        for mut executor in executors(&linear(classes, classes), &identity(classes), OptimizerRule::PLAIN) {
            let who = format!("{name} on the {}", executor.name());
            let result = executor.train_step(&batch, &Step::alone(0, 1.0, &objective)).unwrap();
            assert!((result.loss - f64::from(loss)).abs() < 1e-5, "{who}: {} {loss}", result.loss);
            let after = executor.weights().unwrap();
            for class in 0..classes {
                let of_bias: f32 = (0..8).map(|image| gradient[image * classes + class]).sum();
                let actual = -after.get("linear.bias").unwrap().values[class];
                assert!((actual - of_bias).abs() < 2e-6, "{who}: bias {class}: {actual} {of_bias}");
                for input in 0..classes {
                    let at = |image: usize| gradient[image * classes + class] * logits[image * classes + input];
                    let expected: f32 = (0..8).map(at).sum();
                    let before = f32::from(u8::from(class == input));
                    let actual = before - after.get("linear.weight").unwrap().values[class * classes + input];
                    assert!((actual - expected).abs() < 2e-6, "{who}: weight {class} {input}: {actual} {expected}");
                }
            }
        }
    }
}

fn noise(images: usize, inputs: usize, classes: usize, seed: u64) -> Batch {
    let stream = Stream::new(seed, "noise");
    Batch {
        images: (0..(images * inputs) as u64).map(|index| stream.normal(index) as f32).collect(),
        labels: (0..images).map(|image| (image % classes) as u32).collect(),
        partners: Vec::new(),
        placed: None,
        shape: [images, inputs, 1, 1],
    }
}

fn part(batch: &Batch, from: usize, to: usize) -> Batch {
    let inputs = batch.shape[1];
    Batch {
        images: batch.images[from * inputs..to * inputs].to_vec(),
        labels: batch.labels[from..to].to_vec(),
        partners: Vec::new(),
        placed: None,
        shape: [to - from, inputs, 1, 1],
    }
}

fn distance(one: &Weights, other: &Weights) -> f64 {
    let squares = one.iter().flat_map(|(name, array)| {
        let other = &other.get(name).unwrap().values;
        array.values.iter().zip(other).map(|(one, other)| f64::from(one - other).powi(2)).collect::<Vec<_>>()
    });
    squares.sum::<f64>().sqrt()
}

#[test]
fn small_batches_accumulate_to_a_large_one() {
    let (layers, objective) = (linear(6, 3), Objective::cross_entropy(3, 0.1));
    let batch = noise(12, 6, 3, 1);
    let weights = Weights::initial(&layers, 1);
    let rule = OptimizerRule::AdamW { betas: [0.9, 0.999], epsilon: 1e-8, decay: 0.01 };
    for (mut whole, mut parts) in executors(&layers, &weights, rule).into_iter().zip(executors(&layers, &weights, rule))
    {
        for index in 0..3 {
            whole.train_step(&batch, &Step { clip: Some(0.3), ..Step::alone(index, 0.01, &objective) }).unwrap();
            for waiting in 0..3 {
                let step =
                    Step { waiting, update: waiting == 2, clip: Some(0.3), ..Step::alone(index, 0.01, &objective) };
                parts.train_step(&part(&batch, waiting * 4, waiting * 4 + 4), &step).unwrap();
            }
        }
        let (whole, parts) = (whole.weights().unwrap(), parts.weights().unwrap());
        assert!(distance(&whole, &weights) > 0.05 && distance(&whole, &parts) < 1e-5, "{}", distance(&whole, &parts));
    }
}

#[test]
fn long_gradients_are_cut_to_the_norm_and_short_ones_left_alone() {
    let (layers, objective) = (linear(6, 3), Objective::cross_entropy(3, 0.0));
    let (batch, weights) = (noise(12, 6, 3, 1), Weights::initial(&linear(6, 3), 1));
    let moved = |clip| {
        executors(&layers, &weights, OptimizerRule::PLAIN).map(|mut executor| {
            executor.train_step(&batch, &Step { clip, ..Step::alone(0, 1.0, &objective) }).unwrap();
            distance(&executor.weights().unwrap(), &weights)
        })
    };
    for ((free, cut), long) in moved(None).into_iter().zip(moved(Some(0.05))).zip(moved(Some(50.0))) {
        assert!(free > 0.1 && (cut - 0.05).abs() < 1e-4 && (long - free).abs() < 1e-6, "{free} {cut} {long}");
    }
}

#[test]
fn both_executors_take_the_same_steps_with_every_optimizer() {
    let (layers, objective) = (linear(6, 3), Objective::cross_entropy(3, 0.1));
    let weights = Weights::initial(&layers, 1);
    let (betas, epsilon, decay) = ([0.9, 0.99], 1e-8, 0.02);
    for rule in [
        OptimizerRule::Sgd { momentum: 0.9, nesterov: false, decay },
        OptimizerRule::Adam { betas, epsilon, decay },
        OptimizerRule::Adamax { betas, epsilon, decay },
        OptimizerRule::RmsProp { alpha: 0.9, momentum: 0.5, epsilon, decay },
        OptimizerRule::Lion { betas, decay },
    ] {
        let after = executors(&layers, &weights, rule).map(|mut executor| {
            for index in 0..20 {
                let step = Step::alone(index, 0.01, &objective);
                executor.train_step(&noise(12, 6, 3, index), &step).unwrap();
            }
            let state = executor.state().unwrap();
            assert_eq!(state.optimizer_steps, 20);
            state
        });
        assert!(distance(&after[0].weights, &after[1].weights) < 1e-4, "{rule:?}");
        assert!(distance(&after[0].moments, &after[1].moments) < 1e-4, "{rule:?}");
        assert!(distance(&after[0].weights, &weights) > 0.05, "{rule:?} does not move");
    }
}

const SPEC: &str = "\
input_size: [12, 12]
backbone:
  - [1, Conv, [8, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";

#[test]
fn settings_come_from_flags_and_maps_and_none_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    let train =
        "{optimizer: {adamw: {weight_decay: 0.25, beta1: 0.8}}, schedule: {step: {period: 2}}, epochs: 1, batch: 500}";
    fs::write(here.join("map.yml"), format!("{SPEC}train: {train}\n")).unwrap();
    let (code, _, stderr) = nasgen(here, "train map.yml --run map");
    assert_eq!(code, 0, "{stderr}");
    let config = fs::read_to_string(here.join("map/config.yaml")).unwrap();
    for line in ["  optimizer: adamw  #", "  weight_decay: 0.25  #", "  beta1: 0.8  #", "  period: 2  #"] {
        assert!(config.contains(line), "{line}: {config}");
    }
    assert!(!config.contains("momentum") && !config.contains("milestones"), "what is not used is not listed: {config}");
    for (flags, message) in [
        ("--optimizer adam --nesterov false", "`nesterov` is not used by optimizer adam, only by sgd"),
        ("--milestones 3,5", "`milestones` is not used by schedule cosine, only by multistep"),
        ("--schedule multistep --milestones 3,x", "setting `milestones`: wanted a list of whole numbers"),
        ("--focal-gamma 1", "`focal_gamma` is not used by loss cross_entropy"),
        ("--optimizer adamm", "did you mean `adam"),
        ("--patience 0", "setting `patience`"),
    ] {
        let (code, _, stderr) = nasgen(here, &format!("train cfg.yml {flags}"));
        assert!(code == 2 && stderr.contains(message), "`{flags}`: {stderr}");
    }
    let (code, _, stderr) = nasgen(
        here,
        "train cfg.yml --schedule multistep --milestones 1,2 --gamma 0.5 --warmup 0 --epochs 3 --batch 500 --run steps",
    );
    assert_eq!(code, 0, "{stderr}");
    let results = fs::read_to_string(here.join("steps/results.csv")).unwrap();
    let rates: Vec<&str> = results.lines().skip(1).map(|line| line.split(',').nth(7).unwrap()).collect();
    assert_eq!(rates, ["0.05000000", "0.02500000", "0.01250000"]);
    let (_, help, _) = nasgen(here, "train --help");
    for flag in ["--optimizer", "--plateau-patience", "--label", "--accumulate", "--ema"] {
        assert_eq!(help.contains(flag), flag != "--label", "{flag}");
    }
}

#[test]
fn patience_ends_a_training_that_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    // So slow that nothing changes but running statistics.
    let flags = "--lr 1e-30 --schedule constant --warmup 0 --patience 2 --epochs 9 --batch 500 --metric accuracy";
    let (code, stdout, stderr) = nasgen(here, &format!("train cfg.yml {flags} --run run --json"));
    assert_eq!(code, 0, "{stderr}");
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let best = result["best"]["epoch"].as_u64().unwrap();
    assert_eq!(result["epochs"].as_u64(), Some(best + 2), "{stdout}");
    assert!(best + 2 < 9, "{stdout}");
}

#[test]
fn the_average_of_the_weights_is_what_is_measured_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("cfg.yml"), SPEC).unwrap();
    let (code, stdout, stderr) =
        nasgen(here, "train cfg.yml --ema 0.95 --lr 0.1 --schedule constant --epochs 2 --batch 50 --run run --json");
    assert_eq!(code, 0, "{stderr}");
    let last = nasgen::train::Checkpoint::load(&here.join("run/last.safetensors")).unwrap();
    let (best, _) = Weights::load(&here.join("run/best.safetensors")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let average = last.average.unwrap();
    if result["best"]["epoch"] == 2 {
        assert_eq!(best, average);
    }
    assert!(distance(&average, &last.state.weights) > 1e-3);
    let (code, evaluated, stderr) = nasgen(here, "eval run --split val --json");
    assert_eq!(code, 0, "{stderr}");
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(evaluated["accuracy"], result["best"]["accuracy"]);
}

#[test]
fn a_flag_goes_before_set_the_environment_a_file_the_spec_and_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(
        here.join("cfg.yml"),
        format!("{SPEC}train: {{epochs: 1, batch: 500, lr: 0.01, smoothing: 0.2, val: 0.3}}\n"),
    )
    .unwrap();
    let file = "config: cfg.yml\nfit: crop\ntrain: {lr: 0.02, smoothing: 0.3, warmup: 0.5, momentum: 0.5}\n";
    fs::write(here.join("my.yml"), file).unwrap();
    let run = |arguments: &str, variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nasgen"));
        command.args(arguments.split_whitespace()).current_dir(here).envs(variables.iter().copied());
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let arguments = "train --config my.yml --set train.warmup=0.25 --set momentum=0.6 --momentum 0.7 --run a";
    let (code, stderr) = run(arguments, &[("NASGEN_SMOOTHING", "0.4"), ("NASGEN_WARMUP", "0.9")]);
    assert_eq!(code, 0, "{stderr}");
    let config = fs::read_to_string(here.join("a/config.yaml")).unwrap();
    for line in [
        "fit: crop  # the file of --config\n",
        "  momentum: 0.7  # flag --momentum\n",
        "  warmup: 0.25  # --set\n",
        "  smoothing: 0.4  # the environment\n",
        "  lr: 0.02  # the file of --config\n",
        "  val: 0.3  # the spec\n",
        "  seed: 0  # default\n",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    // A run's own file repeats it.
    let (code, stderr) = run("train --config a/config.yaml --run b", &[]);
    assert_eq!(code, 0, "{stderr}");
    let last = |run: &str| fs::read(here.join(run).join("last.safetensors")).unwrap();
    assert!(last("a") == last("b"), "config.yaml does not replay its run");
    fs::write(here.join("wrong.yml"), "config: cfg.yml\ntrian: {lr: 1}\n").unwrap();
    for (arguments, variables, message) in [
        ("train --config wrong.yml", &[][..], "wrong.yml:2:1"),
        ("train cfg.yml --set learning=3", &[], "unknown setting `learning`"),
        ("train cfg.yml --set lr", &[], "--set: wanted NAME=VALUE"),
        ("train cfg.yml", &[("NASGEN_EPOCH", "3")], "did you mean NASGEN_EPOCHS?"),
    ] {
        let (code, stderr) = run(arguments, variables);
        assert!(code == 2 && stderr.contains(message), "`{arguments}`: {stderr}");
    }
}

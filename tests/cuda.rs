//! The engine for GPUs, on a CPU: its kernels compiled for the host, thread after thread, against the reference and the
//! engine for CPUs.

use crate::engine::{blocks, differences_of, joins, lively, noise, noise_of, residuals, sampled};
use nasgen::{
    bench,
    data::{Augmentation, Images, Normalisation, Part, augment::Policy, placed_batch, placements, training_batch},
    engine::{compile, compile_on},
    train::{Executor, Objective, OptimizerRule, Step},
    weights::Weights,
};
use nasgen_engine::cuda::{Arithmetic, CudaEngine, Host, Order};
use nasgen_modules::{Layers, Shape};

/// A machine that runs tests without a C++ compiler says so; `NASGEN_REQUIRE=c++` makes that a failure.
fn host(arithmetic: Arithmetic, order: Order) -> Option<Host> {
    match Host::new(arithmetic, order) {
        Ok(host) => Some(host),
        Err(error) if error.to_string().starts_with("c++:") => {
            let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "c++"), "NASGEN_REQUIRE names c++: {error}");
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn on_host(layers: &Layers, weights: &Weights, rule: OptimizerRule) -> Option<CudaEngine<Host>> {
    let host = host(Arithmetic::Exact, Order::Ascending)?;
    Some(compile_on(host, layers, weights, rule, 7).unwrap())
}

/// What differs from the reference in scores, loss, gradients and statistics.
fn differences(name: &str, layers: &Layers, images: usize, tolerance: f64) -> Vec<String> {
    let Some(mut engine) = on_host(layers, &lively(layers), OptimizerRule::PLAIN) else { return Vec::new() };
    differences_of(&mut engine, name, layers, &noise(layers, images), tolerance)
}

#[test]
fn every_block_computes_and_learns_as_in_the_reference() {
    let mut wrong = Vec::new();
    for (name, layers) in blocks() {
        wrong.extend(differences(&name, &layers, 5, 1e-4));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn joins_drops_and_residuals_compute_as_in_the_reference() {
    for layers in residuals().into_iter().chain([joins()]) {
        for images in [2, 9] {
            let wrong = differences("joins", &layers, images, 1e-4);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}

/// As in tests/engine.rs: where a value lies within rounding of a kink, executors may rightly differ in one batch.
#[test]
fn sampled_networks_compute_and_learn_as_in_the_reference() {
    let mut wrong = Vec::new();
    for (number, layers) in sampled(30).iter().enumerate() {
        let attempt = |seed| {
            let Some(mut engine) = on_host(layers, &lively(layers), OptimizerRule::PLAIN) else { return Vec::new() };
            differences_of(&mut engine, &format!("sample {number}"), layers, &noise_of(seed, layers, 8), 1e-3)
        };
        let first = attempt(0);
        if !first.is_empty() && (1..3).all(|seed| !attempt(seed).is_empty()) {
            wrong.extend(first);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Weights after a few steps.
fn trained(executor: &mut dyn Executor, layers: &Layers, objective: &Objective, clip: Option<f64>) -> Weights {
    for index in 0..4 {
        let batch = noise_of(index, layers, 6);
        // Every other batch waits for the next one.
        let step =
            Step { clip, waiting: (index % 2) as usize, update: index % 2 == 1, ..Step::alone(index, 0.05, objective) };
        executor.train_step(&batch, &step).unwrap();
    }
    executor.weights().unwrap()
}

fn worst(one: &Weights, other: &Weights) -> f32 {
    let of_tensor = |(name, array): (&str, &nasgen::weights::Array)| {
        let pairs = array.values.iter().zip(&other.get(name).unwrap().values);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    one.iter().map(of_tensor).fold(0.0, f32::max)
}

/// A network without kinks.
fn smooth() -> Layers {
    let source = nasgen::spec::SourceText { name: "smooth".into(), text: crate::engine::SMOOTH.to_owned() };
    let spec = nasgen::spec::ModelSpec::parse(&source, &nasgen_modules::Blocks::builtin()).unwrap();
    nasgen::network::Network::plan(&spec, Shape::image(3, 11, 8)).unwrap().layers
}

/// Threads and blocks that run in another order come to the same bits: nothing depends on who is first.
#[test]
fn results_do_not_depend_on_the_order_of_threads() {
    for layers in sampled(3).into_iter().chain([joins(), smooth()]) {
        let weights = lively(&layers);
        let rule = OptimizerRule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
        let objective = Objective::cross_entropy(layers.output().channels(), 0.1);
        let mut results = Vec::new();
        for order in [Order::Ascending, Order::Descending] {
            let Some(host) = host(Arithmetic::Exact, order) else { return };
            let mut engine = compile_on(host, &layers, &weights, rule, 7).unwrap();
            results.push(trained(&mut engine, &layers, &objective, Some(1.0)));
        }
        assert!(results[0] == results[1], "off by {}", worst(&results[0], &results[1]));
    }
}

/// Tensor cores round what they multiply to 10 bits of mantissa, and each lane holds its part of the matrices.
#[test]
fn tensor_cores_compute_nearly_the_same() {
    let mut off_at_all = false;
    for (name, layers) in blocks().into_iter().take(12).chain([("smooth".to_owned(), smooth())]) {
        let Some(host) = host(Arithmetic::Tf32, Order::Ascending) else { return };
        let mut engine = compile_on(host, &layers, &lively(&layers), OptimizerRule::PLAIN, 7).unwrap();
        let batch = noise(&layers, 4);
        let scores = Executor::scores(&mut engine, &batch).unwrap();
        let mut exact = compile(&layers, &lively(&layers), OptimizerRule::PLAIN, 7).unwrap();
        let expected = Executor::scores(&mut exact, &batch).unwrap();
        let scale = expected.iter().fold(0.1f32, |largest, value| largest.max(value.abs()));
        let off = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
        assert!(off < 1e-2, "{name}: scores are off by {off:.1e}");
        off_at_all |= off > 1e-5;
    }
    assert!(off_at_all, "nothing was rounded");
}

/// An executor that holds the images is told how each is varied, and makes the same batches as the processor.
#[test]
fn batches_of_held_images_are_those_of_the_processor() {
    let layers = smooth();
    let Some(mut engine) = on_host(&layers, &lively(&layers), OptimizerRule::PLAIN) else { return };
    let pixels = (0..20 * 3 * 11 * 8usize).map(|at| (at * 37 % 251) as u8).collect();
    let images = Images::in_memory([3, 11, 8], pixels, (0..20).map(|image| image % 5).collect(), Vec::new());
    let normalisation = Normalisation::of(&images);
    assert!(Executor::hold(&mut engine, Part::Training, &images, &normalisation));
    let indices: Vec<usize> = (0..20).rev().collect();
    for policy in [serde_json::json!([]), serde_json::json!(["cutmix", {"mixup": 0.3}])] {
        let augmentation = Augmentation { policy: Policy::parse(&policy).unwrap(), ..Augmentation::default() };
        let batch = training_batch(&images, &indices, &normalisation, &augmentation, 3, 2);
        let placed = placements(&images, &indices, &augmentation, 3, 2);
        let placed = placed_batch(&images, Part::Training, placed);
        assert_eq!((&placed.labels, &placed.partners, placed.images.len()), (&batch.labels, &batch.partners, 0));
        let scores = [&batch, &placed].map(|batch| Executor::scores(&mut engine, batch).unwrap());
        assert_eq!(scores[0], scores[1], "{policy}");
        assert_eq!(placed.with_values(&images, &normalisation).images, batch.images);
    }
}

/// What is timed lies where it is computed, and is measured either way.
#[test]
fn a_batch_at_hand_is_held_where_that_is_possible() {
    let layers = smooth();
    let weights = lively(&layers);
    let batch = bench::noise(&layers, 6, 0);
    let mut engine = compile(&layers, &weights, OptimizerRule::PLAIN, 7).unwrap();
    assert_eq!(bench::at_hand(&mut engine, batch.clone()), batch);
    let Some(mut engine) = on_host(&layers, &weights, OptimizerRule::PLAIN) else { return };
    let held = bench::at_hand(&mut engine, batch.clone());
    assert_eq!((held.images.len(), &held.labels), (0, &batch.labels));
    let short = std::time::Duration::from_millis(1);
    for mode in [bench::Mode::Train, bench::Mode::Infer] {
        let timing = bench::measure(&mut engine, &held, 5, mode, short).unwrap();
        assert!(timing.median_ms() > 0.0);
    }
    let images = Images::in_memory([3, 11, 8], vec![7; 9 * 264], (0..9).map(|image| image % 5).collect(), Vec::new());
    let (normalisation, augmentation) = (Normalisation::of(&images), Augmentation::default());
    let data = (&images, &normalisation, &augmentation);
    assert!(bench::measure_data(&mut engine, &held, data, 5, short).unwrap().data > 0.0);
}

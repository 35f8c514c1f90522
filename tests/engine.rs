//! The engine against the reference: scores, losses, gradients, updates and statistics.

use crate::oracle::{Fixture, fixtures, row_layers, shape_of};
use candle_core::Device;
use nasgen::{
    data::Batch,
    engine,
    network::Network,
    reference::Reference,
    space::{Budget, DEFAULT, Sampler, Space},
    spec::{ModelSpec, SourceText},
    train::{Executor, Objective, OptimizerRule, Step},
    weights::Weights,
};
use nasgen_modules::{Blocks, Layers, Primitive, Shape, Source, randomness::Stream};

/// Plain steps against the gradient, so that updates show gradients.
pub(crate) const PLAIN: OptimizerRule = OptimizerRule::PLAIN;

/// A batch of noise for `layers`, with labels below the number of classes.
pub(crate) fn noise(layers: &Layers, images: usize) -> Batch {
    noise_of(3, layers, images)
}

pub(crate) fn noise_of(seed: u64, layers: &Layers, images: usize) -> Batch {
    let sides = layers.inputs()[0].dims();
    let [channels, height, width] = if sides.len() == 3 { [sides[0], sides[1], sides[2]] } else { [sides[0], 1, 1] };
    let stream = Stream::new(seed, "noise");
    let count = images * channels * height * width;
    Batch {
        images: (0..count as u64).map(|index| stream.normal(index) as f32).collect(),
        labels: (0..images).map(|image| (image % layers.output().channels()) as u32).collect(),
        partners: Vec::new(),
        placed: None,
        shape: [images, channels, height, width],
    }
}

/// Weights in which nothing hides behind 0 and 1.
pub(crate) fn lively(layers: &Layers) -> Weights {
    let weights = Weights::initial(layers, 1);
    let vary = |(name, array): (&str, &nasgen::weights::Array)| {
        let stream = Stream::new(2, name);
        let mut array = array.clone();
        if array.shape.len() == 1 {
            let values = array.values.iter_mut().enumerate();
            values.for_each(|(index, value)| *value += 0.3 * stream.uniform(index as u64));
        }
        (name.to_owned(), array)
    };
    weights.iter().map(vary).collect()
}

/// What differs by more than `tolerance` after a few steps from the same state, each relative to
/// the largest change of the tensor or to its size in all.
fn differences(name: &str, layers: &Layers, batch: &Batch, tolerance: f64) -> Vec<String> {
    let mut fast = engine::compile(layers, &lively(layers), PLAIN, 7).unwrap();
    differences_of(&mut fast, name, layers, batch, tolerance)
}

/// The same for any executor that begins with [`lively`] weights and drops by seed 7.
pub(crate) fn differences_of(
    fast: &mut dyn Executor,
    name: &str,
    layers: &Layers,
    batch: &Batch,
    tolerance: f64,
) -> Vec<String> {
    let weights = lively(layers);
    let mut slow = Reference::new(layers, &weights, PLAIN, 7, &Device::Cpu).unwrap();
    let mut wrong = Vec::new();
    let mut check = |what: String, actual: &[f32], expected: &[f32], floor: f32| {
        let scale = expected.iter().fold(floor, |largest, value| largest.max(value.abs()));
        let worst = actual.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs() / scale));
        let worst = worst.fold(0.0, |largest, d| if d > largest || d.is_nan() { d } else { largest });
        if worst.is_nan() || worst > tolerance || actual.len() != expected.len() {
            wrong.push(format!("{name}: {what} differs by {worst:.1e}"));
        }
    };
    let scores = [fast.scores(batch).unwrap(), slow.scores(batch).unwrap()];
    check("scores".into(), &scores[0], &scores[1], 0.1);
    let objective = Objective::cross_entropy(layers.output().channels(), 0.1);
    let step = Step::alone(4, 1.0, &objective);
    let outcomes = [fast.train_step(batch, &step).unwrap(), slow.train_step(batch, &step).unwrap()];
    check("loss".into(), &[outcomes[0].loss as f32], &[outcomes[1].loss as f32], 0.1);
    assert_eq!(outcomes[0].correct, outcomes[1].correct, "{name}");

    let (fast, slow) = (fast.weights().unwrap(), slow.weights().unwrap());
    for (tensor, after) in slow.iter() {
        let before = &weights.get(tensor).unwrap().values;
        let change = |values: &[f32]| values.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<f32>>();
        let actual = change(&fast.get(tensor).unwrap().values);
        check(format!("change of {tensor}"), &actual, &change(&after.values), 0.02);
    }
    wrong
}

/// A classifier on top, so that there is a loss.
pub(crate) fn with_classifier(mut layers: Layers) -> Layers {
    let mut end = layers.output_source();
    if layers.output().size().is_some() {
        end = layers.push("flatten".into(), Primitive::Flatten, vec![end]).unwrap();
    }
    layers.push("classifier".into(), Primitive::Linear { out: 5 }, vec![end]).unwrap();
    layers
}

/// Every block of the fixtures that reads one image, with a classifier on top, by name.
pub(crate) fn blocks() -> Vec<(String, Layers)> {
    let of_fixture = |path: &std::path::PathBuf| {
        let fixture = Fixture::load(path);
        let inputs: Vec<Shape> = fixture.each("input").into_iter().map(shape_of).collect();
        let reads_image = inputs.len() == 1 && inputs[0].size().is_some();
        reads_image.then(|| (fixture.name.clone(), with_classifier(row_layers(&fixture.metadata, inputs))))
    };
    fixtures("blocks").iter().filter_map(of_fixture).collect()
}

#[test]
fn every_block_computes_and_learns_as_in_the_reference() {
    let mut wrong = Vec::new();
    for (name, layers) in blocks() {
        wrong.extend(differences(&name, &layers, &noise(&layers, 5), 1e-4));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Values that are read twice, dropped and moved.
pub(crate) fn joins() -> Layers {
    let mut layers = Layers::identity(vec![Shape::image(3, 6, 5)]);
    let image = Source::Input(0);
    let mut push = |label: &str, primitive, inputs: Vec<Source>| layers.push(label.into(), primitive, inputs).unwrap();
    let wide = nasgen_modules::Convolution::new(8, nasgen_modules::Window::centered(3, 1)).bias(true);
    let a = push("a", wide.into(), vec![image]);
    let b = push("b", wide.into(), vec![image]);
    let sum = push("sum", Primitive::Add { drop: 0.5 }, vec![a, b, a]);
    let dropped = push("dropped", Primitive::Dropout { probability: 0.3 }, vec![sum]);
    let joined = push("joined", Primitive::Concat, vec![dropped, b, dropped]);
    let shuffled = push("shuffled", Primitive::ChannelShuffle { groups: 3 }, vec![joined]);
    let slice = push("slice", Primitive::ChannelSlice { start: 5, length: 7 }, vec![shuffled]);
    let large = push("large", Primitive::Upsample { factor: 2 }, vec![slice]);
    push("norm", Primitive::Norm(nasgen_modules::Norm::default()), vec![large]);
    with_classifier(layers)
}

#[test]
fn joins_drops_and_reuse_compute_as_in_the_reference() {
    let layers = joins();
    for images in [2, 5, 9] {
        let wrong = differences("joins", &layers, &noise(&layers, images), 1e-4);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Residual sums whose branch ends in a norm, an activation or a drop.
pub(crate) fn residuals() -> Vec<Layers> {
    let cases = [(None, 0.0), (None, 0.5), (Some(nasgen_modules::Activation::SiLU), 0.5)];
    let of_case = |(activation, drop)| {
        let mut layers = Layers::identity(vec![Shape::image(6, 5, 4)]);
        let mut push =
            |label: &str, primitive, inputs: &[Source]| layers.push(label.into(), primitive, inputs.to_vec()).unwrap();
        let convolution = nasgen_modules::Convolution::new(6, nasgen_modules::Window::centered(3, 1));
        let before = push("before", convolution.into(), &[Source::Input(0)]);
        let branch = push("branch", convolution.groups(6).into(), &[before]);
        let mut end = push("norm", Primitive::Norm(nasgen_modules::Norm::default()), &[branch]);
        if let Some(activation) = activation {
            end = push("activation", Primitive::Activation(activation), &[end]);
        }
        push("sum", Primitive::Add { drop }, &[before, end]);
        with_classifier(layers)
    };
    cases.map(of_case).into()
}

/// A convolution, its norm, activation and residual sum are one operation of the engine.
#[test]
fn residuals_are_dropped_as_in_the_reference() {
    for layers in residuals() {
        for images in [3, 9] {
            let wrong = differences("residual", &layers, &noise(&layers, images), 1e-4);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}

/// Small networks drawn from the default space.
pub(crate) fn sampled(count: u64) -> Vec<Layers> {
    let blocks = Blocks::builtin();
    let source = SourceText { name: "cells".into(), text: DEFAULT.1.to_owned() };
    let space = Space::parse("cells", &source, &blocks).unwrap();
    let budget = Budget { max_params: None, max_macs: Some(400_000) };
    let sampler = Sampler { space: &space, seed: 0, budget, input: Some(Shape::image(3, 11, 8)) };
    (0..count).map(|number| sampler.sample(number).unwrap().network.unwrap().layers).collect()
}

/// Where a value lies within rounding of a kink (ReLU at 0, two equal pixels of a pool), the two
/// executors may rightly take different sides, and gradients before it differ. That depends on the
/// batch; what is wrong with an executor shows in every batch. So one of three batches must agree.
#[test]
fn sampled_networks_compute_and_learn_as_in_the_reference() {
    let mut wrong = Vec::new();
    for (number, layers) in sampled(200).iter().enumerate() {
        let attempt = |seed| differences(&format!("sample {number}"), layers, &noise_of(seed, layers, 8), 1e-3);
        let mut attempts = (0..3).map(attempt);
        let first = attempts.next().unwrap();
        if !first.is_empty() && attempts.all(|attempt| !attempt.is_empty()) {
            wrong.extend(first);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn weights_do_not_depend_on_the_number_of_threads() {
    for layers in sampled(4) {
        let batch = noise(&layers, 13);
        let rule = OptimizerRule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
        let train = || {
            let mut engine = engine::compile(&layers, &Weights::initial(&layers, 0), rule, 0).unwrap();
            for index in 0..5 {
                let objective = Objective::cross_entropy(layers.output().channels(), 0.1);
                let step = Step::alone(index, 0.05, &objective);
                Executor::train_step(&mut engine, &batch, &step).unwrap();
            }
            Executor::weights(&mut engine).unwrap()
        };
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let one = pool(1).install(train);
        for threads in [1, 2, 4] {
            assert!(pool(threads).install(train) == one, "{threads} threads give other weights than one");
        }
    }
}

/// Layers with so much to do that a single image goes to several threads, with an odd number of rows: dense, strided,
/// depthwise and pointwise ones, residual sums, and activations after no norm.
const WIDE: &str = "
backbone:
  - [1, Conv, [48, 3]]
  - [1, ResBottleneck, [48, true, 1, 0.5, ReLU]]
  - [1, Fire, [16, 64, 64]]
  - [1, InvertedResidualv2, [4, 64, 1]]
  - [1, DWConv, [128, 5, 2]]
  - [1, Conv, [160, 3, 2]]
  - [1, MBConv, [4, 160, 1, 3]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [300]]
  - [1, Linear, [10]]
";

#[test]
fn scores_do_not_depend_on_the_number_of_threads() {
    let source = SourceText { name: "wide".into(), text: WIDE.to_owned() };
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
    let layers = Network::plan(&spec, Shape::image(3, 31, 30)).unwrap().layers;
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for images in [1, 3] {
        let batch = noise(&layers, images);
        let scores = |threads| {
            pool(threads).install(|| {
                let mut engine = engine::compile(&layers, &Weights::initial(&layers, 0), PLAIN, 0).unwrap();
                // Statistics and weights that are not those of the beginning: what was kept must be made again.
                let before = engine.scores(&batch.images).unwrap();
                let objective = Objective::cross_entropy(10, 0.1);
                Executor::train_step(&mut engine, &noise(&layers, 4), &Step::alone(0, 0.05, &objective)).unwrap();
                [before, engine.scores(&batch.images).unwrap()]
            })
        };
        let one = scores(1);
        assert_ne!(one[0], one[1]);
        for threads in [2, 5] {
            assert!(scores(threads) == one, "{threads} threads give other scores of {images} images than one");
        }
    }
}

/// Batches go through a network a few images at a time, other numbers of them in each stretch of it, and several parts
/// of a batch at once.
#[test]
fn scores_of_an_image_do_not_depend_on_its_batch() {
    let plan = |name: &str, text: String, shape| {
        let spec = ModelSpec::parse(&SourceText { name: name.into(), text }, &Blocks::builtin()).unwrap();
        Network::plan(&spec, shape).unwrap().layers
    };
    let file = |name: &str| {
        let path = format!("{}/model_configs/{name}.yml", env!("CARGO_MANIFEST_DIR"));
        plan(name, std::fs::read_to_string(path).unwrap(), Shape::image(3, 32, 32))
    };
    let networks = [
        plan("wide", WIDE.to_owned(), Shape::image(3, 31, 30)),
        joins(),
        file("mobilenetv3_small"),
        file("shufflenetv2"),
    ];
    for (layers, images) in networks.iter().zip([9, 21, 67, 40]) {
        let batch = noise(layers, images);
        let score = |threads, at_a_time: usize| {
            let values = layers.inputs()[0].dims().iter().product::<usize>();
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let mut engine = engine::compile(layers, &lively(layers), PLAIN, 0).unwrap();
                let parts = batch.images.chunks(at_a_time * values);
                parts.flat_map(|part| engine.scores(part).unwrap()).collect::<Vec<f32>>()
            })
        };
        let alone = score(1, 1);
        for (threads, at_a_time) in [(1, images), (2, images), (3, images), (2, 5), (4, 2)] {
            assert!(score(threads, at_a_time) == alone, "{at_a_time} of {images} images on {threads} threads");
        }
    }
}

#[test]
fn images_and_weights_that_do_not_fit_are_refused() {
    let layers = with_classifier(Layers::identity(vec![Shape::image(3, 4, 4)]));
    let mut engine = engine::compile(&layers, &Weights::initial(&layers, 0), PLAIN, 0).unwrap();
    assert!(engine.scores(&[0.0; 47]).unwrap_err().0.contains("3×4×4"));
    let batch =
        Batch { images: vec![0.0; 48], labels: vec![9], partners: Vec::new(), shape: [1, 3, 4, 4], placed: None };
    let objective = Objective::cross_entropy(5, 0.0);
    let error = Executor::train_step(&mut engine, &batch, &Step::alone(0, 0.1, &objective)).unwrap_err();
    assert!(error.0.contains("labels below 5"), "{error}");
    let error = engine::compile(&layers, &Weights::default(), PLAIN, 0).err().unwrap();
    assert!(error.0.contains("`classifier.weight` is missing"), "{error}");
}

/// A network without kinks: however close a value lies to anything, the executors agree.
pub(crate) const SMOOTH: &str = "
backbone:
  - [1, Conv, [16, 3, 1, null, 1, SiLU]]
  - [2, MBConv, [3, 16, 1, 3]]
  - [1, DWConv, [24, 3, 1, null, GELU]]
  - [1, MBConv, [2, 40, 2, 5]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [5]]
";

/// 50 steps at the default recipe's learning rate, each from the reference's state.
#[test]
fn fifty_steps_of_a_network_are_the_steps_of_the_reference() {
    let source = SourceText { name: "smooth".into(), text: SMOOTH.to_owned() };
    let spec = ModelSpec::parse(&source, &Blocks::builtin()).unwrap();
    let layers = &Network::plan(&spec, Shape::image(3, 11, 8)).unwrap().layers;
    let settings = nasgen::spec::TrainSettings::default();
    let rule = OptimizerRule::of(&settings);
    let mut weights = Weights::initial(layers, 0);
    let mut slow = Reference::new(layers, &weights, rule, 0, &Device::Cpu).unwrap();
    for index in 0..50 {
        let batch = noise_of(index, layers, 16);
        let objective = Objective::cross_entropy(layers.output().channels(), settings.smoothing);
        let step = Step::alone(index, settings.learning_rate(), &objective);
        let mut fast = engine::compile(layers, &weights, rule, 0).unwrap();
        // Before its first step the optimizer remembers nothing.
        if index > 0 {
            Executor::restore(&mut fast, &slow.state().unwrap()).unwrap();
        }
        let outcome = Executor::train_step(&mut fast, &batch, &step).unwrap();
        let expected = slow.train_step(&batch, &step).unwrap();
        let off = (outcome.loss / expected.loss - 1.0).abs();
        assert!(off < 1e-4, "step {index}: loss off by {off:.1e}");

        let (after_fast, after_slow) = (Executor::weights(&mut fast).unwrap(), slow.weights().unwrap());
        let length = |one: &Weights, other: &Weights| {
            let of_tensor = |(name, array): (&str, &nasgen::weights::Array)| -> f64 {
                let pairs = array.values.iter().zip(&other.get(name).unwrap().values);
                pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
            };
            one.iter().map(of_tensor).sum::<f64>().sqrt()
        };
        let off = length(&after_slow, &after_fast) / length(&after_slow, &weights);
        assert!(off < 1e-4, "step {index}: update off by {off:.1e}");
        weights = after_slow;
    }
}

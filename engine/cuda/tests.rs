//! The engine for GPUs against the engine for CPUs: on kernels compiled for the host, and on a GPU where there is one.

use super::{Arithmetic, Content, CudaEngine, Device, Gpu, Host, Order, Placed, Placement, Precision};
use crate::{
    engine::{Engine, EngineError, StepOutcome, TrainStep},
    loss::{Loss, LossKind},
    optimizer::Rule,
};
use nasgen_modules::{
    Activation, Convolution, Layers, Norm, Padding, Primitive, Shape, Source, Window, randomness::Stream,
};
use std::collections::BTreeMap;

type Weights = BTreeMap<String, Vec<f32>>;

/// What both engines can do.
trait Executes {
    fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError>;
    fn train_step(&mut self, images: &[f32], targets: &[f32], step: &TrainStep<'_>)
    -> Result<StepOutcome, EngineError>;
    fn tensors(&mut self) -> Result<Weights, EngineError>;
    fn moments(&mut self) -> Result<Weights, EngineError>;
    fn restore(&mut self, weights: &Weights, moments: &Weights, steps: u64) -> Result<(), EngineError>;
    fn freeze(&mut self, learns_since: &dyn Fn(&str) -> Option<u64>);
}

fn named(tensors: Vec<(String, Vec<usize>, Vec<f32>)>) -> Weights {
    tensors.into_iter().map(|(name, _, values)| (name, values)).collect()
}

impl Executes for Engine {
    fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError> {
        Self::scores(self, images)
    }
    fn train_step(
        &mut self,
        images: &[f32],
        targets: &[f32],
        step: &TrainStep<'_>,
    ) -> Result<StepOutcome, EngineError> {
        Self::train_step(self, images, targets, step)
    }
    fn tensors(&mut self) -> Result<Weights, EngineError> {
        Ok(named(Self::tensors(self)))
    }
    fn moments(&mut self) -> Result<Weights, EngineError> {
        Ok(named(Self::moments(self)))
    }
    fn restore(&mut self, weights: &Weights, moments: &Weights, steps: u64) -> Result<(), EngineError> {
        Self::restore(self, |name| find(weights, name), |name| find(moments, name), steps)
    }
    fn freeze(&mut self, learns_since: &dyn Fn(&str) -> Option<u64>) {
        Self::freeze(self, learns_since);
    }
}

impl<D: Device> Executes for CudaEngine<D> {
    fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError> {
        Self::scores(self, images)
    }
    fn train_step(
        &mut self,
        images: &[f32],
        targets: &[f32],
        step: &TrainStep<'_>,
    ) -> Result<StepOutcome, EngineError> {
        Self::train_step(self, images, targets, step)
    }
    fn tensors(&mut self) -> Result<Weights, EngineError> {
        Ok(named(Self::tensors(self)?))
    }
    fn moments(&mut self) -> Result<Weights, EngineError> {
        Ok(named(Self::moments(self)?))
    }
    fn restore(&mut self, weights: &Weights, moments: &Weights, steps: u64) -> Result<(), EngineError> {
        Self::restore(self, |name| find(weights, name), |name| find(moments, name), steps)
    }
    fn freeze(&mut self, learns_since: &dyn Fn(&str) -> Option<u64>) {
        Self::freeze(self, learns_since);
    }
}

fn find<'w>(tensors: &'w Weights, name: &str) -> Option<&'w [f32]> {
    tensors.get(name).map(Vec::as_slice)
}

/// Where a network is run in these tests.
#[derive(Clone, Copy, Debug)]
enum Machine {
    Host(Arithmetic, Order),
    Gpu(Precision),
}

impl Machine {
    const EXACT: Self = Self::Host(Arithmetic::Exact, Order::Ascending);

    /// Those that compute in f32 and are there. A machine without a C++ compiler or a GPU says so; `NASGEN_REQUIRE` may
    /// name `c++` and `gpu`.
    fn exact() -> Vec<Self> {
        [Self::EXACT, Self::Gpu(Precision::F32)].into_iter().filter(|machine| machine.is_there()).collect()
    }

    /// Those that round to TF32.
    fn rounding() -> Vec<Self> {
        let all = [Self::Host(Arithmetic::Tf32, Order::Ascending), Self::Gpu(Precision::Tf32)];
        all.into_iter().filter(|machine| machine.is_there()).collect()
    }

    fn is_there(self) -> bool {
        let (name, problem) = match self {
            Self::Host(arithmetic, order) => match Host::new(arithmetic, order) {
                Ok(_) => return true,
                Err(error) => ("c++", error.to_string()),
            },
            Self::Gpu(_) => match super::check(0) {
                Ok(()) => return true,
                Err(error) => ("gpu", error.to_string()),
            },
        };
        assert!(!problem.contains("does not take"), "{problem}");
        let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == name), "NASGEN_REQUIRE names {name}: {problem}");
        false
    }

    fn engine(self, layers: &Layers, weights: &Weights, rule: Rule) -> Box<dyn Executes> {
        let find = |name: &str| find(weights, name);
        match self {
            Self::Host(arithmetic, order) => {
                let host = Host::new(arithmetic, order).expect("it is there");
                Box::new(CudaEngine::new(host, layers, find, rule, 7).expect("it fits"))
            }
            Self::Gpu(precision) => {
                let gpu = Gpu::new(0, precision).expect("it is there");
                Box::new(CudaEngine::new(gpu, layers, find, rule, 7).expect("it fits"))
            }
        }
    }
}

/// On a CPU, as it should be.
fn expected(layers: &Layers, weights: &Weights, rule: Rule) -> Box<dyn Executes> {
    Box::new(Engine::new(layers, |name| find(weights, name), rule, 7).expect("it fits"))
}

/// Initial weights in which nothing hides behind 0 and 1.
fn lively(layers: &Layers) -> Weights {
    let of_tensor = |tensor: nasgen_modules::TensorSpec| {
        let stream = Stream::new(1, &tensor.name);
        let count = tensor.shape.iter().product();
        let mut values = stream.initial(tensor.initial, count);
        if tensor.shape.len() == 1 {
            values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.3 * stream.uniform(index as u64 + 9));
        }
        (tensor.name, values)
    };
    layers.tensors().into_iter().map(of_tensor).collect()
}

/// Images of noise, and a target for each.
struct Batch {
    images: Vec<f32>,
    targets: Vec<f32>,
}

impl Batch {
    fn noise(seed: u64, layers: &Layers, images: usize) -> Self {
        let stream = Stream::new(seed, "noise");
        let count = layers.inputs()[0].elements() * images as u64;
        let classes = layers.output().channels();
        let target = |index: usize| {
            let hit = index % classes == index / classes % classes;
            0.1 / classes as f32 + if hit { 0.9 } else { 0.0 }
        };
        Self {
            images: (0..count).map(|index| stream.normal(index) as f32).collect(),
            targets: (0..images * classes).map(target).collect(),
        }
    }
}

const PLAIN: Rule = Rule::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };

fn entropy() -> Loss {
    Loss { kind: LossKind::CrossEntropy, class_weights: Vec::new(), offsets: Vec::new() }
}

/// The largest distance between values, over the largest value or `floor`.
fn distance(actual: &[f32], expected: &[f32], floor: f32) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(floor, |largest, value| largest.max(value.abs()));
    let distances = actual.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale);
    distances.fold(0.0, |largest, distance| if distance > largest || distance.is_nan() { distance } else { largest })
}

/// What differs by more than `tolerance` in scores, loss, gradients and statistics.
fn differences(machine: Machine, name: &str, layers: &Layers, images: usize, tolerance: f32) -> Vec<String> {
    let weights = lively(layers);
    let [mut actual, mut expected] = [machine.engine(layers, &weights, PLAIN), expected(layers, &weights, PLAIN)];
    let batch = Batch::noise(3, layers, images);
    let mut wrong = Vec::new();
    let mut check = |what: &str, distance: f32| {
        if distance.is_nan() || distance > tolerance {
            wrong.push(format!("{name} on {machine:?}: {what} differs by {distance:.1e}"));
        }
    };
    let scores = [&mut actual, &mut expected].map(|engine| engine.scores(&batch.images).expect("it runs"));
    check("scores", distance(&scores[0], &scores[1], 0.1));
    let loss = entropy();
    let step = TrainStep { index: 4, learning_rate: 1.0, loss: &loss, clip: None, waiting: 0, update: true };
    let outcomes = [&mut actual, &mut expected]
        .map(|engine| engine.train_step(&batch.images, &batch.targets, &step).expect("it runs"));
    check("loss", distance(&[outcomes[0].loss as f32], &[outcomes[1].loss as f32], 0.1));
    let [actual, expected] = [&mut actual, &mut expected].map(|engine| engine.tensors().expect("it reads"));
    for (tensor, after) in &expected {
        let change = |values: &[f32]| values.iter().zip(&weights[tensor]).map(|(a, b)| a - b).collect::<Vec<f32>>();
        check(&format!("change of {tensor}"), distance(&change(&actual[tensor]), &change(after), 0.02));
    }
    wrong
}

fn none_differs(cases: &[(String, Layers, usize)]) {
    for machine in Machine::exact() {
        let wrong: Vec<String> =
            cases.iter().flat_map(|(name, layers, images)| differences(machine, name, layers, *images, 1e-4)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    // A kink may be crossed by rounding, and then a gradient differs: most must agree.
    for machine in Machine::rounding() {
        let off = |(name, layers, images): &&(String, Layers, usize)| {
            !differences(machine, name, layers, *images, 3e-2).is_empty()
        };
        let off = cases.iter().filter(off).count();
        assert!(off * 4 <= cases.len(), "{off} of {} differ by more than 3e-2 on {machine:?}", cases.len());
    }
}

fn push(layers: &mut Layers, label: &str, primitive: impl Into<Primitive>, inputs: &[Source]) -> Source {
    layers.push(label.into(), primitive.into(), inputs.to_vec()).expect("it can be built")
}

/// A classifier on top, so that there is a loss.
fn with_classifier(mut layers: Layers) -> Layers {
    let mut end = layers.output_source();
    if layers.output().size().is_some() {
        end = push(&mut layers, "flatten", Primitive::Flatten, &[end]);
    }
    push(&mut layers, "classifier", Primitive::Linear { out: 5 }, &[end]);
    layers
}

/// Something that learns before a layer, so that the gradient of its input is asked for.
fn after_scaling(shape: Shape) -> (Layers, Source) {
    let mut layers = Layers::identity(vec![shape]);
    let each = Convolution::new(shape.channels(), Window::centered(1, 1)).groups(shape.channels());
    let first = push(&mut layers, "first", each, &[Source::Input(0)]);
    (layers, first)
}

/// Odd and unequal sides, channels that fill no register, kernels larger than the image, strides that leave pixels out,
/// dilation, one pixel, batches of one; many pixels and channels, so that every size of tile is used.
#[test]
fn convolutions_of_awkward_shapes() {
    let window = |kernel, stride, dilation, padding| Window { kernel, stride, dilation, padding };
    let all = Padding::all;
    let uneven = Padding { top: 0, bottom: 2, left: 1, right: 0 };
    let centered = Window::centered;
    let cases = [
        (Shape::image(3, 7, 5), Convolution::new(5, centered(3, 1)), 3),
        (Shape::image(8, 9, 4), Convolution::new(12, centered(3, 2)), 2),
        (Shape::image(4, 5, 8), Convolution::new(40, centered(1, 1)), 1),
        (Shape::image(6, 4, 3), Convolution::new(9, window([5, 7], [1, 1], [1, 1], all(3))), 2),
        (Shape::image(4, 11, 10), Convolution::new(8, window([3, 2], [3, 3], [1, 1], all(1))), 2),
        (Shape::image(8, 11, 9), Convolution::new(4, window([3, 3], [1, 2], [2, 3], all(2))), 2),
        (Shape::image(4, 6, 6), Convolution::new(4, window([2, 3], [2, 1], [1, 1], uneven)), 3),
        (Shape::image(20, 1, 1), Convolution::new(7, centered(1, 1)), 2),
        (Shape::image(1, 6, 5), Convolution::new(1, centered(3, 1)), 1),
        (Shape::image(12, 6, 5), Convolution::new(6, centered(3, 1)).groups(3), 2),
        (Shape::image(16, 6, 5), Convolution::new(32, centered(3, 2)).groups(4), 2),
        (Shape::image(6, 5, 7), Convolution::new(12, centered(3, 1)).groups(6), 2),
        (Shape::image(37, 7, 6), Convolution::new(37, centered(5, 2)).groups(37), 3),
        (Shape::image(40, 9, 5), Convolution::new(40, centered(7, 1)).groups(40), 2),
        (Shape::image(8, 7, 9), Convolution::new(8, window([3, 3], [1, 1], [2, 2], all(2))).groups(8), 2),
        (Shape::image(8, 3, 3), Convolution::new(8, window([4, 1], [2, 1], [1, 1], all(2))).groups(8), 2),
        (Shape::image(8, 5, 5), Convolution::new(8, centered(3, 3)).groups(8), 1),
        (Shape::image(4, 64, 64), Convolution::new(68, centered(1, 1)), 8),
        (Shape::image(4, 33, 31), Convolution::new(72, centered(3, 2)), 3),
    ];
    let built = cases.map(|(shape, convolution, images)| {
        let (mut layers, first) = after_scaling(shape);
        push(&mut layers, "convolution", convolution.bias(true), &[first]);
        (format!("{shape} {convolution:?}"), with_classifier(layers), images)
    });
    none_differs(&built);
}

/// Pools whose windows hang over, overlap or leave pixels out, and parts that are larger or smaller than a pixel.
#[test]
fn pools_of_awkward_shapes() {
    let window = |kernel, stride, padding| Window::square(kernel, stride, Padding::all(padding));
    let max = |window, ceil_mode| Primitive::MaxPool { window, ceil_mode };
    let mean = |window, ceil_mode, count_include_pad| Primitive::AveragePool { window, ceil_mode, count_include_pad };
    let dilated = Window { dilation: [2, 1], ..window(3, 2, 1) };
    let pools = [
        max(window(3, 2, 1), false),
        max(window(2, 3, 0), true),
        max(dilated, false),
        mean(window(3, 2, 1), true, true),
        mean(window(3, 1, 1), false, false),
        mean(window(2, 3, 1), true, false),
        Primitive::AdaptiveAveragePool { output: 1 },
        Primitive::AdaptiveAveragePool { output: 3 },
        Primitive::AdaptiveAveragePool { output: 9 },
        Primitive::AdaptiveMaxPool { output: 1 },
        Primitive::AdaptiveMaxPool { output: 4 },
    ];
    let shapes = [Shape::image(5, 7, 6), Shape::image(40, 5, 8)];
    let built: Vec<_> = pools
        .iter()
        .flat_map(|pool| {
            shapes.map(|shape| {
                let (mut layers, first) = after_scaling(shape);
                push(&mut layers, "pool", *pool, &[first]);
                (format!("{shape} {pool:?}"), with_classifier(layers), 3)
            })
        })
        .collect();
    none_differs(&built);
}

/// Norms with every activation, after convolutions of each kind and by themselves; activations without a norm.
#[test]
fn norms_and_activations() {
    let mut built = Vec::new();
    for (number, activation) in Activation::ALL.into_iter().enumerate() {
        let channels = [8, 5][number % 2];
        let (mut layers, first) = after_scaling(Shape::image(channels, 6, 5));
        let depthwise = Convolution::new(channels, Window::centered(3, 1)).groups(channels);
        let dense = Convolution::new(channels, Window::centered(3, 1)).bias(number % 3 == 0);
        let mut end = first;
        for (label, convolution) in [("depthwise", depthwise), ("dense", dense)] {
            end = push(&mut layers, label, convolution, &[end]);
            end = push(&mut layers, &format!("{label}_norm"), Primitive::Norm(Norm::default()), &[end]);
            end = push(&mut layers, &format!("{label}_activation"), Primitive::Activation(activation), &[end]);
        }
        let sum = push(&mut layers, "sum", Primitive::Add { drop: 0.4 }, &[first, end]);
        let norm = push(&mut layers, "norm", Primitive::Norm(Norm { eps: 1e-3, momentum: 0.3 }), &[sum]);
        let bare = push(&mut layers, "bare", Primitive::Activation(activation), &[norm]);
        let biased = push(&mut layers, "biased", dense.bias(true), &[bare]);
        push(&mut layers, "biased_activation", Primitive::Activation(activation), &[biased]);
        built.push((format!("{activation:?}"), with_classifier(layers), 6));
    }
    none_differs(&built);
}

/// Values that are read twice, dropped, moved, scaled, and convolved over their channels.
#[test]
fn joins_and_drops() {
    let (mut layers, first) = after_scaling(Shape::image(6, 6, 5));
    let wide = Convolution::new(8, Window::centered(3, 1)).bias(true);
    let a = push(&mut layers, "a", wide, &[first]);
    let b = push(&mut layers, "b", wide, &[first]);
    let sum = push(&mut layers, "sum", Primitive::Add { drop: 0.5 }, &[a, b, a]);
    let pooled = push(&mut layers, "pooled", Primitive::AdaptiveAveragePool { output: 1 }, &[sum]);
    let crossed = push(&mut layers, "crossed", Primitive::ChannelConvolution { kernel: 3 }, &[pooled]);
    let gate = push(&mut layers, "gate", Primitive::Activation(Activation::Sigmoid), &[crossed]);
    let scaled = push(&mut layers, "scaled", Primitive::Scale, &[sum, gate]);
    let dropped = push(&mut layers, "dropped", Primitive::Dropout { probability: 0.3 }, &[scaled]);
    let joined = push(&mut layers, "joined", Primitive::Concat, &[dropped, b, dropped]);
    let shuffled = push(&mut layers, "shuffled", Primitive::ChannelShuffle { groups: 3 }, &[joined]);
    let slice = push(&mut layers, "slice", Primitive::ChannelSlice { start: 5, length: 7 }, &[shuffled]);
    push(&mut layers, "large", Primitive::Upsample { factor: 2 }, &[slice]);
    let layers = with_classifier(layers);
    none_differs(&[2, 5, 9].map(|images| (format!("{images} images"), layers.clone(), images)));
}

/// A small network with something of everything and without kinks.
fn smooth() -> Layers {
    let mut layers = Layers::identity(vec![Shape::image(3, 9, 8)]);
    let mut end = push(&mut layers, "0.convolution", Convolution::new(8, Window::centered(3, 2)), &[Source::Input(0)]);
    end = push(&mut layers, "0.norm", Primitive::Norm(Norm::default()), &[end]);
    let trunk = push(&mut layers, "0.activation", Primitive::Activation(Activation::SiLU), &[end]);
    end = push(&mut layers, "1.depthwise", Convolution::new(8, Window::centered(3, 1)).groups(8), &[trunk]);
    end = push(&mut layers, "1.norm", Primitive::Norm(Norm::default()), &[end]);
    end = push(&mut layers, "1.sum", Primitive::Add { drop: 0.2 }, &[trunk, end]);
    end = push(&mut layers, "2.drop", Primitive::Dropout { probability: 0.2 }, &[end]);
    push(&mut layers, "2.pool", Primitive::AdaptiveAveragePool { output: 1 }, &[end]);
    with_classifier(layers)
}

/// Weights after a few steps; every other batch waits for the next one.
fn trained(engine: &mut dyn Executes, layers: &Layers, loss: &Loss, clip: Option<f64>) -> Weights {
    for index in 0..6 {
        let batch = Batch::noise(index, layers, 6);
        let waiting = (index % 2) as usize;
        let step = TrainStep { index, learning_rate: 0.05, loss, clip, waiting, update: waiting == 1 };
        engine.train_step(&batch.images, &batch.targets, &step).expect("it runs");
    }
    engine.tensors().expect("it reads")
}

fn worst(one: &Weights, other: &Weights) -> f32 {
    let of_tensor = |(name, values): (&String, &Vec<f32>)| {
        values.iter().zip(&other[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    one.iter().map(of_tensor).fold(0.0, f32::max)
}

#[test]
fn every_optimizer_and_loss() {
    let layers = smooth();
    let weights = lively(&layers);
    let (betas, epsilon, decay) = ([0.9, 0.99], 1e-3, 0.05);
    let rules = [
        Rule::Sgd { momentum: 0.9, nesterov: true, decay },
        Rule::Sgd { momentum: 0.9, nesterov: false, decay },
        Rule::Adam { betas, epsilon, decay },
        Rule::AdamW { betas, epsilon, decay },
        Rule::Adamax { betas, epsilon, decay },
        Rule::RmsProp { alpha: 0.9, momentum: 0.0, epsilon, decay },
        Rule::RmsProp { alpha: 0.9, momentum: 0.5, epsilon, decay },
        Rule::Lion { betas, decay },
    ];
    let losses = [
        entropy(),
        Loss { kind: LossKind::Focal { gamma: 2.0 }, ..entropy() },
        Loss { kind: LossKind::Focal { gamma: 0.5 }, offsets: vec![0.1, -2.0, 0.5, 0.0, 1.0], ..entropy() },
        Loss { kind: LossKind::Binary, ..entropy() },
        Loss { class_weights: vec![0.5, 2.0, 1.0, 0.1, 0.7], ..entropy() },
    ];
    let cases = rules.iter().map(|rule| (*rule, &losses[0])).chain(losses.iter().map(|loss| (rules[0], loss)));
    for (rule, loss) in cases {
        for clip in [None, Some(0.1)] {
            let mut reference = expected(&layers, &weights, rule);
            let after = trained(&mut *reference, &layers, loss, clip);
            assert!(worst(&weights, &after) > 1e-3, "{rule:?} moves weights");
            for machine in Machine::exact() {
                let mut engine = machine.engine(&layers, &weights, rule);
                let off = worst(&trained(&mut *engine, &layers, loss, clip), &after);
                // Lion steps by the sign of what may be rounding: three steps of 0.05, either way.
                let allowed = if matches!(rule, Rule::Lion { .. }) { 0.31 } else { 2e-4 };
                assert!(off < allowed, "{rule:?}, {loss:?}, {clip:?} on {machine:?}: weights are off by {off}");
                let moments = [&mut reference, &mut engine].map(|engine| engine.moments().expect("it reads"));
                assert!(moments[0].keys().eq(moments[1].keys()));
            }
        }
    }
}

/// What was saved and restored goes on to the bit, with batches of several sizes.
#[test]
fn a_restored_engine_goes_on_to_the_bit() {
    let layers = smooth();
    let rule = Rule::AdamW { betas: [0.9, 0.99], epsilon: 1e-8, decay: 0.05 };
    let loss = entropy();
    let run = |engine: &mut dyn Executes, index: u64| {
        let batch = Batch::noise(index, &layers, if index == 2 { 3 } else { 6 });
        let step = TrainStep { index, learning_rate: 0.01, loss: &loss, clip: None, waiting: 0, update: true };
        engine.train_step(&batch.images, &batch.targets, &step).expect("it runs")
    };
    for machine in Machine::exact().into_iter().chain(Machine::rounding()) {
        let mut engine = machine.engine(&layers, &lively(&layers), rule);
        for index in 0..2 {
            run(&mut *engine, index);
        }
        let [weights, moments] = [engine.tensors(), engine.moments()].map(|tensors| tensors.expect("it reads"));
        let mut other = machine.engine(&layers, &weights, rule);
        other.restore(&weights, &moments, 2).expect("it fits");
        for index in 2..5 {
            assert_eq!(run(&mut *engine, index), run(&mut *other, index), "{machine:?}");
        }
        let state =
            |engine: &mut dyn Executes| [engine.tensors(), engine.moments()].map(|state| state.expect("it reads"));
        assert!(state(&mut *engine) == state(&mut *other), "{machine:?}");
        let images = Batch::noise(1, &layers, 5).images;
        assert_eq!(engine.scores(&images), other.scores(&images));
    }
}

/// Threads and blocks that run in another order come to the same bits: nothing depends on who is first.
#[test]
fn results_do_not_depend_on_the_order_of_threads() {
    let layers = smooth();
    let rule = Rule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
    for arithmetic in [Arithmetic::Exact, Arithmetic::Tf32] {
        let machines = [Order::Ascending, Order::Descending].map(|order| Machine::Host(arithmetic, order));
        if !machines[0].is_there() {
            return;
        }
        let results = machines.map(|machine| {
            let mut engine = machine.engine(&layers, &lively(&layers), rule);
            trained(&mut *engine, &layers, &entropy(), Some(1.0))
        });
        assert!(results[0] == results[1], "{arithmetic:?}: off by {}", worst(&results[0], &results[1]));
    }
}

#[test]
fn what_is_frozen_stays_and_the_rest_learns() {
    let layers = smooth();
    let weights = lively(&layers);
    let rule = Rule::AdamW { betas: [0.9, 0.99], epsilon: 1e-3, decay: 0.05 };
    let loss = entropy();
    for machine in Machine::exact() {
        let mut engines = [machine.engine(&layers, &weights, rule), expected(&layers, &weights, rule)];
        for epoch in 0..3u64 {
            // Row 1 learns from epoch 1 on, row 0 from epoch 2 on.
            let learns_since = |name: &str| match name.split('.').next() {
                Some("first" | "0") => (epoch >= 2).then_some(4),
                Some("1") => (epoch >= 1).then_some(2),
                _ => Some(0),
            };
            for engine in &mut engines {
                engine.freeze(&learns_since);
                for index in 2 * epoch..2 * epoch + 2 {
                    let batch = Batch::noise(index, &layers, 6);
                    let clip = Some(1.0);
                    let step = TrainStep { index, learning_rate: 0.01, loss: &loss, clip, waiting: 0, update: true };
                    engine.train_step(&batch.images, &batch.targets, &step).expect("it runs");
                }
            }
            let [actual, expected] = engines.each_mut().map(|engine| engine.tensors().expect("it reads"));
            let off = worst(&actual, &expected);
            assert!(off < 2e-4, "epoch {epoch} on {machine:?}: weights are off by {off}");
            if epoch == 0 {
                for name in ["0.convolution.weight", "0.norm.running_mean", "1.norm.bias"] {
                    assert_eq!(actual[name], weights[name], "{name} is frozen");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let layers = with_classifier(Layers::identity(vec![Shape::image(3, 4, 4)]));
    for machine in Machine::exact() {
        let mut engine = machine.engine(&layers, &lively(&layers), PLAIN);
        assert!(engine.scores(&[0.0; 47]).is_err_and(|error| error.0.contains("3×4×4")));
        let loss = entropy();
        let step = TrainStep { index: 0, learning_rate: 0.1, loss: &loss, clip: None, waiting: 0, update: true };
        assert!(engine.train_step(&[0.0; 48], &[0.0; 4], &step).is_err_and(|error| error.0.contains("targets of 5")));
        let error = engine.restore(&Weights::new(), &Weights::new(), 0).err().map(|error| error.0);
        assert_eq!(error.as_deref(), Some("`classifier.weight` is missing"));
        // A loss that is no number moves nothing.
        let outcome = engine.train_step(&[f32::NAN; 48], &[0.2; 5], &step).expect("it runs");
        assert!(outcome.loss.is_nan());
        assert!(engine.tensors().expect("it reads") == lively(&layers));
    }
}

/// What is forecast is what is taken.
#[test]
fn memory_is_forecast_to_the_byte() {
    if !Machine::EXACT.is_there() {
        return;
    }
    for (layers, images) in [(smooth(), 6), (smooth(), 1000)] {
        let weights = lively(&layers);
        let host = Host::new(Arithmetic::Exact, Order::Ascending).expect("it is there");
        let mut engine = CudaEngine::new(host, &layers, |name| find(&weights, name), PLAIN, 7).expect("it fits");
        let batch = Batch::noise(0, &layers, images);
        let loss = entropy();
        for waiting in [0, 1] {
            let step = TrainStep { index: 0, learning_rate: 0.1, loss: &loss, clip: Some(1.0), waiting, update: true };
            engine.train_step(&batch.images[..], &batch.targets, &step).expect("it runs");
        }
        engine.scores(&batch.images[..]).expect("it runs");
        assert_eq!(super::training_bytes(&layers, images), Some(engine.bytes()));
    }
}

/// Batches that are made on the device of bytes are those that the host would have made.
#[test]
fn held_images_are_moved_mirrored_and_mixed() {
    let (layers, [channels, height, width]) = (smooth(), [3usize, 9, 8]);
    let pixels: Vec<Vec<u8>> = (0..5usize)
        .map(|image| (0..channels * height * width).map(|at| (at * 31 + image * 57) as u8).collect())
        .collect();
    let tables: Vec<[f32; 256]> =
        (0..channels).map(|channel| std::array::from_fn(|byte| byte as f32 / 64.0 - channel as f32)).collect();
    let own = |image, mirrored, down, right| Placement { image, mirrored, down, right };
    let plain = Placed { own: own(4, 0, 0, 0), ..Placed::default() };
    let batch = [
        plain,
        Placed { own: own(1, 1, -2, 3), ..plain },
        Placed { own: own(0, 1, 0, 0), partner: own(2, 0, 1, -1), mixing: 1, share: 0.25, ..plain },
        Placed { own: own(3, 0, 9, 0), partner: own(3, 1, 0, 0), mixing: 2, window: [2, 1, 7, 8], ..plain },
    ];
    let value = |from: Placement, channel: usize, y: usize, x: usize| {
        let x = if from.mirrored == 1 { width - 1 - x } else { x };
        let (y, x) = (y as i32 + from.down, x as i32 + from.right);
        let inside = (0..height as i32).contains(&y) && (0..width as i32).contains(&x);
        let at = (channel * height + y.max(0) as usize) * width + x.max(0) as usize;
        tables[channel][if inside { usize::from(pixels[from.image as usize][at]) } else { 0 }]
    };
    let mut values = Vec::new();
    for placed in &batch {
        for at in 0..channels * height * width {
            let (channel, y, x) = (at / (height * width), at / width % height, at % width);
            let [one, other] = [placed.own, placed.partner].map(|from| value(from, channel, y, x));
            let [top, left, bottom, right] = placed.window.map(|side| side as usize);
            let inside = (top..bottom).contains(&y) && (left..right).contains(&x);
            values.push(match placed.mixing {
                1 => placed.share * one + (1.0 - placed.share) * other,
                2 if inside => other,
                _ => one,
            });
        }
    }
    if !Machine::EXACT.is_there() {
        return;
    }
    let weights = lively(&layers);
    let host = Host::new(Arithmetic::Exact, Order::Ascending).expect("it is there");
    let mut engine = CudaEngine::new(host, &layers, |name| find(&weights, name), PLAIN, 7).expect("it fits");
    let images = || pixels.iter().map(|image| std::borrow::Cow::Borrowed(&image[..]));
    engine.hold(7, images(), &tables).expect("it fits");
    let placed = Content::Placed(7, &batch);
    assert_eq!(engine.scores(placed).expect("it runs"), engine.scores(&values[..]).expect("it runs"));
    let (loss, targets) = (entropy(), vec![0.2; 4 * 5]);
    let step = TrainStep { index: 0, learning_rate: 0.0, loss: &loss, clip: None, waiting: 0, update: true };
    let outcomes = [placed, Content::Values(&values)].map(|images| engine.train_step(images, &targets, &step));
    assert_eq!(outcomes[0].as_ref().expect("it runs"), outcomes[1].as_ref().expect("it runs"));
    let [beyond, of_none] = [(7, 5), (8, 0)].map(|(set, image)| {
        let placed = [Placed { own: own(image, 0, 0, 0), ..Placed::default() }];
        engine.scores(Content::Placed(set, &placed)).expect_err("it is not held").0
    });
    assert!(beyond.contains("set 7 of 5") && of_none.contains("set 8 of 0"), "{beyond}, {of_none}");
    assert!(engine.hold(1, images(), &tables[..2]).is_err_and(|error| error.0.contains("wanted 3 tables")));
}

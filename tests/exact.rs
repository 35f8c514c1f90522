//! The engine's losses and gradients against plain arithmetic in f64, over awkward shapes.
//!
//! [`loss`] computes each primitive by its definition, value by value. A gradient is checked against
//! the difference of two such losses: nothing of an executor is shared with it.

use crate::engine::{PLAIN, lively, noise_of, with_classifier};
use nasgen::{
    engine,
    train::{Executor, Objective, Step},
};
use nasgen_modules::{Activation, Convolution, Layers, Node, Norm, Padding, Primitive, Shape, Source, Window};
use std::collections::BTreeMap;

type Tensors = BTreeMap<String, Vec<f64>>;

const SMOOTHING: f64 = 0.1;

/// Mean loss of a batch in training mode.
fn loss(layers: &Layers, weights: &Tensors, images: &[f64], labels: &[u32]) -> f64 {
    let count = labels.len();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for node in layers.nodes() {
        let inputs: Vec<&[f64]> = node.inputs.iter().map(|source| value(&values, images, *source)).collect();
        let shapes = layers.input_shapes(node);
        values.push(compute(node, &shapes, &inputs, weights, count));
    }
    let scores = value(&values, images, layers.output_source());
    let classes = scores.len() / count;
    let of_image = |(scores, label): (&[f64], &u32)| {
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        let log_share = |class: usize| scores[class] - sum.ln();
        let mean = (0..classes).map(log_share).sum::<f64>() / classes as f64;
        -(1.0 - SMOOTHING) * log_share(*label as usize) - SMOOTHING * mean
    };
    scores.chunks(classes).zip(labels).map(of_image).sum::<f64>() / count as f64
}

fn value<'a>(values: &'a [Vec<f64>], images: &'a [f64], source: Source) -> &'a [f64] {
    match source {
        Source::Input(_) => images,
        Source::Node(node) => &values[node],
    }
}

/// Channels, height, width.
fn sides(shape: Shape) -> [usize; 3] {
    let [height, width] = shape.size().unwrap_or([1, 1]);
    [shape.channels(), height, width]
}

/// One layer's output: images × channels × height × width.
fn compute(node: &Node, shapes: &[Shape], inputs: &[&[f64]], weights: &Tensors, count: usize) -> Vec<f64> {
    let [channels, height, width] = sides(shapes[0]);
    let [out_channels, out_height, out_width] = sides(node.output);
    let tensor = |name: &str| &weights[&format!("{}.{name}", node.label)];
    let at = |image: usize, channel: usize, y: usize, x: usize| {
        inputs[0][((image * channels + channel) * height + y) * width + x]
    };
    // The pixels (tap, y, x) that a window sees at a position.
    let seen = |window: &Window, row: usize, column: usize| {
        let window = *window;
        (0..window.taps()).filter_map(move |tap| {
            let (tap_row, tap_column) = (tap / window.kernel[1], tap % window.kernel[1]);
            let y = (row * window.stride[0] + tap_row * window.dilation[0]).checked_sub(window.padding.top)?;
            let x = (column * window.stride[1] + tap_column * window.dilation[1]).checked_sub(window.padding.left)?;
            (y < height && x < width).then_some((tap, y, x))
        })
    };
    let part = |index: usize, side: usize, parts: usize| index * side / parts..((index + 1) * side).div_ceil(parts);
    let mut output = Vec::with_capacity(count * out_channels * out_height * out_width);
    for image in 0..count {
        for channel in 0..out_channels {
            for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
                let pixel = |input: usize, channel: usize, pixels: usize, channels: usize| {
                    inputs[input][(image * channels + channel) * pixels + y * width + x]
                };
                output.push(match node.primitive {
                    Primitive::Convolution(Convolution { window, groups, bias, out }) => {
                        let share = channels / groups;
                        let first = channel / (out / groups) * share;
                        let weights = tensor("weight");
                        let term = |(tap, y, x): (usize, usize, usize)| {
                            let term = |input| {
                                at(image, first + input, y, x)
                                    * weights[(channel * share + input) * window.taps() + tap]
                            };
                            (0..share).map(term).sum::<f64>()
                        };
                        let bias = if bias { tensor("bias")[channel] } else { 0.0 };
                        seen(&window, y, x).map(term).sum::<f64>() + bias
                    }
                    Primitive::Norm(Norm { eps, .. }) => {
                        let all = || {
                            (0..count).flat_map(|image| {
                                let start = (image * channels + channel) * height * width;
                                &inputs[0][start..start + height * width]
                            })
                        };
                        let number = (count * height * width) as f64;
                        let mean = all().sum::<f64>() / number;
                        let variance = all().map(|value| (value - mean).powi(2)).sum::<f64>() / number;
                        let value = (at(image, channel, y, x) - mean) / (variance + eps).sqrt();
                        value * tensor("weight")[channel] + tensor("bias")[channel]
                    }
                    Primitive::Activation(Activation::Softmax) => {
                        let sum: f64 = (0..channels).map(|channel| at(image, channel, y, x).exp()).sum();
                        at(image, channel, y, x).exp() / sum
                    }
                    Primitive::Activation(activation) => curve(activation, at(image, channel, y, x)),
                    Primitive::MaxPool { window, .. } => {
                        let values = seen(&window, y, x).map(|(_, y, x)| at(image, channel, y, x));
                        values.fold(f64::NEG_INFINITY, f64::max)
                    }
                    Primitive::AveragePool { window, count_include_pad, .. } => {
                        let sum: f64 = seen(&window, y, x).map(|(_, y, x)| at(image, channel, y, x)).sum();
                        // What hangs over the padding does not count, whatever the setting.
                        let counted = |axis: usize, position: usize, side: usize, before: usize, after: usize| {
                            let start = position * window.stride[axis];
                            (start..start + window.kernel[axis])
                                .filter(|at| *at < before + side + after)
                                .filter(|at| count_include_pad || (before..before + side).contains(at))
                                .count()
                        };
                        let Padding { top, bottom, left, right } = window.padding;
                        sum / (counted(0, y, height, top, bottom) * counted(1, x, width, left, right)) as f64
                    }
                    Primitive::AdaptiveAveragePool { output } => {
                        let (rows, columns) = (part(y, height, output), part(x, width, output));
                        let number = (rows.len() * columns.len()) as f64;
                        let cells = rows.flat_map(|y| columns.clone().map(move |x| (y, x)));
                        cells.map(|(y, x)| at(image, channel, y, x)).sum::<f64>() / number
                    }
                    Primitive::AdaptiveMaxPool { output } => {
                        let (rows, columns) = (part(y, height, output), part(x, width, output));
                        let cells = rows.flat_map(|y| columns.clone().map(move |x| (y, x)));
                        cells.map(|(y, x)| at(image, channel, y, x)).fold(f64::NEG_INFINITY, f64::max)
                    }
                    Primitive::Linear { .. } => {
                        let input = &inputs[0][image * channels..][..channels];
                        let weights = &tensor("weight")[channel * channels..][..channels];
                        let terms = input.iter().zip(weights).map(|(value, weight)| value * weight);
                        terms.sum::<f64>() + tensor("bias")[channel]
                    }
                    Primitive::Flatten => inputs[0][image * out_channels + channel],
                    Primitive::Add { .. } => {
                        (0..inputs.len()).map(|input| pixel(input, channel, height * width, channels)).sum()
                    }
                    Primitive::Scale => at(image, channel, y, x) * inputs[1][image * channels + channel],
                    Primitive::Concat => {
                        let mut channel = channel;
                        let owner = (0..inputs.len()).find(|input| {
                            let own = shapes[*input].channels();
                            let is_own = channel < own;
                            channel -= if is_own { 0 } else { own };
                            is_own
                        });
                        let owner = owner.unwrap();
                        pixel(owner, channel, height * width, shapes[owner].channels())
                    }
                    Primitive::ChannelSlice { start, .. } => at(image, start + channel, y, x),
                    Primitive::ChannelShuffle { groups } => {
                        at(image, channel % groups * (channels / groups) + channel / groups, y, x)
                    }
                    Primitive::ChannelConvolution { kernel } => {
                        let term = |tap: usize| {
                            let seen = (channel + tap).checked_sub(kernel / 2).filter(|seen| *seen < channels);
                            seen.map_or(0.0, |seen| at(image, seen, 0, 0) * tensor("weight")[tap])
                        };
                        (0..kernel).map(term).sum()
                    }
                    Primitive::Upsample { factor } => at(image, channel, y / factor, x / factor),
                    Primitive::Dropout { .. } | Primitive::Custom(_) => unreachable!("not in the table"),
                });
            }
        }
    }
    output
}

/// An activation by its definition in torch.nn.
fn curve(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::ReLU => x.max(0.0),
        Activation::ReLU6 => x.clamp(0.0, 6.0),
        Activation::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::SiLU => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Hardsigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::GELU => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
        Activation::LeakyReLU => x.max(0.01 * x),
        Activation::ELU => {
            if x > 0.0 {
                x
            } else {
                x.exp_m1()
            }
        }
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Tanh => x.tanh(),
        Activation::Softmax => unreachable!("not elementwise"),
    }
}

/// What the engine computes otherwise than plain arithmetic does.
fn differences(name: &str, layers: &Layers, images: usize) -> Vec<String> {
    let weights = lively(layers);
    let batch = noise_of(5, layers, images);
    let mut engine = engine::compile(layers, &weights, PLAIN, 0).unwrap();
    let objective = Objective::cross_entropy(layers.output().channels(), SMOOTHING);
    let outcome = Executor::train_step(&mut engine, &batch, &Step::alone(0, 0.0, &objective)).unwrap();
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    let mut tensors: Tensors = weights.iter().map(|(name, array)| (name.to_owned(), wide(&array.values))).collect();
    let pixels = wide(&batch.images);
    let exact = loss(layers, &tensors, &pixels, &batch.labels);
    let mut wrong = Vec::new();
    if (outcome.loss - exact).abs() > 1e-5 * exact.abs().max(1.0) {
        wrong.push(format!("{name}, {images} images: loss {} for {exact}", outcome.loss));
    }
    for (tensor, gradient) in engine.gradients() {
        let scale = gradient.iter().fold(1e-3f64, |largest, value| largest.max(f64::from(value.abs())));
        for index in (0..gradient.len()).step_by(gradient.len().div_ceil(4)) {
            let mut loss_at = |distance: f64| {
                tensors.get_mut(&tensor).unwrap()[index] += distance;
                let loss = loss(layers, &tensors, &pixels, &batch.labels);
                tensors.get_mut(&tensor).unwrap()[index] -= distance;
                loss
            };
            let slope = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6;
            let distance = (f64::from(gradient[index]) - slope).abs();
            if distance.is_nan() || distance > 1e-4 * scale {
                let actual = gradient[index];
                wrong.push(format!("{name}, {images} images: gradient of {tensor}[{index}] {actual} for {slope}"));
            }
        }
    }
    wrong
}

/// `layer` between a convolution, whose gradient shows the layer's, and a classifier.
fn around(input: [usize; 3], layer: &Primitive, after: &[Primitive]) -> Option<Layers> {
    let [channels, height, width] = input;
    let mut layers = Layers::identity(vec![Shape::image(channels, height, width)]);
    let before = Convolution::new(channels, Window::square(1, 1, Padding::all(0))).bias(true);
    let mut end = layers.push("before".into(), before.into(), vec![Source::Input(0)]).unwrap();
    for (index, primitive) in std::iter::once(layer).chain(after).enumerate() {
        end = layers.push(format!("layer{index}"), *primitive, vec![end]).ok()?;
    }
    Some(with_classifier(layers))
}

fn check(cases: Vec<(String, Layers)>) {
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for (index, (name, layers)) in cases.iter().enumerate() {
        let single = layers
            .nodes()
            .iter()
            .any(|node| matches!(node.primitive, Primitive::Norm(_)) && node.output.size() == Some([1, 1]));
        // Each size of batch meets every kind of layer and of input.
        let images = [1, 2, 11][index % 3];
        wrong.extend(differences(name, layers, if single { 11 } else { images }));
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Odd and unequal sides, one pixel, channels that fill no register.
const INPUTS: [[usize; 3]; 5] = [[3, 5, 7], [1, 1, 1], [17, 6, 3], [4, 9, 4], [6, 1, 5]];

fn over_inputs(primitives: &[(String, Primitive)], after: &[Primitive]) -> Vec<(String, Layers)> {
    let pairs = INPUTS.iter().flat_map(|input| primitives.iter().map(move |primitive| (input, primitive)));
    pairs
        .filter_map(|(input, (name, primitive))| {
            Some((format!("{name} on {input:?}"), around(*input, primitive, after)?))
        })
        .collect()
}

/// Windows of many kinds: larger than the image, strides over gaps, dilation, uneven padding.
fn windows() -> Vec<Window> {
    let mut windows = Vec::new();
    for (kernel, strides) in [(1, vec![1, 2, 3]), (2, vec![1, 2]), (3, vec![1, 2, 3]), (5, vec![1, 2]), (7, vec![1, 2])]
    {
        for stride in strides {
            windows.push(Window::centered(kernel, stride));
            windows.push(Window::square(kernel, stride, Padding::all(0)));
        }
    }
    let uneven = Padding { top: 0, bottom: 2, left: 1, right: 0 };
    windows.push(Window::square(3, 2, uneven));
    windows.push(Window { kernel: [3, 1], stride: [1, 2], dilation: [1; 2], padding: uneven });
    windows.push(Window { dilation: [2, 1], ..Window::square(3, 1, Padding::all(2)) });
    windows.push(Window { dilation: [2, 3], ..Window::square(3, 2, Padding::all(3)) });
    windows
}

#[test]
fn convolutions() {
    let mut primitives = Vec::new();
    for window in windows() {
        for (out, groups) in [(5, 1), (16, 1), (3, 3), (17, 17), (34, 17), (4, 2), (6, 2), (12, 6), (1, 1)] {
            let convolution = Convolution::new(out, window).groups(groups).bias(out % 2 == 0);
            primitives.push((format!("{convolution:?}"), convolution.into()));
        }
    }
    check(over_inputs(&primitives, &[]));
}

/// Large enough that the engine computes them with fewer multiplications.
#[test]
fn convolutions_of_many_channels() {
    let mut cases = Vec::new();
    for (channels, size, out) in [(24, [9, 8], 24), (20, [8, 13], 33)] {
        for padding in [0, 1, 2] {
            let primitive = Convolution::new(out, Window::square(3, 1, Padding::all(padding))).bias(true).into();
            let name = format!("{channels} to {out} channels, {size:?} pixels, padding {padding}");
            let layers = around([channels, size[0], size[1]], &primitive, &[Primitive::Norm(Norm::default())]);
            cases.push((name, layers.unwrap()));
        }
    }
    check(cases);
}

#[test]
fn convolutions_with_norm_and_activation() {
    let mut primitives = Vec::new();
    for window in [Window::centered(1, 1), Window::centered(3, 1), Window::centered(3, 2), Window::centered(5, 2)] {
        for (out, groups) in [(5, 1), (40, 1), (17, 17), (8, 4), (6, 2)] {
            let convolution = Convolution::new(out, window).groups(groups);
            primitives.push((format!("{convolution:?}"), convolution.into()));
        }
    }
    let norm = Primitive::Norm(Norm::default());
    let mut cases = over_inputs(&primitives, &[norm]);
    for activation in [Activation::ReLU6, Activation::SiLU] {
        cases.extend(over_inputs(&primitives, &[norm, Primitive::Activation(activation)]));
    }
    check(cases);
}

#[test]
fn norms_and_activations() {
    let mut primitives = vec![("norm".into(), Primitive::Norm(Norm { eps: 1e-3, momentum: 0.3 }))];
    for activation in Activation::ALL {
        primitives.push((format!("{activation:?}"), Primitive::Activation(activation)));
    }
    let mut cases = over_inputs(&primitives, &[]);
    // A norm hides the scale of the one before it. A softmax of one channel is 1 everywhere, and a norm of equal values shows nothing but rounding.
    let has_channels = |(name, _): &(String, Layers)| !name.ends_with("on [1, 1, 1]");
    cases.extend(over_inputs(&primitives[1..], &[Primitive::Norm(Norm::default())]).into_iter().filter(has_channels));
    check(cases);
}

#[test]
fn pools() {
    let mut primitives = Vec::new();
    for window in [(2, 2, 0), (2, 1, 1), (3, 1, 1), (3, 2, 1), (3, 3, 0), (5, 2, 2), (2, 3, 0)] {
        let window = Window::square(window.0, window.1, Padding::all(window.2));
        for ceil_mode in [false, true] {
            primitives.push((format!("max {window:?} ceil {ceil_mode}"), Primitive::MaxPool { window, ceil_mode }));
            for count_include_pad in [false, true] {
                let name = format!("average {window:?} ceil {ceil_mode} counts padding {count_include_pad}");
                primitives.push((name, Primitive::AveragePool { window, ceil_mode, count_include_pad }));
            }
        }
    }
    for output in 1..=4 {
        primitives.push((format!("adaptive average {output}"), Primitive::AdaptiveAveragePool { output }));
        primitives.push((format!("adaptive max {output}"), Primitive::AdaptiveMaxPool { output }));
    }
    check(over_inputs(&primitives, &[]));
}

#[test]
fn channels_that_move() {
    let mut primitives = vec![("flatten".into(), Primitive::Flatten)];
    for (start, length) in [(0, 1), (1, 2), (2, 4), (0, 17)] {
        primitives.push((format!("slice {start} {length}"), Primitive::ChannelSlice { start, length }));
    }
    for groups in [1, 2, 3, 17] {
        primitives.push((format!("shuffle {groups}"), Primitive::ChannelShuffle { groups }));
    }
    for factor in [1, 2, 3] {
        primitives.push((format!("upsample {factor}"), Primitive::Upsample { factor }));
    }
    check(over_inputs(&primitives, &[]));
}

/// Values that several layers read, gates, and channel convolution, on every input.
#[test]
fn joins_and_gates() {
    let mut cases = Vec::new();
    for [channels, height, width] in INPUTS {
        let mut layers = Layers::identity(vec![Shape::image(channels, height, width)]);
        let point = Convolution::new(channels, Window::square(1, 1, Padding::all(0))).bias(true);
        let mut push = |label: &str, primitive: Primitive, inputs: &[Source]| {
            layers.push(label.into(), primitive, inputs.to_vec()).unwrap()
        };
        let a = push("a", point.into(), &[Source::Input(0)]);
        let b = push("b", Convolution::new(channels, Window::centered(3, 1)).groups(channels).into(), &[a]);
        let sum = push("sum", Primitive::Add { drop: 0.0 }, &[a, b, a]);
        let pooled = push("pooled", Primitive::AdaptiveAveragePool { output: 1 }, &[sum]);
        let mixed = push("mixed", Primitive::ChannelConvolution { kernel: 3 }, &[pooled]);
        let gate = push("gate", Primitive::Activation(Activation::Sigmoid), &[mixed]);
        let gated = push("gated", Primitive::Scale, &[sum, gate]);
        let all = push("all", Primitive::Concat, &[gated, b, gated]);
        push("last", Convolution::new(7, Window::square(1, 1, Padding::all(0))).into(), &[all]);
        cases.push((format!("joins on {channels}×{height}×{width}"), with_classifier(layers)));
    }
    check(cases);
}

//! From layers to operations.

use crate::{
    fusion::{After, Sum},
    lanes::WIDEST,
    lifetimes::{Assignment, assign},
    operation::Operation,
    operations::{
        Activate, AdaptivePool, Add, Arrange, AveragePool, ChannelConvolve, Convolve, Depthwise, Dropout, Filtered,
        Followers, MaxPool, Normalise, Normaliser, Paired, Residual, Scale, Size, Softmax, Winograd,
    },
    parameters::Slot,
    schedule::Schedule,
};
use nasgen_modules::{Activation, Convolution, Layers, Node, Primitive, Source, randomness::Stream};
use std::{collections::BTreeMap, ops::Range};

/// An operation in its place.
pub(crate) struct Step {
    pub(crate) operation: Box<dyn Operation>,
    /// The values it reads.
    pub(crate) inputs: Vec<usize>,
    /// The value it writes.
    pub(crate) output: usize,
    /// The value that it saves in training for its backward step.
    pub(crate) saved: Option<usize>,
    /// Its part of the parameters.
    pub(crate) parameters: Range<usize>,
    /// Whether it runs as in evaluation and gives no gradient.
    pub(crate) frozen: bool,
    /// Whether training leaves its norm to the only reader of its output, which has no room of its own: where that is
    /// frozen, it lies where else would lie what the norm sees.
    pub(crate) leaves_norm: bool,
    /// Of its first input: the norm that this step takes over.
    pub(crate) norm_of: Option<LeftNorm>,
    /// Label of the node that owns its running statistics, the first part of their names.
    pub(crate) label: String,
}

/// A norm that is left to the reader of what it gives.
#[derive(Clone, Copy)]
pub(crate) struct LeftNorm {
    /// The step it belongs to.
    pub(crate) step: usize,
    /// The value that it sees.
    pub(crate) sees: usize,
}

impl Step {
    /// Where training finds the input at `number`.
    pub(crate) fn stored_input(&self, number: usize) -> usize {
        let left = self.norm_of.filter(|_| number == 0);
        left.map_or(self.inputs[number], |norm| norm.sees)
    }
}

/// A network as operations over numbered values; the first value is the input.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Values of one image, for each value.
    pub(crate) lengths: Vec<usize>,
    pub(crate) output: usize,
    pub(crate) slots: Vec<Slot>,
    /// A norm that sees one pixel of an image, and so cannot learn from a batch of one.
    pub(crate) norm_of_one_value: Option<String>,
    /// Where values and gradients lie.
    pub(crate) training: Assignment,
    /// The same for class scores, and in which order they are computed.
    pub(crate) schedule: Schedule,
}

impl Plan {
    pub(crate) fn of(layers: &Layers, seed: u64) -> Self {
        let mut planner = Planner {
            layers,
            stream: Stream::new(seed, "dropout"),
            steps: Vec::new(),
            lengths: layers.inputs().iter().map(|shape| Size::of(*shape).values()).collect(),
            slots: Vec::new(),
            values: Vec::new(),
            joined: BTreeMap::new(),
        };
        for (index, node) in layers.nodes().iter().enumerate() {
            planner.node(index, node);
        }
        let (inputs, output) = (layers.inputs().len(), planner.value(layers.output_source()));
        let Planner { mut steps, lengths, slots, .. } = planner;
        leave_norms(&mut steps, output);
        let norm_of_one_value = norm_of_one_value(layers);
        let training = assign(&steps, &lengths, inputs, output);
        let schedule = Schedule::of(&steps, &lengths, inputs, output);
        Self { steps, lengths, output, slots, norm_of_one_value, training, schedule }
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> usize {
        count(&self.slots)
    }
}

/// A norm that sees one pixel of an image, and so cannot learn from a batch of one.
pub(crate) fn norm_of_one_value(layers: &Layers) -> Option<String> {
    let is_one = |node: &&Node| matches!(node.primitive, Primitive::Norm(_)) && node.output.size() == Some([1, 1]);
    layers.nodes().iter().find(is_one).map(|node| node.label.clone())
}

/// Leaves each cheap norm to the step that alone reads what it gives, if that can do it: what lies in memory is then
/// written and read once less in each direction.
fn leave_norms(steps: &mut [Step], output: usize) {
    for index in 0..steps.len() {
        let value = steps[index].output;
        let mut readers = (0..steps.len()).filter(|reader| steps[*reader].inputs.contains(&value));
        let (Some(reader), None) = (readers.next(), readers.next()) else { continue };
        let reads_once = steps[reader].inputs.iter().filter(|input| **input == value).count() == 1;
        let is_first = steps[reader].inputs[0] == value;
        let can_read = reads_once && is_first && steps[reader].operation.normalises();
        let leaves = value != output && can_read && steps[index].operation.norm().is_some();
        if let Some(sees) = steps[index].saved.filter(|_| leaves) {
            steps[index].leaves_norm = true;
            steps[reader].norm_of = Some(LeftNorm { step: index, sees });
        }
    }
}

fn count(slots: &[Slot]) -> usize {
    slots.last().map_or(0, |slot| slot.range.end)
}

struct Planner<'a> {
    layers: &'a Layers,
    stream: Stream,
    steps: Vec<Step>,
    lengths: Vec<usize>,
    slots: Vec<Slot>,
    /// The value of each node so far.
    values: Vec<usize>,
    /// Nodes that are computed together with an earlier one, and the value they end in.
    joined: BTreeMap<usize, usize>,
}

impl Planner<'_> {
    fn value(&self, source: Source) -> usize {
        match source {
            Source::Input(input) => input,
            Source::Node(node) => self.values[node],
        }
    }

    fn node(&mut self, index: usize, node: &Node) {
        if let Some(value) = self.joined.get(&index) {
            self.values.push(*value);
            return;
        }
        let after = After::of(self.layers, index);
        let start = count(&self.slots);
        self.add_slots(node);
        if let Some((norm, _)) = after.and_then(|after| after.norm).filter(|(norm, _)| *norm != index) {
            self.add_slots(&self.layers.nodes()[norm]);
        }
        let operation = self.operation(index, node, after);
        let mut inputs: Vec<usize> = node.inputs.iter().map(|source| self.value(*source)).collect();
        let output = self.new_value(node);
        let saved = operation.saves().then(|| self.new_value(node));
        self.values.push(output);
        let parameters = start..count(&self.slots);
        let mut label = node.label.clone();
        if let Some(after) = after {
            if let Some((norm, _)) = after.norm {
                label.clone_from(&self.layers.nodes()[norm].label);
            }
            self.joined.extend(after.nodes().map(|node| (node, output)));
            inputs.extend(after.sum.map(|sum| self.value(sum.other)));
        }
        self.steps.push(Step {
            operation,
            inputs,
            output,
            saved,
            parameters,
            frozen: false,
            leaves_norm: false,
            norm_of: None,
            label,
        });
    }

    fn new_value(&mut self, node: &Node) -> usize {
        self.lengths.push(Size::of(node.output).values());
        self.lengths.len() - 1
    }

    fn add_slots(&mut self, node: &Node) {
        let shapes = self.layers.input_shapes(node);
        let depthwise = is_depthwise(&node.primitive);
        for spec in node.primitive.tensors(&shapes).iter().filter(|spec| spec.is_parameter()) {
            let name = format!("{}.{}", node.label, spec.name);
            self.slots.push(Slot::new(&node.primitive, depthwise, spec, name, count(&self.slots)));
        }
    }

    fn operation(&self, index: usize, node: &Node, after: Option<After>) -> Box<dyn Operation> {
        let shapes = self.layers.input_shapes(node);
        let (input, output) = (Size::of(shapes[0]), Size::of(node.output));
        if let Some(arrange) = Arrange::of(&node.primitive, &shapes, node.output) {
            return Box::new(arrange);
        }
        let (stream, node_index) = (self.stream, index as u32);
        match node.primitive {
            Primitive::Convolution(convolution) => {
                let followers = after.map_or_else(Followers::default, |after| self.followers(after, convolution.out));
                if is_depthwise(&node.primitive) {
                    Box::new(Filtered::<Depthwise>::new(&convolution, input, output, followers))
                } else if Winograd::suits(&convolution, input, output) {
                    Box::new(Filtered::<Winograd>::new(&convolution, input, output, followers))
                } else if Paired::suits(&convolution, input, output) {
                    Box::new(Filtered::<Paired>::new(&convolution, input, output, followers))
                } else {
                    Box::new(Filtered::<Convolve>::new(&convolution, input, output, followers))
                }
            }
            Primitive::Norm(norm) => {
                let activation = after.and_then(|after| after.activation).map(|(_, activation)| activation);
                let normaliser = Normaliser::new(norm, activation, input.channels);
                Box::new(Normalise { normaliser, values: input.values() })
            }
            Primitive::Activation(Activation::Softmax) => {
                Box::new(Softmax { channels: input.channels, values: input.values() })
            }
            Primitive::Activation(activation) => Box::new(Activate { activation, values: input.values() }),
            Primitive::MaxPool { window, .. } => Box::new(MaxPool::new(&window, input, output)),
            Primitive::AveragePool { window, count_include_pad, .. } => {
                Box::new(AveragePool::new(&window, count_include_pad, input, output))
            }
            Primitive::AdaptiveAveragePool { .. } => Box::new(AdaptivePool::average(input, output)),
            Primitive::AdaptiveMaxPool { .. } => Box::new(AdaptivePool::max(input, output)),
            Primitive::Linear { out } => {
                let followers = after.map_or_else(Followers::default, |after| self.followers(after, out));
                Box::new(Filtered::of(Convolve::linear(input.values(), out), true, followers))
            }
            Primitive::Dropout { probability } => {
                Box::new(Dropout { stream, node: node_index, probability, size: input })
            }
            Primitive::Add { drop } => Box::new(Add { stream, node: node_index, drop, values: input.values() }),
            Primitive::Scale => Box::new(Scale { size: input }),
            Primitive::ChannelConvolution { kernel } => {
                Box::new(ChannelConvolve { channels: input.channels, kernel, partials: Vec::new() })
            }
            Primitive::Flatten
            | Primitive::ChannelSlice { .. }
            | Primitive::ChannelShuffle { .. }
            | Primitive::Upsample { .. }
            | Primitive::Concat => unreachable!("arranged above"),
            Primitive::Custom(_) => unreachable!("refused by Engine::new"),
        }
    }
}

impl Planner<'_> {
    fn followers(&self, After { norm, activation, sum }: After, channels: usize) -> Followers {
        let activation = activation.map(|(_, activation)| activation);
        let residual = sum.map(|Sum { node, drop, .. }| Residual { stream: self.stream, node: node as u32, drop });
        match norm {
            Some((_, norm)) => {
                let norm = Some(Normaliser::new(norm, activation, channels));
                Followers { norm, activation: None, residual }
            }
            None => Followers { norm: None, activation, residual },
        }
    }
}

/// Whether a convolution in groups is computed as a sum of depthwise ones: where a matrix product for
/// each group would leave most of each register empty.
fn is_depthwise(primitive: &Primitive) -> bool {
    let Primitive::Convolution(Convolution { groups, out, .. }) = *primitive else { return false };
    let registers = |values: usize| values.div_ceil(WIDEST);
    groups * registers(out / groups) >= 2 * registers(out)
}

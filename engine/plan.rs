//! From layers to operations.

use crate::{
    activation::is_elementwise,
    lifetimes::{Assignment, assign},
    operation::Operation,
    operations::{
        Activate, AdaptivePool, Add, Arrange, AveragePool, ChannelConvolve, Convolve, Depthwise, Dropout, Filtered,
        MaxPool, Normalise, Normaliser, Scale, Size, Softmax,
    },
    parameters::Slot,
};
use nasgen_modules::{Activation, Convolution, Layers, Node, Norm, Primitive, Source, randomness::Stream};
use std::ops::Range;

/// Values in the widest register.
const REGISTER: usize = 16;

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
    /// Label of the node that owns its running statistics, the first part of their names.
    pub(crate) label: String,
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
    /// The same for a run without a backward pass.
    pub(crate) evaluation: Assignment,
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
        };
        for (index, node) in layers.nodes().iter().enumerate() {
            planner.node(index, node);
        }
        let (inputs, output) = (layers.inputs().len(), planner.value(layers.output_source()));
        let Planner { steps, lengths, slots, .. } = planner;
        let is_one = |node: &&Node| matches!(node.primitive, Primitive::Norm(_)) && node.output.size() == Some([1, 1]);
        let norm_of_one_value = layers.nodes().iter().find(is_one).map(|node| node.label.clone());
        let training = assign(&steps, &lengths, inputs, output, true);
        let evaluation = assign(&steps, &lengths, inputs, output, false);
        Self { steps, lengths, output, slots, norm_of_one_value, training, evaluation }
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> usize {
        count(&self.slots)
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
    /// The value of each node.
    values: Vec<usize>,
}

impl Planner<'_> {
    fn value(&self, source: Source) -> usize {
        match source {
            Source::Input(input) => input,
            Source::Node(node) => self.values[node],
        }
    }

    fn node(&mut self, index: usize, node: &Node) {
        if self.joins_the_one_before(node) {
            self.values.push(self.value(node.inputs[0]));
            return;
        }
        let norm = self.norm_after(index);
        let start = count(&self.slots);
        self.add_slots(node);
        if let Some((norm, _)) = norm {
            self.add_slots(&self.layers.nodes()[norm]);
        }
        let operation = self.operation(index, node);
        let inputs = node.inputs.iter().map(|source| self.value(*source)).collect();
        let output = self.new_value(node);
        let saved = operation.saves().then(|| self.new_value(node));
        self.values.push(output);
        let parameters = start..count(&self.slots);
        let owner = norm.map_or(node, |(norm, _)| &self.layers.nodes()[norm]);
        self.steps.push(Step { operation, inputs, output, saved, parameters, label: owner.label.clone() });
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

    /// Whether a node is computed together with the one that it reads: a norm with its convolution,
    /// an activation with its norm.
    fn joins_the_one_before(&self, node: &Node) -> bool {
        let Some(Source::Node(before)) = node.inputs.first() else { return false };
        match node.primitive {
            Primitive::Norm(_) => self.norm_after(*before).is_some(),
            Primitive::Activation(_) => self.activation_after(*before).is_some(),
            _ => false,
        }
    }

    /// The norm that alone reads a convolution's result.
    fn norm_after(&self, convolution: usize) -> Option<(usize, Norm)> {
        matches!(self.layers.nodes()[convolution].primitive, Primitive::Convolution(_)).then_some(())?;
        let (index, node) = self.only_reader(convolution)?;
        match node.primitive {
            Primitive::Norm(norm) => Some((index, norm)),
            _ => None,
        }
    }

    /// The activation that alone reads a norm's result.
    fn activation_after(&self, norm: usize) -> Option<Activation> {
        matches!(self.layers.nodes()[norm].primitive, Primitive::Norm(_)).then_some(())?;
        match self.only_reader(norm)?.1.primitive {
            Primitive::Activation(activation) if is_elementwise(activation) => Some(activation),
            _ => None,
        }
    }

    /// The node that alone reads a node's result, which is not that of the network.
    fn only_reader(&self, index: usize) -> Option<(usize, &Node)> {
        if self.layers.output_source() == Source::Node(index) {
            return None;
        }
        let reads = |(_, node): &(usize, &Node)| node.inputs.contains(&Source::Node(index));
        let mut readers = self.layers.nodes().iter().enumerate().filter(reads);
        readers.next().filter(|_| readers.next().is_none())
    }

    fn operation(&self, index: usize, node: &Node) -> Box<dyn Operation> {
        let shapes = self.layers.input_shapes(node);
        let (input, output) = (Size::of(shapes[0]), Size::of(node.output));
        if let Some(arrange) = Arrange::of(&node.primitive, &shapes, node.output) {
            return Box::new(arrange);
        }
        let (stream, node_index) = (self.stream, index as u32);
        match node.primitive {
            Primitive::Convolution(convolution) => {
                let normaliser = |(index, norm)| Normaliser::new(norm, self.activation_after(index), convolution.out);
                let norm = self.norm_after(index).map(normaliser);
                if is_depthwise(&node.primitive) {
                    Box::new(Filtered::new(Depthwise::new(&convolution, input, output), convolution.bias, norm))
                } else {
                    Box::new(Filtered::new(Convolve::new(&convolution, input, output), convolution.bias, norm))
                }
            }
            Primitive::Norm(norm) => {
                let normaliser = Normaliser::new(norm, self.activation_after(index), input.channels);
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
            Primitive::Linear { out } => Box::new(Filtered::new(Convolve::linear(input.values(), out), true, None)),
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

/// Whether a convolution in groups is computed as a sum of depthwise ones: where a matrix product for
/// each group would leave most of each register empty.
fn is_depthwise(primitive: &Primitive) -> bool {
    let Primitive::Convolution(Convolution { groups, out, .. }) = *primitive else { return false };
    let registers = |values: usize| values.div_ceil(REGISTER);
    groups * registers(out / groups) >= 2 * registers(out)
}

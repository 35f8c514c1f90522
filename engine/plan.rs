//! From layers to operations.

use crate::{
    activation::is_elementwise,
    operation::Operation,
    operations::{
        Activate, AdaptivePool, Add, Arrange, AveragePool, ChannelConvolve, Convolve, Depthwise, Dropout, Linear,
        MOST_INPUTS, MaxPool, Normalise, Scale, Size, Softmax,
    },
    parameters::Slot,
};
use nasgen_modules::{Activation, Convolution, Layers, Node, Primitive, Shape, Source, randomness::Stream};
use std::ops::Range;

/// An operation in its place.
pub(crate) struct Step {
    pub(crate) operation: Box<dyn Operation>,
    /// The values it reads.
    pub(crate) inputs: Vec<usize>,
    /// The value it writes.
    pub(crate) output: usize,
    /// Its part of the parameters.
    pub(crate) parameters: Range<usize>,
    /// Label of its node, the first part of its tensors' names.
    pub(crate) label: String,
}

/// A network as operations over numbered values; the first values are the inputs.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Values of one image, for each value.
    pub(crate) lengths: Vec<usize>,
    pub(crate) inputs: usize,
    pub(crate) output: usize,
    pub(crate) slots: Vec<Slot>,
    /// A norm that sees one pixel of an image, and so cannot learn from a batch of one.
    pub(crate) norm_of_one_value: Option<String>,
}

impl Plan {
    pub(crate) fn of(layers: &Layers, seed: u64) -> Self {
        let inputs = layers.inputs().len();
        let lengths = layers.inputs().iter().map(|shape| Size::of(*shape).values()).collect();
        let is_one = |node: &&Node| matches!(node.primitive, Primitive::Norm(_)) && node.output.size() == Some([1, 1]);
        let norm_of_one_value = layers.nodes().iter().find(is_one).map(|node| node.label.clone());
        let plan = Self { steps: Vec::new(), lengths, inputs, output: 0, slots: Vec::new(), norm_of_one_value };
        let mut planner = Planner { layers, stream: Stream::new(seed, "dropout"), plan, values: Vec::new() };
        for (index, node) in layers.nodes().iter().enumerate() {
            planner.node(index, node);
        }
        planner.plan.output = planner.value(layers.output_source());
        planner.plan
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> usize {
        self.slots.last().map_or(0, |slot| slot.range.end)
    }
}

struct Planner<'a> {
    layers: &'a Layers,
    stream: Stream,
    plan: Plan,
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
        if self.joins_norm(node) {
            // The norm before it applies this activation too.
            self.values.push(self.value(node.inputs[0]));
            return;
        }
        let shapes = self.layers.input_shapes(node);
        let depthwise = is_depthwise(&node.primitive, shapes[0]);
        let start = self.plan.parameters();
        for spec in node.primitive.tensors(&shapes).iter().filter(|spec| spec.is_parameter()) {
            let name = format!("{}.{}", node.label, spec.name);
            let slot = Slot::new(&node.primitive, depthwise, spec, name, self.plan.parameters());
            self.plan.slots.push(slot);
        }
        let operation = self.operation(index, node, &shapes, depthwise);
        let inputs = node.inputs.iter().map(|source| self.value(*source)).collect();
        let output = self.plan.lengths.len();
        self.plan.lengths.push(Size::of(node.output).values());
        self.values.push(output);
        let parameters = start..self.plan.parameters();
        self.plan.steps.push(Step { operation, inputs, output, parameters, label: node.label.clone() });
    }

    /// Whether an activation is applied by the norm that it follows.
    fn joins_norm(&self, node: &Node) -> bool {
        let (Primitive::Activation(activation), Source::Node(before)) = (node.primitive, node.inputs[0]) else {
            return false;
        };
        is_elementwise(activation) && self.followers(before).is_some()
    }

    /// The activation that alone reads a norm's result.
    fn followers(&self, norm: usize) -> Option<Activation> {
        let is_norm = matches!(self.layers.nodes()[norm].primitive, Primitive::Norm(_));
        if !is_norm || self.layers.output_source() == Source::Node(norm) {
            return None;
        }
        let mut readers = self.layers.nodes().iter().filter(|node| node.inputs.contains(&Source::Node(norm)));
        match (readers.next().map(|node| node.primitive), readers.next()) {
            (Some(Primitive::Activation(activation)), None) if is_elementwise(activation) => Some(activation),
            _ => None,
        }
    }

    fn operation(&self, index: usize, node: &Node, shapes: &[Shape], depthwise: bool) -> Box<dyn Operation> {
        let (input, output) = (Size::of(shapes[0]), Size::of(node.output));
        if let Some(arrange) = Arrange::of(&node.primitive, shapes, node.output) {
            return Box::new(arrange);
        }
        let (stream, node_index) = (self.stream, index as u32);
        match node.primitive {
            Primitive::Convolution(convolution) if depthwise => Box::new(Depthwise::new(&convolution, input, output)),
            Primitive::Convolution(convolution) => Box::new(Convolve::new(&convolution, input, output)),
            Primitive::Norm(norm) => {
                Box::new(Normalise::new(norm, self.followers(index), input.channels, input.pixels()))
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
                Box::new(Linear { inputs: input.values(), outputs: out, partials: Vec::new() })
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

/// Whether a convolution's groups are so small that no matrix product is worth it.
fn is_depthwise(primitive: &Primitive, input: Shape) -> bool {
    match primitive {
        Primitive::Convolution(Convolution { groups, .. }) => *groups > 1 && input.channels() / groups <= MOST_INPUTS,
        _ => false,
    }
}

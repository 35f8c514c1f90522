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
    // Of each value, the steps that read it, with the number of the input.
    let mut readers: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        for (number, input) in step.inputs.iter().enumerate() {
            readers.entry(*input).or_default().push((index, number));
        }
    }
    for index in 0..steps.len() {
        let value = steps[index].output;
        let Some([(reader, 0)]) = readers.get(&value).map(Vec::as_slice) else { continue };
        let reader = *reader;
        let can_leave = value != output && steps[index].operation.norm().is_some();
        let leaves = can_leave && steps[reader].operation.normalises();
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

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::{Norm, Shape, Window};

    /// Layers that are added one by one; each gives what it computes.
    struct Net(Layers);

    impl Net {
        fn new() -> Self {
            Self(Layers::identity(vec![Shape::image(3, 8, 8)]))
        }

        fn push(&mut self, primitive: impl Into<Primitive>, inputs: &[Source]) -> Source {
            let label = format!("layer{}", self.0.nodes().len());
            self.0.push(label, primitive.into(), inputs.to_vec()).unwrap()
        }

        /// A convolution with a norm, and an activation if there is one.
        fn block(&mut self, activation: Option<Activation>, from: Source) -> Source {
            let filtered = self.push(Convolution::new(4, Window::centered(3, 1)), &[from]);
            let normed = self.push(Primitive::Norm(Norm::default()), &[filtered]);
            activation.map_or(normed, |activation| self.push(Primitive::Activation(activation), &[normed]))
        }

        /// For each step, whether its norm is left to the reader of what it gives.
        fn left(&self) -> Vec<bool> {
            let plan = Plan::of(&self.0, 0);
            for (index, step) in plan.steps.iter().enumerate() {
                let taken = plan.steps.iter().filter(|reader| reader.norm_of.is_some_and(|norm| norm.step == index));
                assert_eq!(taken.count(), usize::from(step.leaves_norm));
                assert_eq!(
                    plan.training.values[step.output].is_none(),
                    step.leaves_norm,
                    "room for what nobody stores"
                );
            }
            plan.steps.iter().map(|step| step.leaves_norm).collect()
        }
    }

    const RELU: Option<Activation> = Some(Activation::ReLU);

    #[test]
    fn norms_are_left_to_a_single_reader_that_is_a_convolution() {
        let mut net = Net::new();
        let (one, mut last) = (net.block(RELU, Source::Input(0)), None);
        for _ in 0..2 {
            last = Some(net.block(RELU, last.unwrap_or(one)));
        }
        assert_eq!(net.left(), [true, true, false], "the last one is the network's output");

        let mut net = Net::new();
        let first = net.block(None, Source::Input(0));
        net.push(Primitive::AdaptiveAveragePool { output: 1 }, &[first]);
        assert_eq!(net.left(), [false, false], "a pool does not normalise");
    }

    #[test]
    fn what_several_read_and_what_is_costly_is_stored() {
        let mut net = Net::new();
        let one = net.block(RELU, Source::Input(0));
        let two = net.block(RELU, one);
        let three = net.block(None, two);
        let sum = net.push(Primitive::Add { drop: 0.0 }, &[one, three]);
        net.block(RELU, sum);
        assert_eq!(net.left(), [false, true, false, false], "two read the first, the third is a sum");

        let mut net = Net::new();
        let one = net.block(Some(Activation::SiLU), Source::Input(0));
        net.block(RELU, one);
        assert_eq!(net.left(), [false, false], "an exponential is computed once");
    }
}

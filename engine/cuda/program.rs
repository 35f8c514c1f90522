//! From layers to stages: what does not depend on the size of a batch.

use super::{
    geometry::Geometry,
    stages::{
        Activate, Add, Arrange, AveragePool, Chance, ChannelConvolve, Convolve, Dropout, MaxPool, Norm, Normalise,
        PartMax, PartMean, Scale, Softmax, Stage, Way, number_of,
    },
    tape::{ALIGNMENT, Place},
};
use crate::{
    fusion::After,
    operations::{Size, average_factors, sources},
    parameters::Slot,
};
use nasgen_modules::{
    Activation, Convolution, Layers, Node, Padding, Primitive, Shape, Source, Window, randomness::Stream,
};
use std::collections::BTreeMap;

/// Parameters begin at multiples of this many, so that four of them can be loaded together.
const PARAMETER_ALIGNMENT: usize = 4;

/// A stage in its place.
pub(crate) struct Step {
    pub(crate) stage: Box<dyn Stage>,
    /// The values it reads.
    pub(crate) inputs: Vec<usize>,
    /// The value it writes.
    pub(crate) output: usize,
    /// Whether it runs as in evaluation and gives no gradient.
    pub(crate) frozen: bool,
    /// Label of the layer that decides whether it is frozen.
    pub(crate) label: String,
}

/// Running statistics of a norm: the label of its layer, and how many channels there are from where on.
pub(crate) struct Statistics {
    pub(crate) label: String,
    pub(crate) place: Place,
    pub(crate) channels: usize,
}

/// A network as stages over numbered values; the first value is the image.
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    /// Values of one image, for each value.
    pub(crate) lengths: Vec<usize>,
    pub(crate) output: usize,
    pub(crate) slots: Vec<Slot>,
    pub(crate) statistics: Vec<Statistics>,
    /// Room for the parameters and whatever has as many values.
    pub(crate) parameters: usize,
    /// Where the parameters and their gradients lie.
    pub(crate) places: [Place; 2],
    /// What makes the lines of all norms from their running statistics.
    pub(crate) recall: Option<Recall>,
    pub(crate) fixed: Fixed,
}

/// The arguments of `norm_recall`.
#[derive(Clone, Copy)]
pub(crate) struct Recall {
    pub(crate) norms: usize,
    /// Where all running statistics begin.
    pub(crate) statistics: Place,
    pub(crate) lines: Place,
    pub(crate) table: Place,
    pub(crate) epsilons: Place,
}

/// Memory that keeps its values from tape to tape.
#[derive(Default)]
pub(crate) struct Fixed {
    pub(crate) bytes: usize,
    /// What is written there once.
    pub(crate) constants: Vec<(usize, Vec<u8>)>,
}

impl Fixed {
    /// Room for so many values of `size` bytes.
    pub(crate) fn reserve(&mut self, values: usize, size: usize) -> Place {
        let offset = self.bytes;
        self.bytes += (values * size).next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        Place::Fixed(offset)
    }

    /// Values that never change.
    fn constant<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Place {
        let place = self.reserve(values.len(), size_of::<T>());
        if let Place::Fixed(offset) = place {
            self.constants.push((offset, bytemuck::cast_slice(values).to_vec()));
        }
        place
    }
}

impl Program {
    /// Compiles layers that hold no custom operation and have one input.
    pub(crate) fn of(layers: &Layers, seed: u64) -> Self {
        let slots = slots(layers);
        let parameters = slots.last().map_or(0, |slot: &Slot| slot.range.end).next_multiple_of(PARAMETER_ALIGNMENT);
        let mut fixed = Fixed::default();
        let places = [(); 2].map(|()| fixed.reserve(parameters, size_of::<f32>()));
        let channels: Vec<usize> = norms(layers).map(|node| node.output.channels()).collect();
        // Four values for each channel: what its lines are, and twice what its statistics are.
        let room = channels.iter().map(|channels| channels.next_multiple_of(PARAMETER_ALIGNMENT)).sum::<usize>();
        let (statistics, lines) =
            (fixed.reserve(2 * room, size_of::<f32>()), fixed.reserve(4 * room, size_of::<f32>()));
        let mut compiler = Compiler {
            layers,
            stream: Stream::new(seed, "dropout"),
            slots: &slots,
            places,
            statistics,
            lines,
            norms: BTreeMap::new(),
            found: Vec::new(),
            table: Vec::new(),
            epsilons: Vec::new(),
            fixed,
            steps: Vec::new(),
            lengths: vec![Size::of(layers.inputs()[0]).values()],
            values: Vec::new(),
            joined: BTreeMap::new(),
        };
        compiler.place_norms();
        for (index, node) in layers.nodes().iter().enumerate() {
            compiler.node(index, node);
        }
        let output = compiler.value(layers.output_source());
        let Compiler { mut fixed, steps, lengths, table, epsilons, found, .. } = compiler;
        let recall = (!epsilons.is_empty()).then(|| Recall {
            norms: epsilons.len(),
            statistics,
            lines,
            table: fixed.constant(&table),
            epsilons: fixed.constant(&epsilons),
        });
        Self { steps, lengths, output, slots, statistics: found, parameters, places, recall, fixed }
    }
}

/// All norms, in the order of the layers.
fn norms(layers: &Layers) -> impl Iterator<Item = &Node> {
    layers.nodes().iter().filter(|node| matches!(node.primitive, Primitive::Norm(_)))
}

/// Where each parameter lies.
fn slots(layers: &Layers) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for node in layers.nodes() {
        let shapes = layers.input_shapes(node);
        for spec in node.primitive.tensors(&shapes).iter().filter(|spec| spec.is_parameter()) {
            let start = slots.last().map_or(0, |slot| slot.range.end).next_multiple_of(PARAMETER_ALIGNMENT);
            slots.push(Slot::new(&node.primitive, false, spec, format!("{}.{}", node.label, spec.name), start));
        }
    }
    slots
}

struct Compiler<'a> {
    layers: &'a Layers,
    stream: Stream,
    slots: &'a [Slot],
    /// Of the parameters and their gradients.
    places: [Place; 2],
    statistics: Place,
    lines: Place,
    /// By the index of the node.
    norms: BTreeMap<usize, Norm>,
    found: Vec<Statistics>,
    /// What `norm_recall` reads.
    table: Vec<i32>,
    epsilons: Vec<f32>,
    fixed: Fixed,
    steps: Vec<Step>,
    lengths: Vec<usize>,
    /// The value of each node so far.
    values: Vec<usize>,
    /// Nodes that are computed together with an earlier one, and the value they end in.
    joined: BTreeMap<usize, usize>,
}

impl Compiler<'_> {
    fn value(&self, source: Source) -> usize {
        match source {
            Source::Input(input) => input,
            Source::Node(node) => self.values[node],
        }
    }

    /// Number of the first value of a parameter.
    fn start(&self, label: &str, name: &str) -> usize {
        let name = format!("{label}.{name}");
        self.slots.iter().find(|slot| slot.name == name).expect("every parameter has a slot").range.start
    }

    /// A parameter and its gradient.
    fn parameter(&self, label: &str, name: &str) -> [Place; 2] {
        let start = self.start(label, name);
        self.places.map(|place| place.plus(start))
    }

    fn place_norms(&mut self) {
        let mut before = 0;
        for (index, node) in self.layers.nodes().iter().enumerate() {
            let Primitive::Norm(norm) = node.primitive else { continue };
            let size = Size::of(node.output);
            let [weight, bias] = ["weight", "bias"].map(|name| self.start(&node.label, name));
            let (statistics, lines) = (self.statistics.plus(2 * before), self.lines.plus(4 * before));
            self.table.extend([weight, bias, 2 * before, 4 * before, size.channels].map(|value| value as i32));
            self.epsilons.push(norm.eps as f32);
            self.found.push(Statistics { label: node.label.clone(), place: statistics, channels: size.channels });
            let norm = Norm {
                size,
                weight: self.parameter(&node.label, "weight"),
                bias: self.parameter(&node.label, "bias"),
                statistics,
                lines,
                epsilon: norm.eps as f32,
                momentum: norm.momentum as f32,
                activation: -1,
            };
            self.norms.insert(index, norm);
            before += size.channels.next_multiple_of(PARAMETER_ALIGNMENT);
        }
    }

    fn node(&mut self, index: usize, node: &Node) {
        if let Some(value) = self.joined.get(&index) {
            self.values.push(*value);
            return;
        }
        let after = After::of(self.layers, index);
        let stage = self.stage(index, node, after);
        let mut inputs: Vec<usize> = node.inputs.iter().map(|source| self.value(*source)).collect();
        self.lengths.push(Size::of(node.output).values());
        let output = self.lengths.len() - 1;
        self.values.push(output);
        let mut label = node.label.clone();
        if let Some(after) = after {
            if let Some((norm, _)) = after.norm {
                label.clone_from(&self.layers.nodes()[norm].label);
            }
            self.joined.extend(after.nodes().map(|node| (node, output)));
            inputs.extend(after.sum.map(|sum| self.value(sum.other)));
        }
        self.steps.push(Step { stage, inputs, output, frozen: false, label });
    }

    fn stage(&mut self, index: usize, node: &Node, after: Option<After>) -> Box<dyn Stage> {
        let shapes = self.layers.input_shapes(node);
        let (input, output) = (Size::of(shapes[0]), Size::of(node.output));
        if let Some(sources) = sources(&node.primitive, &shapes, node.output) {
            return Box::new(self.arrange(&sources, &shapes));
        }
        let whole = Window::square(1, 1, Padding::default());
        let geometry = |window: &Window| Geometry { input, output, window: *window, groups: 1 };
        match node.primitive {
            Primitive::Convolution(convolution) => {
                let geometry = Geometry::of_convolution(&convolution, input, output);
                let Convolution { bias, .. } = convolution;
                Box::new(self.convolve(geometry, bias, node, after))
            }
            Primitive::Linear { out } => {
                Box::new(self.convolve(Geometry::of_linear(input.values(), out), true, node, after))
            }
            Primitive::Norm(_) => {
                let activation = after.and_then(|after| after.activation).map(|(_, activation)| activation);
                Box::new(Normalise(Norm { activation: number_of(activation), ..self.norms[&index].clone() }))
            }
            Primitive::Activation(Activation::Softmax) => {
                Box::new(Softmax { pixels: input.pixels(), channels: input.channels })
            }
            Primitive::Activation(activation) => {
                Box::new(Activate { activation: number_of(Some(activation)), values: input.values() })
            }
            Primitive::MaxPool { window, .. } => Box::new(MaxPool(geometry(&window))),
            Primitive::AveragePool { window, count_include_pad, .. } => {
                let factors = self.fixed.constant(&average_factors(&window, count_include_pad, input, output));
                Box::new(AveragePool { geometry: geometry(&window), factors })
            }
            Primitive::AdaptiveAveragePool { .. } => Box::new(PartMean(geometry(&whole))),
            Primitive::AdaptiveMaxPool { .. } => Box::new(PartMax(geometry(&whole))),
            Primitive::Dropout { probability } => {
                Box::new(Dropout { chance: Chance::new(&self.stream, index, probability), size: input })
            }
            Primitive::Add { drop } => {
                Box::new(Add { chance: Chance::new(&self.stream, index, drop), values: input.values() })
            }
            Primitive::Scale => Box::new(Scale { size: input }),
            Primitive::ChannelConvolution { kernel } => {
                let [weights, of_weights] = self.parameter(&node.label, "weight");
                Box::new(ChannelConvolve { weights, of_weights, kernel, channels: input.channels })
            }
            Primitive::Flatten
            | Primitive::ChannelSlice { .. }
            | Primitive::ChannelShuffle { .. }
            | Primitive::Upsample { .. }
            | Primitive::Concat => unreachable!("arranged above"),
            Primitive::Custom(_) => unreachable!("refused before"),
        }
    }

    fn convolve(&self, geometry: Geometry, has_bias: bool, node: &Node, after: Option<After>) -> Convolve {
        let [weights, of_weights] = self.parameter(&node.label, "weight");
        let activation = number_of(after.and_then(|after| after.activation).map(|(_, activation)| activation));
        let norm = after.and_then(|after| after.norm);
        let norm = norm.map(|(node, _)| Norm { activation, ..self.norms[&node].clone() });
        let residual = after.and_then(|after| after.sum).map(|sum| Chance::new(&self.stream, sum.node, sum.drop));
        Convolve {
            geometry,
            weights,
            of_weights,
            bias: has_bias.then(|| self.parameter(&node.label, "bias")),
            activation: if norm.is_some() { -1 } else { activation },
            norm,
            residual,
        }
    }

    fn arrange(&mut self, sources: &[(u32, u32)], inputs: &[Shape]) -> Arrange {
        let mut ways = Vec::new();
        for (input, shape) in inputs.iter().enumerate() {
            let values = Size::of(*shape).values();
            let own: Vec<i32> =
                sources.iter().map(|(from, at)| if *from as usize == input { *at as i32 } else { -1 }).collect();
            let mut went: Vec<(i32, i32)> =
                own.iter().enumerate().filter(|(_, from)| **from >= 0).map(|(to, from)| (*from, to as i32)).collect();
            went.sort_unstable();
            let starts: Vec<i32> =
                (0..=values as i32).map(|value| went.partition_point(|(from, _)| *from < value) as i32).collect();
            let places: Vec<i32> = went.iter().map(|(_, to)| *to).collect();
            let [sources, starts, places] = [own, starts, places].map(|table| self.fixed.constant(&table));
            ways.push(Way { values, sources, starts, places });
        }
        Arrange { ways, values: sources.len() }
    }
}

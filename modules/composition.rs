//! Blocks that are data: layers and other blocks, with arguments filled in by simple arithmetic. A
//! spec's `blocks:` is read into these.

use crate::{
    activation::Activation,
    arguments::{Argument, Signature},
    chain::{Chain, Point},
    error::{Error, Place, Result},
    expression::{Amount, Expression, Meaning},
    generator::{BlockDefinition, BlockEntry, Module},
    layers::Layers,
    primitive::{Convolution, Padding, Primitive, Window},
    shape::Shape,
    site::{Copies, NetworkRules, Role, Site},
    trial::{Distribution, Trial},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// The most layers that one copy of a block may have.
pub const MAX_LAYERS: usize = 2000;
/// Above this a number is no size of a layer.
const LARGEST: f64 = 1e6;
/// The argument that a cell gives, and that only one copy of a row has.
const STRIDE: &str = "stride";

/// A block made of other parts.
#[derive(Debug)]
pub struct Composition {
    /// The name in a spec.
    pub name: String,
    /// What it is, in a sentence or two.
    pub meaning: String,
    /// Its arguments, in spec order.
    pub parameters: Vec<Parameter>,
    /// Which copy of a row has the argument `stride`; the others have 1.
    pub striding: Striding,
    /// What it is made of, in order.
    pub steps: Vec<Step>,
}

/// An argument of a [`Composition`].
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// What it decides.
    pub meaning: String,
    /// What values it takes.
    pub kind: ParameterKind,
    /// Its value where a spec gives none; `None` if it must be given.
    pub default: Option<Value>,
    /// Least and greatest number, if they are narrower than the kind's.
    pub range: Option<[f64; 2]>,
    /// What a space draws it from; `None` if it keeps its default.
    pub draw: Option<Distribution>,
}

/// What values an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A number of channels, to which the network's width multiple applies.
    Channels,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// The name of an activation, or null.
    Activation,
}

impl ParameterKind {
    /// Names in a spec.
    pub const NAMES: [(&str, Self); 5] = [
        ("channels", Self::Channels),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("activation", Self::Activation),
    ];
}

/// Which copies of a row stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Striding {
    /// The first, as inverted residuals.
    First,
    /// The last, as convolutions.
    Last,
    /// Every one, as pools.
    All,
}

/// One step of a block.
#[derive(Debug)]
pub struct Step {
    /// Where the block's definition says it: `layers[2]`.
    pub place: String,
    /// Whether it is there at all; of a residual, whether the input is added.
    pub when: Option<Expression>,
    /// The first part of its tensors' names; else that of its kind.
    pub label: Option<String>,
    /// What it does.
    pub operation: Operation,
}

/// What a step does.
#[derive(Debug)]
pub enum Operation {
    /// A layer, with its values in the order of [`Layer::arguments`].
    Layer(Layer, Vec<Scalar>),
    /// Another block, with its arguments by name.
    Block(Box<BlockEntry>, Vec<(String, Scalar)>),
    /// Steps that share a condition.
    Group(Vec<Step>),
    /// Steps whose result is added to their input, each image's with a probability of being dropped.
    Residual {
        /// In `0.0..1.0`.
        drop: Scalar,
        /// The branch.
        steps: Vec<Step>,
    },
    /// Several chains of steps on the same input.
    Branches {
        /// What makes one value of their results.
        join: Join,
        /// The chains; an empty one is the input itself.
        branches: Vec<Vec<Step>>,
    },
}

/// How branches become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Channels one after the other.
    Concat,
    /// The sum.
    Add,
}

/// A value in a block's definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A number or a condition.
    Expression(Expression),
    /// An activation, or none.
    Activation(Option<Activation>),
    /// What the argument of this name gives, whatever its kind.
    Argument(String),
    /// Nothing: what it means is the layer's affair.
    Null,
}

/// A layer that a definition can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Layer::meaning` says it")]
pub enum Layer {
    Convolution,
    Pointwise,
    Depthwise,
    Norm,
    Activation,
    MaxPool,
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    Flatten,
    Dropout,
    Upsample,
    Shuffle,
    Slice,
    Gate,
    Attention,
}

/// What an argument of a layer is where a definition does not say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerDefault {
    /// It must be said.
    Required,
    /// A number.
    Number(f64),
    /// False.
    No,
    /// Null.
    Null,
    /// An activation.
    Function(Activation),
}

impl Layer {
    /// Every layer, with its name in a definition.
    pub const ALL: [(&str, Self); 17] = [
        ("convolution", Self::Convolution),
        ("pointwise", Self::Pointwise),
        ("depthwise", Self::Depthwise),
        ("norm", Self::Norm),
        ("activation", Self::Activation),
        ("max_pool", Self::MaxPool),
        ("average_pool", Self::AveragePool),
        ("global_average_pool", Self::GlobalAveragePool),
        ("global_max_pool", Self::GlobalMaxPool),
        ("linear", Self::Linear),
        ("flatten", Self::Flatten),
        ("dropout", Self::Dropout),
        ("upsample", Self::Upsample),
        ("shuffle", Self::Shuffle),
        ("slice", Self::Slice),
        ("gate", Self::Gate),
        ("attention", Self::Attention),
    ];

    /// Its arguments in order, with what each is when it is not given.
    pub fn arguments(self) -> &'static [(&'static str, LayerDefault)] {
        use LayerDefault::{Function, No, Null, Number, Required};
        match self {
            Self::Convolution => &[
                ("out", Required),
                ("kernel", Required),
                ("stride", Number(1.0)),
                ("padding", Null),
                ("groups", Number(1.0)),
                ("dilation", Number(1.0)),
                ("bias", No),
            ],
            Self::Pointwise => &[("out", Required), ("bias", No)],
            Self::Depthwise => &[
                ("kernel", Required),
                ("stride", Number(1.0)),
                ("padding", Null),
                ("dilation", Number(1.0)),
                ("bias", No),
            ],
            Self::Norm | Self::Flatten => &[],
            Self::Activation => &[("function", Required)],
            Self::MaxPool | Self::AveragePool => &[("kernel", Required), ("stride", Null), ("padding", Number(0.0))],
            Self::GlobalAveragePool | Self::GlobalMaxPool => &[("output", Number(1.0))],
            Self::Linear => &[("out", Required)],
            Self::Dropout => &[("probability", Required)],
            Self::Upsample => &[("factor", Number(2.0))],
            Self::Shuffle => &[("groups", Required)],
            Self::Slice => &[("start", Required), ("length", Required)],
            Self::Gate => &[
                ("squeeze", Required),
                ("inner", Function(Activation::ReLU)),
                ("outer", Function(Activation::Sigmoid)),
            ],
            Self::Attention => &[("kernel", Required), ("outer", Function(Activation::Sigmoid))],
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, layer)| *layer == self).map_or("", |(name, _)| name)
    }
}

impl Composition {
    /// The layers that the definition writes down, those of blocks in it counted, and all conditions
    /// taken as met.
    pub fn written_layers(&self) -> usize {
        written_layers(&self.steps)
    }

    fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

fn written_layers(steps: &[Step]) -> usize {
    let of_step = |step: &Step| match &step.operation {
        Operation::Layer(Layer::Gate, _) => 6,
        Operation::Layer(Layer::Attention, _) => 4,
        Operation::Layer(..) => 1,
        Operation::Block(entry, _) => entry.written_layers(),
        Operation::Group(steps) => written_layers(steps),
        Operation::Residual { steps, .. } => 1 + written_layers(steps),
        Operation::Branches { branches, .. } => 1 + branches.iter().map(|steps| written_layers(steps)).sum::<usize>(),
    };
    steps.iter().map(of_step).fold(0, usize::saturating_add)
}

impl Parameter {
    /// The argument as a signature has it.
    fn argument(&self) -> Argument {
        let [low, high] = self.range.unwrap_or(match self.kind {
            ParameterKind::Channels => [1.0, LARGEST],
            _ => [0.0, LARGEST],
        });
        let nullable = |kind: &str| match self.default {
            Some(Value::Null) => json!([kind, "null"]),
            _ => json!(kind),
        };
        let schema = match self.kind {
            ParameterKind::Channels | ParameterKind::Int => {
                json!({ "type": nullable("integer"), "minimum": low, "maximum": high })
            }
            ParameterKind::Float => json!({ "type": nullable("number"), "minimum": low, "maximum": high }),
            ParameterKind::Bool => json!({ "type": "boolean" }),
            ParameterKind::Activation => {
                let names = Activation::ALL.map(|activation| Value::String(activation.name()));
                let names: Vec<Value> = names.into_iter().chain([Value::Null]).collect();
                json!({ "type": ["string", "null"], "enum": names, "aliases": Activation::ALIASES })
            }
        };
        Argument::new(self.name.clone(), self.meaning.clone(), self.default.clone(), schema)
    }

    /// Whether the argument takes `value`.
    ///
    /// # Errors
    /// Says what is wanted and what came.
    pub fn accepts(&self, value: &Value) -> Result<()> {
        self.argument().accepts(value)
    }
}

impl BlockDefinition for Composition {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> Signature {
        Signature::new(self.meaning.clone(), self.parameters.iter().map(Parameter::argument).collect())
    }

    fn written_layers(&self) -> usize {
        Self::written_layers(self)
    }

    fn module(self: Arc<Self>, mut arguments: Map<String, Value>) -> Result<Arc<dyn Module>> {
        for parameter in self.parameters.iter().filter(|parameter| parameter.kind == ParameterKind::Activation) {
            // Other spellings are written as the one name.
            let name = arguments.get(&parameter.name).and_then(Value::as_str).and_then(Activation::named);
            if let Some(activation) = name {
                arguments.insert(parameter.name.clone(), Value::String(activation.name()));
            }
        }
        Ok(Arc::new(Composed { composition: self, arguments }))
    }

    fn suggest(self: Arc<Self>, trial: &mut Trial<'_>, site: &Site) -> Result<Arc<dyn Module>> {
        if self.parameter(STRIDE).is_none() {
            site.must_not_reduce(&self.name)?;
        }
        let mut arguments = Map::new();
        for parameter in &self.parameters {
            let Parameter { name, default, draw, .. } = parameter;
            let value = match (site.cell_stride().filter(|_| name == STRIDE), draw, default) {
                (Some(stride), ..) => json!(stride),
                (None, Some(draw), _) => trial.any(name, draw.clone())?,
                (None, None, _) if name == STRIDE => trial.any(name, Distribution::Choice(vec![json!(1), json!(2)]))?,
                (None, None, Some(default)) => default.clone(),
                (None, None, None) => {
                    let message = format!("{} cannot be drawn: its argument `{name}` has no `draw`", self.name);
                    return Err(Error::new(Place::Name, message));
                }
            };
            parameter.accepts(&value)?;
            arguments.insert(name.clone(), value);
        }
        self.module(arguments)
    }
}

/// A [`Composition`] with its arguments.
#[derive(Debug)]
struct Composed {
    composition: Arc<Composition>,
    arguments: Map<String, Value>,
}

impl Module for Composed {
    fn layers(&self, site: &Site) -> Result<Layers> {
        let mut builder = Builder { composed: self, site, labels: BTreeSet::new() };
        builder.steps(site.chain(), &self.composition.steps)?.finish()
    }

    fn remark(&self, _: &Site) -> Option<String> {
        None
    }

    fn arguments(&self) -> Map<String, Value> {
        self.arguments.clone()
    }
}

/// Builds the layers of one copy.
struct Builder<'a> {
    composed: &'a Composed,
    site: &'a Site,
    labels: BTreeSet<String>,
}

/// What names mean at one point of a block.
struct Here<'a> {
    composed: &'a Composed,
    site: &'a Site,
    shape: Shape,
}

impl Meaning for Here<'_> {
    fn name(&self, name: &str) -> Option<Amount> {
        let number = |number: usize| Some(Amount::Number(number as f64));
        let [height, width] = self.shape.size().unwrap_or([1, 1]);
        match name {
            "in" => return number(self.site.input().channels()),
            "here" => return number(self.shape.channels()),
            "height" => return number(height),
            "width" => return number(width),
            _ => {}
        }
        let parameter = self.composed.composition.parameter(name)?;
        match self.composed.arguments.get(name)? {
            Value::Bool(flag) => Some(Amount::Flag(*flag)),
            value if parameter.kind == ParameterKind::Channels => number(self.site.channels(value.as_u64()? as usize)),
            value if name == STRIDE => {
                let stride = value.as_u64()? as usize;
                number(match self.composed.composition.striding {
                    Striding::First => self.site.stride_on_first(stride),
                    Striding::Last => self.site.stride_on_last(stride),
                    Striding::All => stride,
                })
            }
            value => value.as_f64().map(Amount::Number),
        }
    }

    fn call(&self, function: &str, argument: f64) -> Option<f64> {
        (function == "channels" && (0.0..=LARGEST).contains(&argument))
            .then(|| self.site.channels(argument as usize) as f64)
    }
}

/// Names that every definition can use beside its arguments, with what they mean.
pub const NAMES: [(&str, &str); 4] = [
    ("in", "channels that reach the block"),
    ("here", "channels at this layer"),
    ("height", "rows of the image at this layer"),
    ("width", "columns of the image at this layer"),
];

/// Functions that every definition can use beside those of all expressions.
pub const FUNCTIONS: [(&str, &str); 1] = [("channels", "times the network's width multiple, rounded by its rule")];

impl Builder<'_> {
    fn steps(&mut self, mut chain: Chain, steps: &[Step]) -> Result<Chain> {
        for step in steps {
            chain = self.step(chain, step).map_err(|error| self.at_step(step, error))?;
            if chain.len() > MAX_LAYERS {
                let message = format!("{}: more than {MAX_LAYERS} layers", self.composed.composition.name);
                return Err(Error::row(message));
            }
        }
        Ok(chain)
    }

    /// Which step of which block an error is about; of a block's steps the innermost says it.
    fn at_step(&self, step: &Step, error: Error) -> Error {
        let name = &self.composed.composition.name;
        if error.message.starts_with(&format!("{name}.")) {
            return error;
        }
        let path = format!("{name}.{}", step.place);
        let message = format!("{path}: {}", error.message);
        // A step of a block within this one is nearer to the mistake.
        let place = if matches!(error.place, Place::Step(_)) { error.place } else { Place::Step(path) };
        Error { message, place, ..error }
    }

    fn here(&self, chain: &Chain) -> Here<'_> {
        Here { composed: self.composed, site: self.site, shape: chain.shape() }
    }

    fn step(&mut self, chain: Chain, step: &Step) -> Result<Chain> {
        let met = match &step.when {
            None => true,
            Some(when) => when.flag(&self.here(&chain)).map_err(|error| wrong_value(when, &error.message))?,
        };
        match &step.operation {
            // Without its condition a residual is its branch alone.
            Operation::Residual { steps, .. } if !met => self.steps(chain, steps),
            _ if !met => Ok(chain),
            Operation::Layer(layer, values) => self.layer(chain, *layer, values, step.label.as_deref())?.check(),
            Operation::Block(entry, arguments) => self.block(chain, entry, arguments, step.label.as_deref()),
            Operation::Group(steps) => self.steps(chain, steps),
            Operation::Residual { drop, steps } => {
                let trunk = chain.here();
                let drop = self.values(&chain, std::slice::from_ref(drop)).real(0)?;
                let chain = self.steps(chain, steps)?;
                let label = self.label(step.label.as_deref().unwrap_or("add"));
                let branch = chain.here();
                chain.join(&label, Primitive::Add { drop }, &[trunk, branch]).check()
            }
            Operation::Branches { join, branches } => {
                let input = chain.here();
                let (mut chain, mut ends) = (chain, Vec::new());
                for steps in branches {
                    chain = self.steps(chain.from(input), steps)?;
                    ends.push(chain.here());
                }
                self.join(chain, *join, &ends, step.label.as_deref())
            }
        }
    }

    fn join(&mut self, chain: Chain, join: Join, ends: &[Point], label: Option<&str>) -> Result<Chain> {
        let (name, primitive) = match join {
            Join::Concat => ("concat", Primitive::Concat),
            Join::Add => ("add", Primitive::Add { drop: 0.0 }),
        };
        let label = self.label(label.unwrap_or(name));
        chain.join(&label, primitive, ends).check()
    }

    /// `label`, or with a number behind it where it is taken.
    fn label(&mut self, label: &str) -> String {
        let numbered = (2..).map(|number| format!("{label}{number}"));
        let free = std::iter::once(label.to_owned()).chain(numbered).find(|label| !self.labels.contains(label));
        let free = free.unwrap_or_default();
        self.labels.insert(free.clone());
        free
    }

    fn values<'v>(&'v self, chain: &Chain, values: &'v [Scalar]) -> Values<'v> {
        Values { here: self.here(chain), values }
    }

    fn layer(&mut self, chain: Chain, layer: Layer, values: &[Scalar], label: Option<&str>) -> Result<Chain> {
        let name = match layer {
            Layer::Norm => chain.follower("norm"),
            Layer::Activation => chain.follower("activation"),
            layer => layer.name().to_owned(),
        };
        let label = self.label(label.unwrap_or(&name));
        let values = self.values(&chain, values);
        let channels = chain.shape().channels();
        let primitive: Primitive = match layer {
            Layer::Convolution => {
                let window = values.window([1, 2, 3], Some(5))?;
                Convolution::new(values.whole(0)?, window).groups(values.whole(4)?).bias(values.flag(6)?).into()
            }
            Layer::Pointwise => Convolution::new(values.whole(0)?, Window::centered(1, 1)).bias(values.flag(1)?).into(),
            Layer::Depthwise => {
                let window = values.window([0, 1, 2], Some(3))?;
                Convolution::new(channels, window).groups(channels).bias(values.flag(4)?).into()
            }
            Layer::Norm => Primitive::Norm(self.site.network.norm),
            Layer::Activation => match values.activation(0)? {
                Some(activation) => Primitive::Activation(activation),
                None => return Ok(chain),
            },
            Layer::MaxPool => Primitive::MaxPool { window: values.pool_window()?, ceil_mode: false },
            Layer::AveragePool => {
                Primitive::AveragePool { window: values.pool_window()?, ceil_mode: false, count_include_pad: true }
            }
            Layer::GlobalAveragePool => Primitive::AdaptiveAveragePool { output: values.positive(0)? },
            Layer::GlobalMaxPool => Primitive::AdaptiveMaxPool { output: values.positive(0)? },
            Layer::Linear => Primitive::Linear { out: values.positive(0)? },
            Layer::Flatten => Primitive::Flatten,
            Layer::Dropout => Primitive::Dropout { probability: values.probability(0)? },
            Layer::Upsample => Primitive::Upsample { factor: values.positive(0)? },
            Layer::Shuffle => Primitive::ChannelShuffle { groups: values.whole(0)? },
            Layer::Slice => Primitive::ChannelSlice { start: values.whole(0)?, length: values.whole(1)? },
            Layer::Gate => {
                let (inner, outer) = (values.function(1)?, values.function(2)?);
                let squeeze = values.positive(0)?;
                return Ok(chain.gate_labelled(&label, squeeze, inner, outer));
            }
            Layer::Attention => {
                let (kernel, outer) = (values.positive(0)?, values.function(1)?);
                return Ok(chain.attention_labelled(&label, kernel, outer));
            }
        };
        Ok(chain.layer(&label, primitive))
    }

    /// Another block: numbers in a definition are as they are, so no multiple applies to it.
    fn block(
        &mut self,
        chain: Chain,
        entry: &BlockEntry,
        arguments: &[(String, Scalar)],
        label: Option<&str>,
    ) -> Result<Chain> {
        let label = self.label(label.unwrap_or(entry.name()));
        let mut named = Map::new();
        for (name, scalar) in arguments {
            let argument = entry.signature.arguments.iter().find(|argument| argument.name == *name);
            let whole = argument.is_some_and(Argument::is_whole);
            let value = self.values(&chain, std::slice::from_ref(scalar)).json(0, whole)?;
            named.insert(name.clone(), value);
        }
        let module = entry.parse(&[], &named).map_err(|mut errors| errors.swap_remove(0))?;
        let network = NetworkRules { width_multiply: 1.0, channel_divisor: 1, ..self.site.network };
        let site = Site { inputs: vec![chain.shape()], copy: Copies::ONE, role: Role::Row, network };
        let layers = module.layers(&site)?;
        chain.block(&label, &layers).check()
    }
}

fn wrong_value(expression: &Expression, message: &str) -> Error {
    Error::row(format!("`{expression}`: {message}"))
}

/// The values of one step at one point.
struct Values<'a> {
    here: Here<'a>,
    values: &'a [Scalar],
}

impl Values<'_> {
    fn argument(&self, name: &str) -> &Value {
        self.here.composed.arguments.get(name).unwrap_or(&Value::Null)
    }

    fn is_null(&self, index: usize) -> bool {
        match &self.values[index] {
            Scalar::Null => true,
            Scalar::Argument(name) => self.argument(name).is_null(),
            Scalar::Expression(_) | Scalar::Activation(_) => false,
        }
    }

    fn real(&self, index: usize) -> Result<f64> {
        match &self.values[index] {
            Scalar::Expression(expression) => {
                expression.number(&self.here).map_err(|error| wrong_value(expression, &error.message))
            }
            Scalar::Argument(name) => match self.here.name(name) {
                Some(Amount::Number(number)) => Ok(number),
                _ => Err(Error::row(format!("wanted a number, got {} from `{name}`", self.argument(name)))),
            },
            Scalar::Null => Err(Error::row("wanted a number, got null")),
            Scalar::Activation(_) => Err(Error::row("wanted a number, got an activation")),
        }
    }

    fn whole(&self, index: usize) -> Result<usize> {
        let number = self.real(index)?;
        if number.fract() == 0.0 && (0.0..=LARGEST).contains(&number) {
            return Ok(number as usize);
        }
        let wanted = format!("wanted a whole number from 0 to {LARGEST}, got {number}");
        match &self.values[index] {
            Scalar::Expression(expression) => Err(wrong_value(expression, &wanted)),
            _ => Err(Error::row(wanted)),
        }
    }

    fn positive(&self, index: usize) -> Result<usize> {
        match self.whole(index)? {
            0 => Err(Error::row("wanted a whole number of at least 1, got 0")),
            number => Ok(number),
        }
    }

    fn probability(&self, index: usize) -> Result<f64> {
        let number = self.real(index)?;
        if (0.0..1.0).contains(&number) {
            return Ok(number);
        }
        Err(Error::row(format!("wanted a probability from 0 to below 1, got {number}")))
    }

    fn flag(&self, index: usize) -> Result<bool> {
        match &self.values[index] {
            Scalar::Expression(expression) => {
                expression.flag(&self.here).map_err(|error| wrong_value(expression, &error.message))
            }
            Scalar::Argument(name) => match self.here.name(name) {
                Some(Amount::Flag(flag)) => Ok(flag),
                _ => Err(Error::row(format!("wanted true or false, got {} from `{name}`", self.argument(name)))),
            },
            Scalar::Null | Scalar::Activation(_) => Err(Error::row("wanted true or false")),
        }
    }

    fn activation(&self, index: usize) -> Result<Option<Activation>> {
        match &self.values[index] {
            Scalar::Activation(activation) => Ok(*activation),
            Scalar::Null => Ok(None),
            Scalar::Argument(name) => match self.argument(name) {
                Value::Null => Ok(None),
                value => value
                    .as_str()
                    .and_then(Activation::named)
                    .map(Some)
                    .ok_or_else(|| Error::row(format!("wanted an activation, got {value} from `{name}`"))),
            },
            Scalar::Expression(expression) => Err(wrong_value(expression, "wanted an activation")),
        }
    }

    fn function(&self, index: usize) -> Result<Activation> {
        self.activation(index)?.ok_or_else(|| Error::row("wanted an activation, got null"))
    }

    /// Kernel, stride and padding from the values at these indices, dilation from that one.
    fn window(&self, [kernel, stride, padding]: [usize; 3], dilation: Option<usize>) -> Result<Window> {
        let (kernel, stride) = (self.positive(kernel)?, self.positive(stride)?);
        let padding = if self.is_null(padding) { None } else { Some(self.whole(padding)?) };
        let window = Window::square(kernel, stride, self.here.site.padding(padding, kernel));
        Ok(match dilation {
            None => window,
            Some(dilation) => Window { dilation: [self.positive(dilation)?; 2], ..window },
        })
    }

    fn pool_window(&self) -> Result<Window> {
        let kernel = self.positive(0)?;
        let stride = if self.is_null(1) { kernel } else { self.positive(1)? };
        Ok(Window::square(kernel, stride, Padding::all(self.whole(2)?)))
    }

    /// The value as a block's argument.
    fn json(&self, index: usize, whole: bool) -> Result<Value> {
        match &self.values[index] {
            Scalar::Null => Ok(Value::Null),
            Scalar::Activation(activation) => Ok(activation.map_or(Value::Null, |activation| json!(activation.name()))),
            Scalar::Argument(name) => match self.here.name(name) {
                Some(amount) => Ok(json_of(amount, whole)),
                None => Ok(self.argument(name).clone()),
            },
            Scalar::Expression(expression) => {
                let amount = expression.value(&self.here).map_err(|error| wrong_value(expression, &error.message))?;
                Ok(json_of(amount, whole))
            }
        }
    }
}

fn json_of(amount: Amount, whole: bool) -> Value {
    match amount {
        Amount::Flag(flag) => json!(flag),
        Amount::Number(number) if number.fract() == 0.0 && (whole || number.abs() < LARGEST) => json!(number as i64),
        Amount::Number(number) => json!(number),
    }
}

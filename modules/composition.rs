//! Blocks that are data: layers and other blocks, with arguments filled in by simple arithmetic. A
//! spec's `blocks:` is read into these.

mod build;
mod layer;
mod value;

pub use layer::{Layer, LayerDefault};
pub use value::{FUNCTIONS, NAMES};

use crate::{
    activation::Activation,
    arguments::{Argument, Signature},
    error::{Error, Place, Result},
    expression::Expression,
    generator::{BlockDefinition, BlockEntry, Module},
    layers::Layers,
    site::Site,
    trial::{Distribution, Trial},
};
use build::Builder;
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

impl Composition {
    /// The layers that the definition writes down, those of blocks in it counted, and all conditions
    /// taken as met.
    pub fn written_layers(&self) -> usize {
        written_layers(&self.steps)
    }

    /// The arguments that nothing in the definition uses.
    pub fn unused_parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| !self.steps.iter().any(|step| step.uses(&parameter.name)))
    }

    fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl Step {
    /// Whether the step, or one within it, depends on the argument `name`.
    fn uses(&self, name: &str) -> bool {
        let any = |steps: &[Self]| steps.iter().any(|step| step.uses(name));
        let by_condition = self.when.as_ref().is_some_and(|when| when.uses(name));
        by_condition
            || match &self.operation {
                Operation::Layer(_, values) => values.iter().any(|value| value.uses(name)),
                Operation::Block(_, arguments) => arguments.iter().any(|(_, value)| value.uses(name)),
                Operation::Group(steps) => any(steps),
                Operation::Residual { drop, steps } => drop.uses(name) || any(steps),
                Operation::Branches { branches, .. } => branches.iter().any(|steps| any(steps)),
            }
    }
}

impl Scalar {
    fn uses(&self, name: &str) -> bool {
        match self {
            Self::Expression(expression) => expression.uses(name),
            Self::Argument(argument) => argument == name,
            Self::Activation(_) | Self::Null => false,
        }
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

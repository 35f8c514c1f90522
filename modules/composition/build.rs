//! From a definition and its arguments to layers.

use super::{
    Composed, Join, MAX_LAYERS, Operation, Scalar, Step,
    layer::Layer,
    value::{Here, Values, wrong_value},
};
use crate::{
    arguments::Argument,
    chain::{Chain, Point},
    error::{Error, Place, Result},
    generator::BlockEntry,
    primitive::{Convolution, Primitive, Window},
    site::{Copies, NetworkRules, Role, Site},
};
use serde_json::Map;
use std::collections::BTreeSet;

/// Builds the layers of one copy.
pub(super) struct Builder<'a> {
    pub(super) composed: &'a Composed,
    pub(super) site: &'a Site,
    pub(super) labels: BTreeSet<String>,
}

impl Builder<'_> {
    pub(super) fn steps(&mut self, mut chain: Chain, steps: &[Step]) -> Result<Chain> {
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
                if kernel.is_multiple_of(2) {
                    return Err(Error::row(format!("wanted an odd kernel, got {kernel}")));
                }
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

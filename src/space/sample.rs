//! Draws specs from a space until one fits.

use super::{RandomDraw, Space};
use crate::{
    chance::Chance,
    network::Network,
    spec::{Diagnostic, ModelSpec, SpecError, emit, yaml::Yaml},
};
use nasgen_modules::{Blocks, Shape};
use serde_json::{Map, Value, json};

/// Draws for one sample before the space or the budget is called infeasible.
pub const MAX_ATTEMPTS: usize = 10_000;

/// What a network may cost at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Parameters.
    pub max_params: Option<u64>,
    /// Multiply-adds for one image.
    pub max_macs: Option<u64>,
}

impl Budget {
    /// Whether a network of this cost fits.
    pub fn allows(&self, cost: &Cost) -> bool {
        self.max_params.is_none_or(|max| cost.params <= max) && self.max_macs.is_none_or(|max| cost.macs <= max)
    }
}

/// What a network costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Parameters.
    pub params: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// A drawn network.
pub struct Sample {
    /// The spec as a file.
    pub file: Map<String, Value>,
    /// Its network.
    pub network: Network,
    /// Draws that did not fit before this one.
    pub rejected: usize,
}

impl Sample {
    /// The text of the file: a complete model spec.
    pub fn to_yaml(&self) -> String {
        emit(&self.file)
    }
}

/// One draw, whether it fits or not.
pub enum Attempt {
    /// A value that no spec may have: the space itself is wrong.
    Invalid(Vec<Diagnostic>),
    /// A network that stands.
    Network(Map<String, Value>, Box<Network>),
    /// Layers that cannot stand on each other, with the first reason.
    Impossible(Diagnostic),
}

/// Why no network could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The space gives a value that no spec may have.
    #[error(transparent)]
    Invalid(SpecError),
    /// Every draw of [`MAX_ATTEMPTS`] was over the budget.
    #[error("none of {attempts} networks drawn from `{space}` fits the budget; the smallest found has {} parameters and {} MACs", smallest.params, smallest.macs)]
    OverBudget {
        /// The space's name.
        space: String,
        /// Draws made.
        attempts: usize,
        /// The draw nearest to the budget.
        smallest: Cost,
    },
    /// No draw could stand at all.
    #[error("none of {attempts} draws from the space is a network that can stand; the last one:\n{last}")]
    Impossible {
        /// Draws made.
        attempts: usize,
        /// Why the last one could not.
        last: SpecError,
    },
}

/// Draws from one space.
pub struct Sampler<'a> {
    /// The space.
    pub space: &'a Space,
    /// What its rows can name.
    pub blocks: &'a Blocks,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// What a sample may cost.
    pub budget: Budget,
    /// Image shape, if it is not the spec's own.
    pub input: Option<Shape>,
}

impl Sampler<'_> {
    /// Sample `number`, which depends on the seed and the number alone.
    ///
    /// # Errors
    /// When none of [`MAX_ATTEMPTS`] draws fits.
    pub fn sample(&self, number: u64) -> Result<Sample, SampleError> {
        let mut draw = RandomDraw::new(Chance::new(self.seed, "sample", number));
        let mut smallest: Option<Cost> = None;
        let mut last = None;
        for rejected in 0..MAX_ATTEMPTS {
            draw.restart();
            match self.attempt(&mut draw, number) {
                Attempt::Invalid(mistakes) => return Err(SampleError::Invalid(self.space.source().error(mistakes))),
                Attempt::Impossible(reason) => last = Some(reason),
                Attempt::Network(file, network) => {
                    let cost = Cost { params: network.params(), macs: network.macs() };
                    if self.budget.allows(&cost) {
                        return Ok(Sample { file, network: *network, rejected });
                    }
                    if smallest.is_none_or(|smallest| self.excess(&cost) < self.excess(&smallest)) {
                        smallest = Some(cost);
                    }
                }
            }
        }
        Err(match (smallest, last) {
            (None, Some(last)) => {
                SampleError::Impossible { attempts: MAX_ATTEMPTS, last: self.space.source().error(vec![last]) }
            }
            (smallest, _) => SampleError::OverBudget {
                space: self.space.name.clone(),
                attempts: MAX_ATTEMPTS,
                smallest: smallest.unwrap_or(Cost { params: 0, macs: 0 }),
            },
        })
    }

    /// One draw, with everything recorded.
    pub fn attempt(&self, draw: &mut RandomDraw, number: u64) -> Attempt {
        let tree = match self.space.resolve(draw, self.blocks) {
            Ok(tree) => tree,
            Err(error) => return Attempt::Invalid(vec![Diagnostic::new(error.message).help(error.help)]),
        };
        let spec = match ModelSpec::read(&tree, self.blocks) {
            Ok(spec) => spec,
            Err(mistakes) => return Attempt::Invalid(mistakes),
        };
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = self.input.unwrap_or(Shape::image(spec.input_channel, height, width));
        match Network::plan(&spec, input) {
            Ok(network) => Attempt::Network(self.file(&tree, &draw.draws, number), Box::new(network)),
            Err(reason) => Attempt::Impossible(reason),
        }
    }

    fn file(&self, tree: &Yaml, draws: &Map<String, Value>, number: u64) -> Map<String, Value> {
        let Value::Object(mut file) = tree.to_json() else { return Map::new() };
        // What the budget was counted for is part of the spec.
        if let Some(Shape::Image { channels, height, width }) = self.input {
            file.insert("input_channel".into(), json!(channels));
            file.insert("input_size".into(), json!([height, width]));
        }
        let sample = json!({ "space": self.space.name, "seed": self.seed, "number": number, "draws": draws });
        file.insert("sample".into(), sample);
        file
    }

    /// How far over the budget, as a factor.
    fn excess(&self, cost: &Cost) -> f64 {
        let ratio = |cost: u64, max: Option<u64>| max.map_or(0.0, |max| cost as f64 / max.max(1) as f64);
        ratio(cost.params, self.budget.max_params).max(ratio(cost.macs, self.budget.max_macs))
    }
}

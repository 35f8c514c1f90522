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
    /// A network that stands.
    Network(Map<String, Value>, Box<Network>),
    /// Layers that cannot stand on each other, with the first reason.
    Impossible(Diagnostic),
}

/// Why no network could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
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
        match self.draw_spec(draw) {
            Ok((tree, network)) => Attempt::Network(self.file(&tree, &draw.draws, number), network),
            Err(diagnostic) => Attempt::Impossible(diagnostic),
        }
    }

    fn draw_spec(&self, draw: &mut RandomDraw) -> Result<(Yaml, Box<Network>), Diagnostic> {
        let tree = self.space.resolve(draw, self.blocks);
        let tree = tree.map_err(|error| Diagnostic::new(error.message).help(error.help))?;
        let spec = self.read(&tree)?;
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = self.input.unwrap_or(Shape::image(spec.input_channel, height, width));
        Ok((tree, Box::new(Network::plan(&spec, input)?)))
    }

    fn read(&self, tree: &Yaml) -> Result<ModelSpec, Diagnostic> {
        ModelSpec::read(tree, self.blocks).map_err(|mut diagnostics| diagnostics.swap_remove(0))
    }

    fn file(&self, tree: &Yaml, draws: &Map<String, Value>, number: u64) -> Map<String, Value> {
        let Value::Object(mut file) = tree.to_json() else { return Map::new() };
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

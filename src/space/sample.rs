//! Draws specs from a space until one fits.

use super::{RandomDraw, Replay, Resolved, Space, rejects_the_draw};
use crate::{
    chance::Chance,
    network::Network,
    spec::{Diagnostic, ModelSpec, SpecError, emit, yaml::Yaml},
};
use nasgen_modules::{Draw, Shape};
use serde_json::{Map, Value, json};

/// Draws for one sample before the space or the budget is called infeasible.
pub const MAX_ATTEMPTS: usize = 10_000;
/// Ways to fill in what a changed record lacks before it is called impossible.
const REPLAY_ATTEMPTS: u64 = 100;

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

    /// What meets both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self { max_params: least(self.max_params, other.max_params), max_macs: least(self.max_macs, other.max_macs) }
    }
}

/// What a network costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Parameters.
    pub params: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
}

impl Cost {
    /// What `network` costs.
    pub fn of(network: &Network) -> Self {
        Self { params: network.params(), macs: network.macs() }
    }
}

/// A drawn spec.
pub struct Sample {
    /// The spec as a file.
    pub file: Map<String, Value>,
    /// Its network; `None` from a space of named values alone.
    pub network: Option<Network>,
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
    /// A file, with its network if the space gives networks.
    Drawn(Map<String, Value>, Option<Box<Network>>),
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
    /// A record that cannot be replayed as it was changed.
    #[error("the draws cannot be replayed: {0}")]
    Replay(String),
}

/// Draws from one space.
pub struct Sampler<'a> {
    /// The space.
    pub space: &'a Space,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// What a sample may cost, beside the space's own constraints.
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
        let budget = self.whole_budget();
        let mut smallest: Option<Cost> = None;
        let mut last = None;
        for rejected in 0..MAX_ATTEMPTS {
            match self.attempt(&mut draw, number) {
                Attempt::Invalid(mistakes) => return Err(SampleError::Invalid(self.space.source().error(mistakes))),
                Attempt::Impossible(reason) => last = Some(reason),
                Attempt::Drawn(file, None) => return Ok(Sample { file, network: None, rejected }),
                Attempt::Drawn(file, Some(network)) => {
                    let cost = Cost::of(&network);
                    if budget.allows(&cost) {
                        return Ok(Sample { file, network: Some(*network), rejected });
                    }
                    if smallest.is_none_or(|smallest| excess(&budget, &cost) < excess(&budget, &smallest)) {
                        smallest = Some(cost);
                    }
                }
            }
        }
        Err(match (smallest, last) {
            (None, Some(last)) => {
                SampleError::Impossible { attempts: MAX_ATTEMPTS, last: self.space.source().error(vec![last]) }
            }
            (smallest, _) => self.over_budget(smallest.unwrap_or_default()),
        })
    }

    /// Where the space's own constraint cannot be met the space is wrong, else the budget is too small.
    fn over_budget(&self, smallest: Cost) -> SampleError {
        let own = self.space.constraints.broken_budget(&smallest);
        match own.filter(|_| self.budget == Budget::default()) {
            Some(diagnostic) => SampleError::Invalid(self.space.source().error(vec![diagnostic])),
            None => SampleError::OverBudget { space: self.space.name.clone(), attempts: MAX_ATTEMPTS, smallest },
        }
    }

    /// The sample that `record`, the `sample:` of a drawn spec, tells of; with `changed` draws in the
    /// place of its own. What depends on a changed draw and is not recorded is drawn anew.
    ///
    /// # Errors
    /// When the record is none, or the changed draws cannot stand.
    pub fn replay(&self, record: &Value, changed: &Map<String, Value>) -> Result<Sample, SampleError> {
        let Some(draws) = record["draws"].as_object() else {
            return Err(SampleError::Replay("the file has no `sample:` with `draws:`".into()));
        };
        let (seed, number) = (record["seed"].as_u64().unwrap_or(0), record["number"].as_u64().unwrap_or(0));
        let sampler = Sampler { seed, ..*self };
        let mut problem = String::new();
        for attempt in 0..REPLAY_ATTEMPTS {
            let chance = Chance::new(seed, "replay", number.wrapping_mul(REPLAY_ATTEMPTS).wrapping_add(attempt));
            let mut replay = Replay::new(draws, changed, chance);
            let drawn = sampler.attempt(&mut replay, number);
            if let (Some(name), Attempt::Drawn(..)) = (replay.unused().first(), &drawn) {
                return Err(SampleError::Replay(format!("nothing asks for a draw `{name}` with these draws")));
            }
            match drawn {
                Attempt::Invalid(mistakes) => return Err(SampleError::Invalid(self.space.source().error(mistakes))),
                Attempt::Impossible(reason) => problem = reason.message,
                Attempt::Drawn(file, None) => return Ok(Sample { file, network: None, rejected: 0 }),
                Attempt::Drawn(file, Some(network)) if self.whole_budget().allows(&Cost::of(&network)) => {
                    return Ok(Sample { file, network: Some(*network), rejected: attempt as usize });
                }
                Attempt::Drawn(..) => problem = "the network is over the budget".into(),
            }
        }
        Err(SampleError::Replay(problem))
    }

    /// The budget and the space's own.
    pub fn whole_budget(&self) -> Budget {
        self.budget.and(self.space.constraints.budget())
    }

    /// One draw, with everything recorded. Whether its network fits a budget is left to the caller.
    pub fn attempt(&self, draw: &mut dyn Draw, number: u64) -> Attempt {
        let Resolved { tree, draws } = match self.space.resolve(draw, self.input) {
            Ok(resolved) => resolved,
            Err(error) => {
                let diagnostic = Diagnostic::new(&error.message).help(error.help.clone());
                return if rejects_the_draw(&error) {
                    Attempt::Impossible(diagnostic)
                } else {
                    Attempt::Invalid(vec![diagnostic])
                };
            }
        };
        if !self.space.has_network() {
            return Attempt::Drawn(self.file(&tree, &draws, number), None);
        }
        let spec = match ModelSpec::read_defined(&tree, &self.space.blocks) {
            Ok(spec) => spec,
            Err(mistakes) => return Attempt::Invalid(mistakes),
        };
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = self.input.unwrap_or(Shape::image(spec.input_channel, height, width));
        match Network::plan(&spec, input) {
            Ok(network) => match self.space.constraints.broken_by(&network) {
                None => Attempt::Drawn(self.file(&tree, &draws, number), Some(Box::new(network))),
                Some(reason) => Attempt::Impossible(reason),
            },
            Err(reason) => Attempt::Impossible(reason),
        }
    }

    fn file(&self, tree: &Yaml, draws: &Map<String, Value>, number: u64) -> Map<String, Value> {
        let Value::Object(mut file) = tree.to_json() else { return Map::new() };
        let mut sample = json!({ "space": self.space.name, "seed": self.seed, "number": number, "draws": draws });
        // What the budget was counted for is part of the spec, and of what a replay needs.
        if let Some(Shape::Image { channels, height, width }) = self.input {
            file.insert("input_channel".into(), json!(channels));
            file.insert("input_size".into(), json!([height, width]));
            sample["input"] = json!([channels, height, width]);
        }
        file.insert("sample".into(), sample);
        file
    }
}

/// How far over the budget, as a factor.
fn excess(budget: &Budget, cost: &Cost) -> f64 {
    let ratio = |cost: u64, max: Option<u64>| max.map_or(0.0, |max| cost as f64 / max.max(1) as f64);
    ratio(cost.params, budget.max_params).max(ratio(cost.macs, budget.max_macs))
}

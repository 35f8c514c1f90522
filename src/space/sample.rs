//! Draws specs from a space until one fits.

use super::{Misdraw, RandomDraw, Replay, Resolved, Space};
use crate::{
    chance::Chance,
    measure::{Measured, Scale},
    network::Network,
    spec::{Diagnostic, ModelSpec, SpecError, emit, yaml::Yaml},
};
use nasgen_modules::{Draw, Shape, nearest};
use serde_json::{Map, Value, json};

/// Draws for one sample before the space or the budget is called infeasible.
pub const MAX_ATTEMPTS: usize = 10_000;
/// Ways to fill in what a changed record lacks before it is called impossible.
const REPLAY_ATTEMPTS: u64 = 100;

/// Names of draws that a message lists.
const MOST_NAMES: usize = 20;

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

/// What was drawn, before its layers are looked at.
struct DrawnSpec {
    tree: Yaml,
    draws: Map<String, Value>,
    /// `None` from a space of named values alone.
    spec: Option<(ModelSpec, Shape)>,
}

/// A network that was drawn and measured.
pub(super) struct Weighed {
    pub(super) tree: Yaml,
    pub(super) draws: Map<String, Value>,
    pub(super) cost: Cost,
}

/// Why no network could be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The space gives a value that no spec may have, or no network that can stand.
    #[error(transparent)]
    Invalid(SpecError),
    /// Every draw was over the budget.
    #[error("{} the budget; {} has {} parameters and {} MACs",
        if *attempts == 1 { format!("the network of `{space}` does not fit") } else { format!("none of {attempts} networks drawn from `{space}` fits") },
        if *attempts == 1 { "it" } else { "the smallest found" }, smallest.params, smallest.macs)]
    OverBudget {
        /// The space's name.
        space: String,
        /// Draws made.
        attempts: usize,
        /// The draw nearest to the budget.
        smallest: Cost,
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
        // Of a fixed network every draw is the same.
        let attempts = if self.space.is_fixed() { 1 } else { MAX_ATTEMPTS };
        for rejected in 0..attempts {
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
            (None, Some(last)) if attempts == 1 => SampleError::Invalid(self.space.source().error(vec![last])),
            (None, Some(last)) => {
                let message = format!("none of {attempts} draws from the space can stand; the last: {}", last.message);
                SampleError::Invalid(self.space.source().error(vec![Diagnostic { message, ..last }]))
            }
            (smallest, _) => self.over_budget(attempts, smallest.unwrap_or_default()),
        })
    }

    /// Where the space's own constraint cannot be met the space is wrong, else the budget is too small.
    fn over_budget(&self, attempts: usize, smallest: Cost) -> SampleError {
        let own = self.space.constraints.broken_budget(&smallest);
        match own.filter(|_| self.budget == Budget::default()) {
            Some(diagnostic) => SampleError::Invalid(self.space.source().error(vec![diagnostic])),
            None => SampleError::OverBudget { space: self.space.name.clone(), attempts, smallest },
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
            if let (Some(name), Attempt::Drawn(file, _)) = (replay.unused().first(), &drawn) {
                return Err(unknown_draw(name, &file["sample"]["draws"]));
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
        let drawn = match self.draw_spec(draw) {
            Ok(drawn) => drawn,
            Err(attempt) => return attempt,
        };
        let file = || self.file(&drawn.tree, &drawn.draws, number);
        let Some((spec, input)) = &drawn.spec else { return Attempt::Drawn(file(), None) };
        match Network::plan(spec, *input) {
            Ok(network) => {
                match self.space.constraints.broken_by(network.downsamplings(), network.smallest_feature()) {
                    None => Attempt::Drawn(file(), Some(Box::new(network))),
                    Some(reason) => Attempt::Impossible(reason),
                }
            }
            Err(reason) => Attempt::Impossible(reason),
        }
    }

    /// One draw of a network that is only measured; `None` where it cannot stand or breaks a constraint on
    /// its shape.
    ///
    /// # Errors
    /// A value that no spec may have.
    pub(super) fn weigh(&self, draw: &mut dyn Draw, scale: &mut Scale) -> Result<Option<Weighed>, Vec<Diagnostic>> {
        let DrawnSpec { tree, draws, spec } = match self.draw_spec(draw) {
            Ok(drawn) => drawn,
            Err(Attempt::Invalid(mistakes)) => return Err(mistakes),
            Err(_) => return Ok(None),
        };
        let Some((spec, input)) = spec else { return Ok(None) };
        let Some(measured) = scale.measure(&spec, input) else { return Ok(None) };
        let Measured { params, macs, downsamplings, smallest_feature } = measured;
        let broken = self.space.constraints.broken_by(downsamplings, smallest_feature);
        Ok(broken.is_none().then_some(Weighed { tree, draws, cost: Cost { params, macs } }))
    }

    fn draw_spec(&self, draw: &mut dyn Draw) -> Result<DrawnSpec, Attempt> {
        let Resolved { tree, draws } = match self.space.resolve(draw, self.input) {
            Ok(resolved) => resolved,
            Err(Misdraw { reason, is_chance: true }) => return Err(Attempt::Impossible(reason)),
            Err(Misdraw { reason, .. }) => return Err(Attempt::Invalid(vec![reason])),
        };
        if !self.space.has_network() {
            return Ok(DrawnSpec { tree, draws, spec: None });
        }
        let spec = ModelSpec::read_defined(&tree, &self.space.blocks).map_err(Attempt::Invalid)?;
        let [height, width] = spec.input_size.unwrap_or([32, 32]);
        let input = self.input.unwrap_or(Shape::image(spec.input_channel, height, width));
        Ok(DrawnSpec { tree, draws, spec: Some((spec, input)) })
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

/// A changed draw that nothing asks for, with the nearest of those that are made.
fn unknown_draw(name: &str, made: &Value) -> SampleError {
    let names = || made.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let part = name.rsplit('.').next().unwrap_or(name);
    let near = nearest(name, names()).or_else(|| names().find(|known| known.rsplit('.').next() == Some(part)));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("draws are {}", names().take(MOST_NAMES).collect::<Vec<_>>().join(", ")),
    };
    SampleError::Replay(format!("nothing asks for a draw `{name}` with these draws; {help}"))
}

/// How far over the budget, as a factor.
fn excess(budget: &Budget, cost: &Cost) -> f64 {
    let ratio = |cost: u64, max: Option<u64>| max.map_or(0.0, |max| cost as f64 / max.max(1) as f64);
    ratio(cost.params, budget.max_params).max(ratio(cost.macs, budget.max_macs))
}

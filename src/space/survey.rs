//! What a space holds: how many networks, how large, and how likely each value is.

mod count;
mod extremes;

pub use count::Count;

use super::{
    Attempt, Budget, Cost, Replay, Sampler,
    pattern::PatternReader,
    structure::{Goal, Share, Values, random_below, shares},
};
use crate::{
    chance::Chance,
    measure::Scale,
    spec::{Diagnostic, SpecError, emit},
};
use count::{Combinations, count_all};
use extremes::Found;
use nasgen_modules::Distribution;
use num_bigint::BigUint;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// A space with at most this many networks is tried network by network.
const MOST_TRIED: u32 = 4096;
/// Networks drawn from a larger one.
const DRAWN: u64 = 1000;
/// Networks with one value drawn before it is said that none can stand.
const FORCED: u64 = 200;
/// No changes to a record.
static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// The cheapest or dearest network that a space holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Extreme {
    /// What it costs.
    pub cost: Cost,
    /// The spec as a file.
    pub config: String,
}

/// One named value of a space.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueShare {
    /// The draw's name.
    pub name: String,
    /// What it is drawn from.
    pub distribution: Distribution,
    /// The share of samples in which it is drawn.
    pub applies: f64,
    /// The share of samples in which it has each value, in the order of the distribution, where
    /// constraints or other draws change that; else empty: the distribution says it.
    pub shares: Vec<f64>,
    /// The draws that decide whether this one is made, with the values that lead to it.
    pub when: Vec<(String, Vec<Value>)>,
}

/// What [`Surveyor::survey`] found out.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Combinations of the values that decide about the network; those that the space's constraints
    /// on strides and sizes forbid are not among them.
    pub combinations: Count,
    /// Networks: combinations that can stand and meet the space's constraints. None where the space has no
    /// backbone.
    pub networks: Count,
    /// Combinations of the values under `train:` and `params:`.
    pub settings: Count,
    /// Specs: networks with settings.
    pub specs: Count,
    /// How many of these differ in their rows; known where every one was tried.
    pub distinct: Option<usize>,
    /// Networks that meet the budget as well, if one was given.
    pub fits: Option<Count>,
    /// Whether one that meets the budget was found, at random or on the way to the smallest.
    pub fits_found: bool,
    /// Combinations that were tried.
    pub tried: usize,
    /// Whether those were all.
    pub all_tried: bool,
    /// Fewest parameters, most parameters, fewest MACs, most MACs: of all networks where all were
    /// tried, else the extremes that were found.
    pub extremes: Option<[Extreme; 4]>,
    /// Every named value, in the order of drawing; `None` where there are too many ways to them.
    pub values: Option<Vec<ValueShare>>,
}

/// Looks at a space.
pub struct Surveyor<'a> {
    /// The space, its budget and the shape of its images; the seed decides which networks are tried.
    pub sampler: Sampler<'a>,
}

/// A combination that was tried.
struct Tried {
    /// Its index among those that were tried.
    number: u64,
    draws: Map<String, Value>,
    /// `None` where it cannot stand.
    cost: Option<Cost>,
    /// What is written of its network, where it is asked which are distinct.
    spec: Option<String>,
}

impl Surveyor<'_> {
    /// Counts and measures.
    ///
    /// # Errors
    /// A value that no spec may have, an option that no network can have, a constraint that no
    /// network meets; each with its place.
    pub fn survey(&self) -> Result<Survey, SpecError> {
        let space = self.sampler.space;
        let goal = if space.placement.is_some() { space.goal(self.sampler.input) } else { Goal::none() };
        let values = self.values(&goal);
        if !space.has_network() {
            return Ok(Survey {
                combinations: count_all(&space.parts),
                networks: Count::Exact(BigUint::ZERO),
                settings: count_all(&space.parts),
                specs: count_all(&space.parts),
                distinct: None,
                fits: None,
                fits_found: false,
                tried: 0,
                all_tried: false,
                extremes: None,
                values,
            });
        }
        let shares = shares(&space.network_parts, &goal).unwrap_or_default();
        let combinations = Combinations::new(space, goal);
        let all_tried = combinations.total <= BigUint::from(MOST_TRIED) && !combinations.continuous;
        let mut scale = Scale::default();
        let tried = self.try_some(&combinations, all_tried, &mut scale)?;
        let allowed = |cost: &Cost, budget: &Budget| budget.allows(cost);
        let own = space.constraints.budget();
        let networks = |budget: &Budget| {
            let fits = |tried: &&Tried| tried.cost.as_ref().is_some_and(|cost| allowed(cost, budget));
            tried.iter().filter(fits).count()
        };
        let count = |stood: usize| combinations.count(stood, tried.len(), all_tried);
        let mut found: Vec<Found> = tried.iter().filter_map(Found::of).collect();
        if !all_tried {
            found.extend(self.search_extremes(&shares, &tried, &mut scale));
        }
        found.retain(|found| own.allows(&found.cost));
        if found.is_empty() {
            return Err(self.nothing_found(&tried));
        }
        self.reject_impossible_options(&shares, &tried)?;
        let has_budget = self.sampler.budget != Budget::default();
        let rejects = own != Budget::default() || (space.constraints.place_strides() && space.placement.is_none());
        let stood = networks(&own);
        let networks_held = if !rejects && stood == tried.len() { combinations.all() } else { count(stood) };
        let settings = count_all(&space.setting_parts);
        Ok(Survey {
            combinations: combinations.all(),
            specs: networks_held.times(&settings),
            networks: networks_held,
            settings,
            distinct: all_tried.then(|| distinct(&tried, &own)),
            fits_found: found.iter().any(|found| self.sampler.whole_budget().allows(&found.cost)),
            fits: has_budget.then(|| count(networks(&self.sampler.whole_budget()))),
            tried: tried.len(),
            all_tried,
            extremes: self.extremes(&found),
            values,
        })
    }

    fn values(&self, goal: &Goal) -> Option<Vec<ValueShare>> {
        let parts = &self.sampler.space.parts;
        let shares = shares(parts, goal)?;
        let value = |share: Share| {
            let Share { name, distribution, applies, values, mut when, .. } = share;
            when.retain(|(_, values)| !values.is_empty());
            let own = |index: usize| applies * distribution.probability(index as u64);
            let as_distributed = values.iter().enumerate().all(|(index, share)| (share - own(index)).abs() < 1e-9);
            ValueShare { name, shares: if as_distributed { Vec::new() } else { values }, distribution, applies, when }
        };
        // What belongs to values that constraints rule out is not there.
        let mut values: Vec<ValueShare> = shares.into_iter().filter(|share| share.applies > 0.0).map(value).collect();
        // A value that any value of another draw leads to does not depend on it.
        let counts: BTreeMap<String, u64> =
            values.iter().filter_map(|value| Some((value.name.clone(), value.distribution.count()?))).collect();
        for value in &mut values {
            value.when.retain(|(name, values)| counts.get(name) != Some(&(values.len() as u64)));
        }
        Some(values)
    }

    fn try_some(&self, combinations: &Combinations, all: bool, scale: &mut Scale) -> Result<Vec<Tried>, SpecError> {
        let number = if all { u64::try_from(&combinations.total).unwrap_or(0) } else { DRAWN };
        let mut chance = Chance::new(self.sampler.seed, "survey", 0);
        let index = |number: u64, chance: &mut Chance| match all {
            true => BigUint::from(number),
            false => random_below(&combinations.total, chance),
        };
        let draws = |number: u64, chance: &mut Chance| combinations.draws(index(number, chance));
        (0..number).map(|number| self.try_one(draws(number, &mut chance), number, all, scale)).collect()
    }

    fn try_one(&self, draws: Values, number: u64, with_spec: bool, scale: &mut Scale) -> Result<Tried, SpecError> {
        let draws: Map<String, Value> = draws.into_iter().collect();
        let weighed = self.sampler.weigh(&mut self.replay(&draws, number), scale);
        let weighed = weighed.map_err(|mistakes| self.sampler.space.source().error(mistakes))?;
        let spec = weighed.as_ref().filter(|_| with_spec).and_then(|weighed| match weighed.tree.to_json() {
            Value::Object(file) => Some(emit(&file)),
            _ => None,
        });
        Ok(Tried { number, draws, cost: weighed.map(|weighed| weighed.cost), spec })
    }

    /// Draws the combination `number` again: all that `draws` says, and settings at random.
    fn replay<'d>(&self, draws: &'d Map<String, Value>, number: u64) -> Replay<'d> {
        Replay::new(draws, &NOTHING, Chance::new(self.sampler.seed, "surveyed", number))
    }

    fn nothing_found(&self, tried: &[Tried]) -> SpecError {
        let space = self.sampler.space;
        let own = space.constraints.budget();
        let excess = |cost: &Cost| {
            let over = |cost: u64, most: Option<u64>| most.map_or(0.0, |most| cost as f64 / most.max(1) as f64);
            over(cost.params, own.max_params).max(over(cost.macs, own.max_macs))
        };
        let costs = tried.iter().filter_map(|tried| tried.cost);
        let cheapest = costs.min_by(|one, other| excess(one).total_cmp(&excess(other)));
        let broken = cheapest.and_then(|cost| space.constraints.broken_budget(&cost));
        let reason = broken.unwrap_or_else(|| {
            let none = Map::new();
            let mut replay = Replay::new(&none, &none, Chance::new(self.sampler.seed, "survey", 1));
            let help = match self.sampler.attempt(&mut replay, 0) {
                Attempt::Impossible(reason) => reason,
                _ => Diagnostic::new("some draws can stand, but none of those tried"),
            };
            Diagnostic { message: format!("no network of the space can stand: {}", help.message), ..help }
        });
        space.source().error(vec![reason])
    }

    /// An error for each option of a choice with which no network can stand.
    fn reject_impossible_options(&self, shares: &[Share], tried: &[Tried]) -> Result<(), SpecError> {
        let mut seen: BTreeSet<(&str, String)> = BTreeSet::new();
        for tried in tried.iter().filter(|tried| tried.cost.is_some()) {
            seen.extend(tried.draws.iter().map(|(name, value)| (name.as_str(), value.to_string())));
        }
        let mut diagnostics = Vec::new();
        for share in shares {
            for (index, span) in share.spans.iter().enumerate() {
                let value = share.distribution.value(index as u64);
                let impossible = share.values.get(index) == Some(&0.0);
                if impossible || seen.contains(&(share.name.as_str(), value.to_string())) {
                    continue;
                }
                if let Some(reason) = self.never_stands(share, &value) {
                    let text = PatternReader::shown(&value);
                    let message = format!("{}: {text} can never be chosen: {reason}", share.name);
                    diagnostics.push(Diagnostic::new(message).at(*span));
                }
            }
        }
        if diagnostics.is_empty() { Ok(()) } else { Err(self.sampler.space.source().error(diagnostics)) }
    }

    /// Why no network with this value can stand, if that is so of all that were drawn.
    fn never_stands(&self, share: &Share, value: &Value) -> Option<String> {
        let mut changed: Map<String, Value> =
            share.when.iter().map(|(name, values)| (name.clone(), values[0].clone())).collect();
        changed.insert(share.name.clone(), value.clone());
        let none = Map::new();
        let mut last = None;
        for number in 0..FORCED {
            let chance = Chance::new(self.sampler.seed, "forced", number);
            match self.sampler.attempt(&mut Replay::new(&none, &changed, chance), number) {
                Attempt::Drawn(..) => return None,
                Attempt::Impossible(reason) => last = Some(reason.message),
                Attempt::Invalid(mistakes) => last = mistakes.first().map(|mistake| mistake.message.clone()),
            }
        }
        last
    }
}

fn distinct(tried: &[Tried], budget: &Budget) -> usize {
    let fits = |tried: &&Tried| tried.cost.as_ref().is_some_and(|cost| budget.allows(cost));
    tried.iter().filter(fits).filter_map(|tried| tried.spec.as_ref()).collect::<BTreeSet<&String>>().len()
}

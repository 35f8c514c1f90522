//! NSGA-II.

use crate::{
    Candidate, History, NoCandidate, Param, Sampler, SamplerKind, SearchSpace, Trial,
    draws::Planned,
    pareto,
    sampler::{Attempts, FromSettings, chance_of},
    settings::{Settings, at_least},
    standing::{Evidence, best_first, informative},
};
use nasgen_modules::chance::Chance;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) const KIND: SamplerKind = SamplerKind::of::<Nsga2>(
    "nsga2",
    "NSGA-II: a genetic algorithm for several objectives; wants many trials, and workers do not disturb it",
);

/// Children tried before a random network is taken.
const CHILDREN: u64 = 200;

/// Parents are the best of all generations before, by rank of domination and crowding; two of them, each the
/// winner of a tournament, give each draw with equal chance, and a draw now and then is made anew (Deb et al.
/// 2002; probabilities as in Optuna 5's `NSGAIISampler`). A generation is `population_size` trials that ended,
/// by number. A draw that only one parent made comes from that one.
struct Nsga2 {
    seed: u64,
    settings: Nsga2Settings,
}

#[derive(Deserialize, Serialize)]
struct Nsga2Settings {
    /// Trials of a generation, and parents of the next.
    population_size: usize,
    /// How likely a child has two parents.
    crossover_prob: f64,
    /// How likely a draw comes from the second.
    swapping_prob: f64,
    /// How likely a draw is made anew; `null` is one over the number of draws.
    mutation_prob: Option<f64>,
}

impl Default for Nsga2Settings {
    fn default() -> Self {
        Self { population_size: 50, crossover_prob: 0.9, swapping_prob: 0.5, mutation_prob: None }
    }
}

impl Settings for Nsga2Settings {
    fn problem(&self) -> Option<String> {
        let named = [("crossover_prob", self.crossover_prob), ("swapping_prob", self.swapping_prob)];
        let probabilities = named.into_iter().chain(self.mutation_prob.map(|value| ("mutation_prob", value)));
        let outside = |(name, value): (&str, f64)| {
            (!(0.0..=1.0).contains(&value)).then(|| format!("`{name}` is {value}, wanted 0 to 1"))
        };
        at_least("population_size", self.population_size as f64, 2.0)
            .or_else(|| probabilities.into_iter().find_map(outside))
    }
}

impl FromSettings for Nsga2 {
    type Settings = Nsga2Settings;

    fn new(seed: u64, settings: Nsga2Settings) -> Self {
        Self { seed, settings }
    }
}

impl Sampler for Nsga2 {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut chance = chance_of(self.seed, number);
        let mut attempts = Attempts::new(history, number, space);
        let parents = parents(history, number, self.settings.population_size);
        if !parents.is_empty() {
            for _ in 0..CHILDREN {
                let plan = self.child(history, &parents, &mut chance);
                if let Some(child) = attempts.new_candidate(&mut Planned::new(plan, &mut chance))? {
                    return Ok(child);
                }
            }
        }
        attempts.random(chance)
    }
}

impl Nsga2 {
    /// The draws that a child of some of `parents` inherits.
    fn child<'a>(&self, history: History<'_>, parents: &[&'a Trial], chance: &mut Chance) -> Vec<(&'a str, Value)> {
        let settings = &self.settings;
        let mut inherited: Vec<&'a Param> = Vec::new();
        if chance.unit() < settings.crossover_prob && parents.len() > 1 {
            let first = tournament(history, parents, chance);
            let others: Vec<&Trial> = parents.iter().copied().filter(|trial| trial.number != first.number).collect();
            let second = tournament(history, &others, chance);
            for param in &first.params {
                let swapped = second.param(&param.name).filter(|_| chance.unit() < settings.swapping_prob);
                inherited.push(swapped.unwrap_or(param));
            }
            inherited.extend(second.params.iter().filter(|param| first.param(&param.name).is_none()));
        } else {
            inherited.extend(&parents[chance.below(parents.len() as u64) as usize].params);
        }
        let mutation = settings.mutation_prob.unwrap_or(1.0 / inherited.len().max(1) as f64);
        inherited.retain(|_| chance.unit() >= mutation);
        inherited.into_iter().map(|param| (param.name.as_str(), param.value.clone())).collect()
    }
}

/// One of two, the one that dominates the other.
fn tournament<'a>(history: History<'_>, trials: &[&'a Trial], chance: &mut Chance) -> &'a Trial {
    let mut any = || trials[chance.below(trials.len() as u64) as usize];
    let (one, other) = (any(), any());
    let (one_breaks, other_breaks) = (one.violation(), other.violation());
    let wins = if one_breaks > 0.0 || other_breaks > 0.0 {
        one_breaks < other_breaks
    } else {
        pareto::dominates(&history.losses(one), &history.losses(other))
    };
    if wins { one } else { other }
}

/// The parents of the generation that is being made; none for the first.
fn parents(history: History<'_>, number: u64, population_size: usize) -> Vec<&Trial> {
    let ended: Vec<&Trial> = informative(history, number)
        .into_iter()
        .filter(|trial| matches!(Evidence::of(trial), Some(Evidence::Complete | Evidence::Infeasible)))
        .filter(|trial| trial.values.len() == history.objectives.len())
        .collect();
    let mut parents: Vec<&Trial> = Vec::new();
    for generation in ended.chunks_exact(population_size) {
        parents.extend(generation);
        parents = best_first(history, &parents, population_size);
    }
    parents
}

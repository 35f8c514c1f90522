//! Regularised evolution.

use crate::{
    Candidate, History, NoCandidate, Sampler, SamplerKind, SearchSpace,
    draws::{Planned, editable},
    sampler::{Attempts, FromSettings, chance_of},
    settings::{Settings, at_least},
    standing::{best_first, ended_and_running},
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: SamplerKind = SamplerKind::of::<Evolution>(
    "evolution",
    "regularised evolution: changes one draw of a good recent network; cheap, and robust on large spaces",
);

/// Edits tried before a random network is taken.
const EDITS: u64 = 200;

/// Of the newest networks a few are drawn, and the best of them is changed in one draw; the oldest dies (Real et
/// al. 2019, arXiv:1802.01548). The paper has a population of 100 and draws 25; with the few hundred trainings of
/// one machine a small population learns sooner.
struct Evolution {
    seed: u64,
    settings: EvolutionSettings,
}

#[derive(Deserialize, Serialize)]
struct EvolutionSettings {
    /// Networks that may be parents: the newest that ended. As many are random at first.
    population_size: usize,
    /// How many of them compete to be the parent.
    sample_size: usize,
}

impl Default for EvolutionSettings {
    fn default() -> Self {
        Self { population_size: 20, sample_size: 5 }
    }
}

impl Settings for EvolutionSettings {
    fn problem(&self) -> Option<String> {
        at_least("population_size", self.population_size as f64, 2.0)
            .or_else(|| at_least("sample_size", self.sample_size as f64, 1.0))
    }
}

impl FromSettings for Evolution {
    type Settings = EvolutionSettings;

    fn new(seed: u64, settings: EvolutionSettings) -> Self {
        Self { seed, settings }
    }
}

impl Sampler for Evolution {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut chance = chance_of(self.seed, number);
        let mut attempts = Attempts::new(history, number, space);
        let (ended, _) = ended_and_running(history, number);
        if ended.len() < self.settings.population_size {
            return attempts.random(chance);
        }
        let newest = &ended[ended.len() - self.settings.population_size..];
        // The best of a sample without repeats is the first of the sample in this order.
        let population = best_first(history, newest, newest.len());
        let mut places: Vec<usize> = (0..population.len()).collect();
        for _ in 0..EDITS {
            chance.shuffle(&mut places);
            let sampled = &places[..self.settings.sample_size.min(places.len())];
            let parent = population[sampled.iter().copied().min().unwrap_or(0)];
            let edits = editable(&parent.params);
            if edits.is_empty() {
                break;
            }
            let changed = edits[chance.below(edits.len() as u64) as usize];
            if let Some(child) = attempts.new_candidate(&mut Planned::edit(&parent.params, changed, &mut chance))? {
                return Ok(child);
            }
        }
        attempts.random(chance)
    }
}

//! Local search.

use crate::{
    Candidate, History, NoCandidate, Sampler, SamplerKind, SearchSpace,
    draws::{Planned, editable},
    sampler::{Attempts, FromSettings, chance_of},
    settings::{Settings, at_least},
    standing::{best_first, ended_and_running},
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: SamplerKind = SamplerKind::of::<Local>(
    "local",
    "local search: the untried neighbours of the best network, then of the next; strong on small spaces",
);

/// Networks whose neighbours are tried before a random one is taken.
const PARENTS: usize = 50;

/// After a few random networks, one edit of the best that has untried neighbours (White et al. 2021,
/// arXiv:2005.02960; instead of a restart it goes on with the next best). Of several objectives the members of
/// the front are the best, the loneliest first.
struct Local {
    seed: u64,
    settings: LocalSettings,
}

#[derive(Deserialize, Serialize)]
struct LocalSettings {
    /// Random networks at first.
    n_startup_trials: usize,
    /// How many edits of a network are drawn, for each draw that it has, before all its neighbours are taken
    /// for tried.
    edits_per_draw: usize,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self { n_startup_trials: 10, edits_per_draw: 10 }
    }
}

impl Settings for LocalSettings {
    fn problem(&self) -> Option<String> {
        at_least("n_startup_trials", self.n_startup_trials as f64, 1.0)
            .or_else(|| at_least("edits_per_draw", self.edits_per_draw as f64, 1.0))
    }
}

impl FromSettings for Local {
    type Settings = LocalSettings;

    fn new(seed: u64, settings: LocalSettings) -> Self {
        Self { seed, settings }
    }
}

impl Sampler for Local {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut chance = chance_of(self.seed, number);
        let mut attempts = Attempts::new(history, number, space);
        let (ended, _) = ended_and_running(history, number);
        if ended.len() < self.settings.n_startup_trials {
            return attempts.random(chance);
        }
        for parent in best_first(history, &ended, PARENTS) {
            let edits = editable(&parent.params);
            for _ in 0..edits.len() * self.settings.edits_per_draw {
                let changed = edits[chance.below(edits.len() as u64) as usize];
                let mut edit = Planned::edit(&parent.params, changed, &mut chance);
                if let Some(neighbour) = attempts.new_candidate(&mut edit)? {
                    return Ok(neighbour);
                }
            }
        }
        attempts.random(chance)
    }
}

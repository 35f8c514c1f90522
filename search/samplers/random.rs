//! Draws that learn nothing.

use crate::{
    Candidate, History, NoCandidate, Sampler, SamplerKind, SearchSpace,
    sampler::{Attempts, FromSettings, chance_of},
    settings::Settings,
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: SamplerKind =
    SamplerKind::of::<Random>("random", "each network as likely: the measure of all others, and good in parallel");

/// Draws from the space as `nasgen sample` does, but nothing twice.
struct Random {
    seed: u64,
}

/// None.
#[derive(Default, Deserialize, Serialize)]
struct NoSettings {}

impl Settings for NoSettings {}

impl FromSettings for Random {
    type Settings = NoSettings;

    fn new(seed: u64, _settings: NoSettings) -> Self {
        Self { seed }
    }
}

impl Sampler for Random {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        Attempts::new(history, number, space).random(chance_of(self.seed, number))
    }
}

//! Which network to train next, and which training to stop.
//!
//! Everything here is arithmetic on what is known of a study: no training, no storage, no clock. A [`Sampler`]
//! reads the [`History`] and gives the next [`Candidate`] of a [`SearchSpace`]; a [`Pruner`] reads it and says
//! which trials to stop, to set aside and to take up again. Random numbers of trial n are a function of the
//! study's seed and n, never of the worker, so that a search repeats.

mod draws;
mod encoding;
#[cfg(test)]
mod fixtures;
mod gain;
mod history;
mod importance;
mod normal;
mod objective;
pub mod pareto;
mod parzen;
mod pruner;
mod random;
mod rungs;
mod sampler;
mod settings;
mod space;
mod standing;
mod surrogate;
mod trial;

pub use history::History;
pub use importance::importances;
pub use objective::{Direction, Objective};
pub use pruner::{Pruner, PrunerKind, Verdict, pruner, pruners};
pub use random::{RandomDraw, random_value, weighted_index};
pub use sampler::{MAX_ATTEMPTS, NoCandidate, Sampler, SamplerKind, sampler, samplers};
pub use settings::SettingError;
pub use space::{Candidate, Rejection, SearchSpace};
pub use trial::{Attributes, Param, State, Trial};

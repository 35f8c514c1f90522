//! Which network to train next, and which training to stop.
//!
//! Everything here is arithmetic on what is known of a study: no training, no storage, no clock. A [`Sampler`]
//! reads the [`History`] and gives the next [`Candidate`] of a [`SearchSpace`]; a [`Pruner`] reads it and says
//! which trials to stop, to set aside and to take up again. Random numbers of trial n are a function of the
//! study's seed and n, never of the worker, so that a search repeats.

mod history;
mod objective;
mod pruner;
mod random;
mod sampler;
mod space;
mod trial;

pub use history::History;
pub use objective::{Direction, Objective};
pub use pruner::{Pruner, Verdict};
pub use random::{RandomDraw, random_value, weighted_index};
pub use sampler::{NoCandidate, Sampler};
pub use space::{Candidate, Rejection, SearchSpace};
pub use trial::{Attributes, Param, State, Trial};

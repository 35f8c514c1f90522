//! A search: which networks a study trains, in which order, and what becomes of them.
//!
//! Training is behind a trait; so is the storage of the study.

mod identity;
mod space;

pub use identity::{hash, network_identity};
pub use space::{EffectiveSettings, Limits, MeasureLatency, Model, ModelSpace, Proposal};

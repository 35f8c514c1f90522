//! A search: which networks a study trains, in which order, and what becomes of them.
//!
//! A [`Driver`] is what every worker of a process runs: it takes work from the study's storage, gives it to a
//! [`Scorer`], passes reports to the pruner and writes down what came of it. Training is behind that trait: here
//! nobody knows how a candidate is scored. [`ModelSpace`] is a [`Space`](crate::space::Space) as samplers see it.

pub mod attributes;
mod checkpoints;
mod driver;
mod evaluator;
mod finale;
mod heart;
mod identity;
mod objectives;
mod proposals;
mod reuse;
mod sameness;
mod scorer;
mod space;
mod view;

pub use checkpoints::{Keep, by_value, ranking, taken_over, trial_folder};
pub use driver::{Driver, End, Event, SearchError, Shared, Watcher};
pub use evaluator::{Evaluator, WriteModule};
pub use finale::{Extent, Finalist, Outcome, SIGNIFICANCE, finalists};
pub use heart::Heart;
pub use identity::{hash, network_identity};
pub use objectives::{objectives_text, parse_objectives, parse_until};
pub use proposals::{Proposals, Retraining, Sampled};
pub use sameness::{Difference, differences, is_wider};
pub use scorer::{Assignment, Audience, Ending, Fault, FaultKind, Order, Score, Scorer};
pub use space::{EffectiveSettings, Limits, MeasureLatency, Model, ModelSpace, Proposal, Tally};
/// What trainings are measured by, and searches may make better: values on the validation images.
pub const METRICS: [&str; 3] = ["accuracy", "macro_f1", "loss"];

pub use view::{trials_seen, view};

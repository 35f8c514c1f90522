//! Which network to train next, and which training to stop.
//!
//! Everything here is arithmetic on what is known of a study: no training, no storage, no clock. A [`Sampler`]
//! reads the [`History`] and gives the next [`Candidate`] of a [`SearchSpace`]; a [`Pruner`] reads it and says
//! which trials to stop, to set aside and to take up again. Random numbers of trial n are a function of the
//! study's seed and n, never of the worker, so that a search repeats.
//!
//! No sampler gives a network that costs more than allowed, or one that a trial has already. Each is a file in
//! `samplers/` with its settings; [`samplers`] lists them with their defaults.
//!
//! | sampler | what it is | good for |
//! |---|---|---|
//! | `auto` | Gaussian process over draws and costs, expected growth of the dominated volume with exact costs | networks, up to some thousand trials: the default |
//! | `tpe` | tree-structured Parzen estimator, as Optuna 5.0 (Bergstra et al. 2011; multivariate, `group`) | many numbers such as learning rates; with `hyperband`, BOHB |
//! | `evolution` | regularised evolution (Real et al. 2019), population 20, sample 5 | large spaces and many trials, cheap |
//! | `local` | local search from the best (White et al. 2021) | small spaces |
//! | `nsga2` | NSGA-II (Deb et al. 2002), population 50, probabilities as Optuna 5.0 | several objectives, many workers |
//! | `random` | as `nasgen sample` draws | a measure for the others |
//! | `grid` | everything in turn | a few values |
//!
//! Pruners are files in `pruners/`; [`pruners`] lists them. Steps are counted from 1.
//!
//! | pruner | what it is | good for |
//! |---|---|---|
//! | `asha` | asynchronous successive halving with promotion (Li et al. 2020), rungs 4 apart | the most networks in a given time |
//! | `hyperband` | ladders from early to no stopping (Li et al. 2018), brackets as Optuna 5.0 | networks that start slowly |
//! | `median` | worse than the median of complete trials at that step, as Optuna 5.0 | few trials |
//! | `threshold` | a report out of bounds, as Optuna 5.0 | values that cannot recover |
//! | `patient` | another pruner, only for what stopped improving, as Optuna 5.0 | noisy curves; alone early stopping |
//! | `none` | everything runs to its end | |

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

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_name_every_sampler_and_pruner() {
        let text = include_str!("lib.rs");
        let names = super::samplers().iter().map(|kind| kind.name).chain(super::pruners().iter().map(|kind| kind.name));
        for name in names {
            assert!(text.contains(&format!("//! | `{name}` |")), "{name} is not in the tables");
        }
    }
}

//! What is known of a study when a question is asked.

use crate::{Objective, State, Trial};

/// All trials of a study by number, and what they are judged by.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The study's name: Hyperband's brackets follow from it.
    pub study: &'a str,
    /// In the order of [`Trial::values`]; at least one.
    pub objectives: &'a [Objective],
    /// By number, rising.
    pub trials: &'a [Trial],
}

impl<'a> History<'a> {
    /// Trials in one of `states`.
    pub fn in_states(self, states: &'a [State]) -> impl Iterator<Item = &'a Trial> {
        self.trials.iter().filter(|trial| states.contains(&trial.state))
    }

    /// Trials that have their values.
    pub fn complete(self) -> impl Iterator<Item = &'a Trial> {
        self.in_states(&[State::Complete])
    }

    /// The values of a trial that has them, so that less is better.
    pub fn losses(self, trial: &Trial) -> Vec<f64> {
        self.objectives.iter().zip(&trial.values).map(|(own, value)| own.direction.to_minimize(*value)).collect()
    }
}

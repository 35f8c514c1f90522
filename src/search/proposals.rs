//! Where a study's trials come from.

use super::{
    identity::hash,
    space::{ModelSpace, Proposal},
};
use crate::{chance::Chance, spec::SourceText};
use nasgen_modules::Distribution;
use nasgen_search::{History, NoCandidate, Objective, Param, Rejection, Sampler, Trial};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Gives a study its trials. The same questions have the same answers, whoever asks.
pub trait Proposals: Sync {
    /// What a trial has values of.
    fn objectives(&self) -> &[Objective];

    /// Whether a trial could be begun now, for all that is known of it: limits may have become narrower since.
    fn allows(&self, _: &Trial) -> bool {
        true
    }

    /// What trial `number` should be.
    ///
    /// # Errors
    /// When there is nothing for it.
    fn next(&self, history: History<'_>, number: u64) -> Result<Proposal, NoCandidate>;

    /// What a trial with these draws is; values that are missing are drawn.
    ///
    /// # Errors
    /// When it may not be trained.
    fn again(&self, draws: &Map<String, Value>, number: u64) -> Result<Proposal, Rejection>;

    /// What a spec of the user's is.
    ///
    /// # Errors
    /// When it may not be trained.
    fn given(&self, text: &str) -> Result<Proposal, Rejection>;
}

/// Draws from a space by a sampler.
pub struct Sampled<'a> {
    /// What is drawn from.
    pub space: &'a ModelSpace<'a>,
    /// What decides.
    pub sampler: &'a dyn Sampler,
    /// Decides what a queued trial's missing values are.
    pub seed: u64,
    /// Whether the space was widened since the first trials: then they are seen as if drawn from the wider one.
    pub extended: bool,
}

impl Proposals for Sampled<'_> {
    fn objectives(&self) -> &[Objective] {
        self.space.objectives
    }

    fn allows(&self, trial: &Trial) -> bool {
        self.space.limits.keep(trial)
    }

    fn next(&self, history: History<'_>, number: u64) -> Result<Proposal, NoCandidate> {
        let widened = if self.extended { as_of_the_widest(history.trials) } else { Vec::new() };
        let history = if self.extended { History { trials: &widened, ..history } } else { history };
        let candidate = self.sampler.suggest(history, number, self.space)?;
        let draws = candidate.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
        let again = self.again(&draws, number);
        again.map_err(|rejection| NoCandidate::Invalid(format!("a draw cannot be repeated: {rejection:?}")))
    }

    fn again(&self, draws: &Map<String, Value>, number: u64) -> Result<Proposal, Rejection> {
        self.space.propose_again(draws, Chance::new(self.seed, "queued", number))
    }

    fn given(&self, text: &str) -> Result<Proposal, Rejection> {
        self.space.given(&SourceText { name: "the queued spec".into(), text: text.to_owned() })
    }
}

/// The trials with each param's distribution the one that the last trial had, where it holds the value.
fn as_of_the_widest(trials: &[Trial]) -> Vec<Trial> {
    let params = trials.iter().rev().flat_map(|trial| &trial.params);
    let mut widest: BTreeMap<&str, &Distribution> = BTreeMap::new();
    for param in params {
        widest.entry(&param.name).or_insert(&param.distribution);
    }
    let mut seen = trials.to_vec();
    for param in seen.iter_mut().flat_map(|trial| &mut trial.params) {
        if let Some(wide) = widest.get(param.name.as_str()).filter(|wide| wide.index_of(&param.value).is_some()) {
            param.distribution = (*wide).clone();
        }
    }
    seen
}

/// Trains what a study found best once more, with other seeds: each finalist with the first seed, then each with
/// the second.
pub struct Retraining<'a> {
    /// Numbers of trials with what they were, the best first.
    pub finalists: Vec<(u64, Proposal)>,
    /// How often each is trained.
    pub seeds: u64,
    /// The seed of the study; the first one here is the next.
    pub seed: u64,
    /// The one that decides, alone.
    pub objective: &'a [Objective],
}

impl Retraining<'_> {
    /// Trials that there are in all.
    pub fn len(&self) -> u64 {
        self.finalists.len() as u64 * self.seeds
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which finalist, by its place, trial `number` trains.
    pub fn finalist(&self, number: u64) -> usize {
        number as usize % self.finalists.len()
    }

    /// The seed that trial `number` trains with.
    pub fn seed_of(&self, number: u64) -> u64 {
        self.seed + 1 + number / self.finalists.len() as u64
    }

    fn proposal(&self, place: usize, seed: u64) -> Proposal {
        let (number, mut proposal) = self.finalists[place].clone();
        if let Some(model) = &mut proposal.model {
            model.settings.seed = seed;
        }
        let param = |name: &str, value: u64, high: u64| Param {
            name: name.to_owned(),
            distribution: Distribution::Int { low: 0, high: high as i64, step: 1, log: false },
            value: json!(value),
        };
        let last = self.finalists.iter().map(|(number, _)| *number).max().unwrap_or(0);
        proposal.candidate.params = vec![param("trial", number, last), param("seed", seed, self.seed + self.seeds)];
        proposal.candidate.known = vec![None];
        proposal.candidate.identity = hash(&format!("{} {seed}", proposal.candidate.identity));
        proposal
    }
}

impl Proposals for Retraining<'_> {
    fn objectives(&self) -> &[Objective] {
        self.objective
    }

    fn next(&self, _: History<'_>, number: u64) -> Result<Proposal, NoCandidate> {
        if number >= self.len() {
            return Err(NoCandidate::Exhausted);
        }
        Ok(self.proposal(self.finalist(number), self.seed_of(number)))
    }

    fn again(&self, draws: &Map<String, Value>, _: u64) -> Result<Proposal, Rejection> {
        let value = |name: &str| draws.get(name).and_then(Value::as_u64);
        let place = self.finalists.iter().position(|(number, _)| Some(*number) == value("trial"));
        match (place, value("seed")) {
            (Some(place), Some(seed)) => Ok(self.proposal(place, seed)),
            _ => Err(Rejection::Impossible("no finalist of the study".into())),
        }
    }

    fn given(&self, _: &str) -> Result<Proposal, Rejection> {
        Err(Rejection::Impossible("only finalists are trained here".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_search::{Attributes, State};

    #[test]
    fn trials_of_a_narrower_space_are_seen_as_of_the_wider_one() {
        let int = |high| Distribution::Int { low: 8, high, step: 8, log: false };
        let trial = |number, distribution: Distribution, value: i64| Trial {
            number,
            state: State::Complete,
            paused: false,
            params: vec![Param { name: "width".into(), distribution, value: json!(value) }],
            values: vec![0.5],
            reports: Vec::new(),
            user: Attributes::new(),
            system: Attributes::new(),
            started: None,
            finished: None,
        };
        let seen = as_of_the_widest(&[trial(0, int(32), 16), trial(1, int(64), 64)]);
        assert!(seen.iter().all(|trial| trial.params[0].distribution == int(64)), "{seen:?}");
        assert_eq!(seen[0].params[0].value, json!(16));
    }
}

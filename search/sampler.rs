//! Who chooses the next trial.

use crate::{
    Candidate, History, RandomDraw, Rejection, SearchSpace, SettingError, Trial,
    settings::{self, Settings},
};
use nasgen_modules::{Draw, chance::Chance, nearest};
use serde_json::{Map, Value};
use std::{collections::HashSet, fmt};

/// Random draws before a space or a budget is called infeasible, or everything in it tried.
pub const MAX_ATTEMPTS: u64 = 10_000;

/// Why there is no next trial.
#[derive(Clone, Debug, PartialEq)]
pub enum NoCandidate {
    /// Everything in the space was tried (grid, or a space that is small).
    Exhausted,
    /// No draw of many was one that may be trained.
    Infeasible {
        /// Draws made.
        attempts: u64,
        /// Why the last, or the nearest to the budget, was refused.
        reason: String,
    },
    /// The space itself is wrong.
    Invalid(String),
}

impl fmt::Display for NoCandidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => write!(formatter, "everything in the space was tried"),
            Self::Infeasible { attempts, reason } => {
                write!(formatter, "none of {attempts} draws may be trained; the nearest one: {reason}")
            }
            Self::Invalid(problem) => write!(formatter, "the space is wrong: {problem}"),
        }
    }
}

impl std::error::Error for NoCandidate {}

/// Chooses the next trial. What it says follows from its settings, the seed in them, the history and the
/// number alone.
pub trait Sampler: Send + Sync {
    /// The candidate for trial `number`: one that may be trained, and none whose identity is that of a trial.
    /// A row of that number in the history is left out of account.
    ///
    /// # Errors
    /// When there is none.
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate>;
}

/// A sampler that can be named.
#[derive(Clone, Copy, Debug)]
pub struct SamplerKind {
    /// What users call it.
    pub name: &'static str,
    /// One line: what it does and what it is good for.
    pub summary: &'static str,
    /// Every setting with its default, in order.
    pub defaults: fn() -> Map<String, Value>,
    make: fn(&str, u64, &Map<String, Value>) -> Result<Box<dyn Sampler>, SettingError>,
}

/// How a sampler is made of its settings and a seed.
pub(crate) trait FromSettings: Sampler + Sized + 'static {
    type Settings: Settings;

    fn new(seed: u64, settings: Self::Settings) -> Self;
}

impl SamplerKind {
    /// The kind whose samplers are `S`.
    pub(crate) const fn of<S: FromSettings>(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            defaults: settings::defaults::<S::Settings>,
            make: |name, seed, given| Ok(Box::new(S::new(seed, settings::read::<S::Settings>(name, given)?))),
        }
    }

    /// A sampler of this kind; `given` stands in the place of defaults.
    ///
    /// # Errors
    /// When a setting is unknown or out of its range.
    pub fn sampler(&self, seed: u64, given: &Map<String, Value>) -> Result<Box<dyn Sampler>, SettingError> {
        (self.make)(self.name, seed, given)
    }
}

mod kinds {
    include!(concat!(env!("OUT_DIR"), "/samplers.rs"));
}

/// Every sampler, by name.
pub fn samplers() -> &'static [SamplerKind] {
    kinds::KINDS
}

/// The sampler called `name`.
///
/// # Errors
/// When there is none of that name, or the settings cannot be used.
pub fn sampler(name: &str, seed: u64, given: &Map<String, Value>) -> Result<Box<dyn Sampler>, SettingError> {
    let names = || samplers().iter().map(|kind| kind.name);
    let Some(kind) = samplers().iter().find(|kind| kind.name == name) else {
        return Err(unknown("sampler", name, names()));
    };
    kind.sampler(seed, given)
}

/// No `what` is called `name`.
pub(crate) fn unknown(what: &str, name: &str, names: impl Iterator<Item = &'static str> + Clone) -> SettingError {
    let suggestion = match nearest(name, names.clone()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    let names: Vec<&str> = names.collect();
    SettingError(format!("there is no {what} `{name}`{suggestion} There are {}", names.join(", ")))
}

/// The random numbers of trial `number`.
pub(crate) fn chance_of(seed: u64, number: u64) -> Chance {
    Chance::new(seed, "suggest", number)
}

/// Tries draws until one may be trained and was not, and counts what was refused.
pub(crate) struct Attempts<'a> {
    space: &'a dyn SearchSpace,
    seen: Seen<'a>,
    made: u64,
    repeated: u64,
    nearest: Option<(f64, String)>,
}

impl<'a> Attempts<'a> {
    /// For trial `number` of the study.
    pub(crate) fn new(history: History<'a>, number: u64, space: &'a dyn SearchSpace) -> Self {
        Self { space, seen: Seen::of(history, number), made: 0, repeated: 0, nearest: None }
    }

    /// What comes of one draw, if it is new.
    pub(crate) fn new_candidate(&mut self, draw: &mut dyn Draw) -> Result<Option<Candidate>, NoCandidate> {
        self.made += 1;
        let (excess, reason) = match self.space.candidate(draw) {
            Ok(candidate) if self.seen.contains(&candidate) => {
                self.repeated += 1;
                return Ok(None);
            }
            Ok(candidate) => return Ok(Some(candidate)),
            Err(Rejection::Invalid(problem)) => return Err(NoCandidate::Invalid(problem)),
            Err(Rejection::Impossible(reason)) => (f64::INFINITY, reason),
            Err(Rejection::OverBudget { reason, excess }) => (excess, reason),
        };
        if self.nearest.as_ref().is_none_or(|(nearest, _)| excess < *nearest) {
            self.nearest = Some((excess, reason));
        }
        Ok(None)
    }

    /// The first new one of random draws.
    pub(crate) fn random(mut self, chance: Chance) -> Result<Candidate, NoCandidate> {
        let mut draw = RandomDraw::new(chance);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(candidate) = self.new_candidate(&mut draw)? {
                return Ok(candidate);
            }
        }
        Err(self.failure())
    }

    /// Why none of the draws was one.
    pub(crate) fn failure(self) -> NoCandidate {
        match self.nearest {
            Some((_, reason)) if self.repeated == 0 => NoCandidate::Infeasible { attempts: self.made, reason },
            _ => NoCandidate::Exhausted,
        }
    }
}

/// What the trials of a study are.
struct Seen<'a> {
    identities: HashSet<&'a str>,
    /// Of trials without a known identity, as other programs add them: their draws.
    draws: HashSet<String>,
}

impl<'a> Seen<'a> {
    fn of(history: History<'a>, number: u64) -> Self {
        let mut seen = Self { identities: HashSet::new(), draws: HashSet::new() };
        for trial in history.trials.iter().filter(|trial| trial.number != number) {
            match trial.identity() {
                Some(identity) => drop(seen.identities.insert(identity)),
                None => drop(seen.draws.insert(draws_of(trial))),
            }
        }
        seen
    }

    fn contains(&self, candidate: &Candidate) -> bool {
        let same_draws = || !self.draws.is_empty() && self.draws.contains(&text_of(&candidate.params));
        self.identities.contains(candidate.identity.as_str()) || same_draws()
    }
}

fn draws_of(trial: &Trial) -> String {
    text_of(&trial.params)
}

/// All draws in the order of their names.
fn text_of(params: &[crate::Param]) -> String {
    let mut draws: Vec<String> = params.iter().map(|param| format!("{}={}", param.name, param.value)).collect();
    draws.sort_unstable();
    draws.join("\n")
}

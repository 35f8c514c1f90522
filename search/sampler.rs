//! Who chooses the next trial.

use crate::{
    Candidate, History, Rejection, SearchSpace, SettingError, Trial,
    draws::{Planned, Varied},
    settings::{self, Settings},
};
use nasgen_modules::{Draw, chance::Chance, nearest};
use serde_json::{Map, Value};
use std::{collections::HashSet, fmt};

/// Random draws before a space or a budget is called infeasible, or everything in it tried.
pub const MAX_ATTEMPTS: u64 = 10_000;

/// Steps towards a budget that hardly any random draw keeps.
const MAX_STEPS: u64 = 5_000;

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
    /// The search was ended before one was found.
    Stopped,
}

impl fmt::Display for NoCandidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => write!(formatter, "everything in the space was tried"),
            Self::Infeasible { attempts, reason } => {
                write!(formatter, "none of {attempts} draws may be trained; the nearest one: {reason}")
            }
            Self::Invalid(problem) => write!(formatter, "the space is wrong: {problem}"),
            Self::Stopped => write!(formatter, "the search was ended"),
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

/// Makes a sampler of its name, a seed and settings.
type Make = fn(&str, u64, &Map<String, Value>) -> Result<Box<dyn Sampler>, SettingError>;

/// A sampler that can be named.
#[derive(Clone, Copy, Debug)]
pub struct SamplerKind {
    /// What users call it.
    pub name: &'static str,
    /// One line: what it does and what it is good for.
    pub summary: &'static str,
    /// Every setting with its default, in order.
    pub defaults: fn() -> Map<String, Value>,
    make: Make,
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
    history: History<'a>,
    number: u64,
    space: &'a dyn SearchSpace,
    seen: Seen<'a>,
    made: u64,
    repeated: u64,
    over_budget: bool,
    nearest: Option<(f64, String)>,
}

/// What came of one draw.
enum Came {
    New(Candidate),
    Repeated,
    /// By how much it is over the budget; infinite where it cannot stand.
    Refused(f64),
}

impl<'a> Attempts<'a> {
    /// For trial `number` of the study.
    pub(crate) fn new(history: History<'a>, number: u64, space: &'a dyn SearchSpace) -> Self {
        let seen = Seen::of(history, number);
        Self { history, number, space, seen, made: 0, repeated: 0, over_budget: false, nearest: None }
    }

    /// What comes of one draw, if it is new.
    pub(crate) fn new_candidate(&mut self, draw: &mut dyn Draw) -> Result<Option<Candidate>, NoCandidate> {
        Ok(match self.try_one(draw)? {
            Came::New(candidate) => Some(candidate),
            Came::Repeated | Came::Refused(_) => None,
        })
    }

    fn try_one(&mut self, draw: &mut dyn Draw) -> Result<Came, NoCandidate> {
        self.made += 1;
        let (excess, reason) = match self.space.candidate(draw) {
            Ok(candidate) if self.seen.contains(&candidate) => {
                self.repeated += 1;
                return Ok(Came::Repeated);
            }
            Ok(candidate) => return Ok(Came::New(candidate)),
            Err(Rejection::Invalid(problem)) => return Err(NoCandidate::Invalid(problem)),
            Err(Rejection::Stopped) => return Err(NoCandidate::Stopped),
            Err(Rejection::Impossible(reason)) => (f64::INFINITY, reason),
            Err(Rejection::OverBudget { reason, excess }) => {
                self.over_budget = true;
                (excess, reason)
            }
        };
        if self.nearest.as_ref().is_none_or(|(nearest, _)| excess < *nearest) {
            self.nearest = Some((excess, reason));
        }
        Ok(Came::Refused(excess))
    }

    /// The first new one of random draws; where a budget refuses them, of draws that approach it step by step.
    pub(crate) fn random(mut self, mut chance: Chance) -> Result<Candidate, NoCandidate> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(candidate) = self.new_candidate(&mut Planned::new([], &mut chance))? {
                return Ok(candidate);
            }
        }
        if self.over_budget
            && let Some(candidate) = self.descend(&mut chance)?
        {
            return Ok(candidate);
        }
        Err(self.failure())
    }

    /// Changes few draws at a time and keeps what is no farther over the budget, from a trial if one is known:
    /// finds what fits where hardly any random draw does.
    fn descend(&mut self, chance: &mut Chance) -> Result<Option<Candidate>, NoCandidate> {
        let mut at = self.known(chance).map(|draws| (1.0, draws));
        for _ in 0..MAX_STEPS {
            let nothing = Map::new();
            let from = at.as_ref().map_or(&nothing, |(_, draws)| draws);
            let mut draw = Varied::new(from, chance);
            let excess = match self.try_one(&mut draw)? {
                Came::New(candidate) => return Ok(Some(candidate)),
                Came::Repeated => 1.0,
                Came::Refused(excess) if excess.is_finite() => excess,
                Came::Refused(_) => continue,
            };
            if at.as_ref().is_none_or(|(before, _)| excess <= *before) {
                at = Some((excess, draw.gave));
            }
        }
        Ok(None)
    }

    /// The draws of one of the trials: what was begun fits.
    fn known(&self, chance: &mut Chance) -> Option<Map<String, Value>> {
        let drawn = |trial: &&Trial| trial.number != self.number && !trial.params.is_empty();
        let trials: Vec<&Trial> = self.history.trials.iter().filter(drawn).collect();
        let trial = trials.get(chance.below(trials.len().max(1) as u64) as usize)?;
        Some(trial.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Objective, Param, RandomDraw, State, fixtures::empty_trial};
    use nasgen_modules::Distribution;
    use serde_json::json;
    use std::{collections::BTreeSet, io::Write};

    /// A space like those of networks: what is drawn depends on what was, some values are ruled out, and some
    /// networks cost too much.
    struct Toy {
        limit: f64,
        objectives: Vec<Objective>,
    }

    impl Toy {
        fn new(names: &[(&str, Direction, bool)], limit: f64) -> Self {
            let objective = |(name, direction, known): &(&str, Direction, bool)| Objective {
                name: (*name).to_owned(),
                direction: *direction,
                known: *known,
            };
            Self { limit, objectives: names.iter().map(objective).collect() }
        }

        fn accuracy(limit: f64) -> Self {
            Self::new(&[("accuracy", Direction::Maximize, false)], limit)
        }

        fn with_costs(limit: f64) -> Self {
            Self::new(&[("accuracy", Direction::Maximize, false), ("params", Direction::Minimize, true)], limit)
        }

        fn train(&self, number: u64, candidate: &Candidate) -> Trial {
            let of = |name: &str| candidate.params.iter().find(|param| param.name.ends_with(name));
            let number_of = |name: &str| of(name).and_then(|param| param.value.as_f64()).unwrap_or(0.0);
            let block = |name: &str| f64::from(u8::from(of("nc").is_some_and(|param| param.value == name)));
            let accuracy =
                block("Conv") + 0.1 * number_of("n") + 0.02 * number_of("out") - number_of("lr").log10().abs();
            let values = self.objectives.iter().zip(&candidate.known).map(|(objective, known)| {
                known.unwrap_or(if objective.name == "accuracy" { accuracy } else { -accuracy * accuracy })
            });
            let mut trial = empty_trial(number, State::Complete);
            trial.values = values.collect();
            trial.system = candidate.attributes();
            trial.params = candidate.params.clone();
            trial
        }

        fn history<'a>(&'a self, trials: &'a [Trial]) -> History<'a> {
            History { study: "toy", objectives: &self.objectives, trials }
        }
    }

    impl SearchSpace for Toy {
        fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
            let mut params = Vec::new();
            let mut ask = |name: String, distribution: Distribution, factors: Option<&[f64]>| {
                let value =
                    draw.draw_among(&name, &distribution, factors).map_err(|e| Rejection::Invalid(format!("{e:?}")))?;
                let index =
                    distribution.index_of(&value).ok_or_else(|| Rejection::Invalid(format!("{name}: {value}")))?;
                if factors.is_some_and(|factors| factors[index as usize] == 0.0) {
                    return Err(Rejection::Invalid(format!("{name}: {value} is ruled out")));
                }
                params.push(Param { name, distribution, value: value.clone() });
                Ok(value)
            };
            let choice = |values: &[&str]| Distribution::Choice(values.iter().map(|value| json!(value)).collect());
            let mut cost = 1.0;
            let mut before = String::new();
            ask("lr".into(), Distribution::Float { low: 1e-4, high: 1e-1, step: None, log: true }, None)?;
            for stage in 1..=3 {
                // No stage repeats the one before.
                let blocks = ["Conv", "DWConv", "MBConv"];
                let factors = blocks.map(|block| f64::from(u8::from(block != before)));
                let block = ask(format!("s{stage}.nc"), choice(&blocks), Some(&factors))?;
                before = block.as_str().unwrap().to_owned();
                let n = ask(format!("s{stage}.n"), Distribution::Int { low: 1, high: 5, step: 1, log: false }, None)?;
                let out = Distribution::Int { low: 8, high: 64, step: 8, log: false };
                let out = ask(format!("s{stage}.nc.{before}.out"), out, None)?;
                let factor = match before.as_str() {
                    "MBConv" => {
                        let expansion = Distribution::Int { low: 1, high: 6, step: 1, log: true };
                        ask(format!("s{stage}.nc.MBConv.expansion"), expansion, None)?.as_f64().unwrap()
                    }
                    "Conv" => 9.0,
                    _ => 1.0,
                };
                cost += n.as_f64().unwrap() * out.as_f64().unwrap() * factor;
            }
            if cost > self.limit {
                return Err(Rejection::OverBudget {
                    reason: format!("{cost} of {}", self.limit),
                    excess: cost / self.limit,
                });
            }
            let known = |objective: &Objective| objective.known.then_some(cost);
            Ok(Candidate {
                known: self.objectives.iter().map(known).collect(),
                identity: json!(
                    params.iter().map(|param| [json!(param.name), param.value.clone()]).collect::<Vec<_>>()
                )
                .to_string(),
                costs: vec![("params".into(), cost)],
                params,
            })
        }
    }

    fn run(name: &str, space: &Toy, seed: u64, count: u64) -> Vec<Trial> {
        let sampler = sampler(name, seed, &Map::new()).unwrap();
        let mut trials: Vec<Trial> = Vec::new();
        for number in 0..count {
            let candidate =
                sampler.suggest(space.history(&trials), number, space).unwrap_or_else(|e| panic!("{name}: {e}"));
            trials.push(space.train(number, &candidate));
        }
        trials
    }

    #[test]
    fn every_sampler_keeps_the_budget_repeats_nothing_and_repeats_itself() {
        for kind in samplers() {
            for space in [Toy::accuracy(800.0), Toy::with_costs(800.0)] {
                let trials = run(kind.name, &space, 1, 60);
                let identities: BTreeSet<&str> = trials.iter().filter_map(Trial::identity).collect();
                assert_eq!(identities.len(), 60, "{} trains a network twice", kind.name);
                let again = run(kind.name, &space, 1, 60);
                assert!(trials == again, "{} differs with the same seed", kind.name);
                if kind.name != "grid" {
                    assert!(trials != run(kind.name, &space, 2, 60), "{} has one seed", kind.name);
                }
            }
        }
    }

    #[test]
    fn auto_spends_less_where_gains_are_weighed_against_costs() {
        /// Multiply-adds beside the parameters.
        struct Priced(Toy);
        impl SearchSpace for Priced {
            fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
                let mut candidate = self.0.candidate(draw)?;
                let macs = candidate.costs[0].1 * 100.0;
                candidate.costs.push(("macs".into(), macs));
                Ok(candidate)
            }
        }
        let space = Priced(Toy::accuracy(f64::INFINITY));
        // What the first ten, which are drawn at random, and the twenty after them cost.
        let spent = |exponent: f64| {
            let settings = json!({ "cost_exponent": exponent });
            let sampler = sampler("auto", 3, settings.as_object().unwrap()).unwrap();
            let mut trials: Vec<Trial> = Vec::new();
            for number in 0..30 {
                let candidate = sampler.suggest(space.0.history(&trials), number, &space).unwrap();
                trials.push(space.0.train(number, &candidate));
            }
            let macs = |trial: &Trial| trial.costs().find(|(name, _)| *name == "macs").unwrap().1;
            [&trials[..10], &trials[10..]].map(|part| part.iter().map(macs).sum::<f64>())
        };
        let (free, weighed) = (spent(0.0), spent(1.0));
        for (free, weighed) in free.into_iter().zip(weighed) {
            assert!(weighed < 0.6 * free, "{weighed} of {free}");
        }
        let wrong = json!({ "cost_exponent": -1 });
        assert!(sampler("auto", 0, wrong.as_object().unwrap()).err().unwrap().to_string().contains("cost_exponent"));
    }

    /// What is asked again, as after a crash, is answered alike, whether the row is there or not.
    #[test]
    fn the_own_row_and_a_waiting_one_change_nothing_that_is_learnt() {
        for kind in samplers().iter().filter(|kind| kind.name != "grid") {
            let space = Toy::with_costs(800.0);
            let mut trials = run(kind.name, &space, 3, 40);
            let sampler = kind.sampler(3, &Map::new()).unwrap();
            let first = sampler.suggest(space.history(&trials), 40, &space).unwrap();
            trials.push(Trial {
                params: first.params.clone(),
                system: first.attributes(),
                ..empty_trial(40, State::Running)
            });
            assert_eq!(sampler.suggest(space.history(&trials), 40, &space).unwrap(), first, "{}", kind.name);
            let next = sampler.suggest(space.history(&trials), 41, &space).unwrap();
            assert_ne!(next.identity, first.identity, "{} gives two workers the same network", kind.name);
        }
    }

    #[test]
    fn every_sampler_stands_trials_of_every_state() {
        for kind in samplers() {
            for space in [Toy::accuracy(800.0), Toy::with_costs(800.0)] {
                let mut trials = run("random", &space, 5, 60);
                for trial in &mut trials {
                    match trial.number % 6 {
                        0 => trial.state = State::Fail,
                        1 => trial.state = State::Running,
                        2 => (trial.state, trial.paused) = (State::Running, true),
                        3 => trial.state = State::Pruned,
                        4 => drop(trial.system.insert("constraints".into(), json!([0.5]))),
                        _ => {}
                    }
                    if trial.state != State::Complete {
                        trial.values.clear();
                        trial.reports = vec![(1, 0.1), (2, if trial.number % 5 == 0 { f64::NAN } else { 0.2 })];
                    } else if trial.number == 5 {
                        trial.values[0] = f64::NEG_INFINITY;
                    }
                }
                trials[3].system.clear();
                let sampler = kind.sampler(0, &Map::new()).unwrap();
                for number in 60..70 {
                    sampler
                        .suggest(space.history(&trials), number, &space)
                        .unwrap_or_else(|e| panic!("{}: {e}", kind.name));
                }
            }
        }
    }

    #[test]
    fn those_that_learn_beat_those_that_do_not() {
        let best = |name: &str| {
            let of_seed = |seed: u64| {
                let trials = run(name, &Toy::accuracy(700.0), seed, 60);
                trials.iter().map(|trial| trial.values[0]).fold(f64::NEG_INFINITY, f64::max)
            };
            (0..6).map(of_seed).sum::<f64>() / 6.0
        };
        let random = best("random");
        for name in ["auto", "tpe", "evolution", "local"] {
            let reached = best(name);
            assert!(reached > random + 0.1, "{name} reaches {reached}, random {random}");
        }
    }

    #[test]
    fn a_budget_that_nothing_keeps_and_a_space_that_is_used_up_are_told_apart() {
        for kind in samplers() {
            let sampler = kind.sampler(0, &Map::new()).unwrap();
            let space = Toy::accuracy(3.0);
            match sampler.suggest(space.history(&[]), 0, &space) {
                Err(NoCandidate::Infeasible { reason, .. }) => {
                    assert!(reason.contains("of 3"), "{}: {reason}", kind.name)
                }
                other => panic!("{}: {other:?}", kind.name),
            }
            let objectives = Toy::accuracy(1.0).objectives;
            let mut trials: Vec<Trial> = Vec::new();
            for number in 0..3 {
                let history = History { study: "coin", objectives: &objectives, trials: &trials };
                match sampler.suggest(history, number, &Coin) {
                    Ok(candidate) => trials.push(Trial {
                        values: vec![number as f64],
                        system: candidate.attributes(),
                        params: candidate.params,
                        ..empty_trial(number, State::Complete)
                    }),
                    Err(problem) => assert_eq!((number, problem), (2, NoCandidate::Exhausted), "{}", kind.name),
                }
            }
            assert_eq!(trials.len(), 2, "{}", kind.name);
        }
    }

    /// A budget that one draw in some millions keeps: it is approached, from afar and from a trial that keeps it.
    #[test]
    fn a_budget_that_hardly_any_draw_keeps_is_met() {
        struct Coins;
        impl SearchSpace for Coins {
            fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
                let failed = |e: nasgen_modules::Error| Rejection::Invalid(format!("{e:?}"));
                let distribution = Distribution::Int { low: 0, high: 9, step: 1, log: false };
                let mut params = Vec::new();
                for place in 0..12 {
                    let name = format!("coin{place}");
                    let value = draw.draw(&name, &distribution).map_err(failed)?;
                    params.push(Param { name, distribution: distribution.clone(), value });
                }
                let cost: f64 = params.iter().filter_map(|param| param.value.as_f64()).sum();
                if cost > 5.0 {
                    return Err(Rejection::OverBudget { reason: format!("{cost} of 5"), excess: cost / 5.0 });
                }
                let identity = text_of(&params);
                Ok(Candidate { params, known: vec![None], identity, costs: vec![("params".into(), cost)] })
            }
        }
        let objectives = Toy::accuracy(1.0).objectives;
        for kind in samplers().iter().filter(|kind| kind.name != "grid") {
            let sampler = kind.sampler(0, &Map::new()).unwrap();
            let mut trials: Vec<Trial> = Vec::new();
            for number in 0..4 {
                let history = History { study: "coins", objectives: &objectives, trials: &trials };
                let candidate =
                    sampler.suggest(history, number, &Coins).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
                trials.push(Trial {
                    system: candidate.attributes(),
                    params: candidate.params,
                    ..empty_trial(number, State::Running)
                });
            }
        }
    }

    struct Coin;

    impl SearchSpace for Coin {
        fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
            let distribution = Distribution::Choice(vec![json!("heads"), json!("tails")]);
            let value = draw.draw("side", &distribution).map_err(|e| Rejection::Invalid(format!("{e:?}")))?;
            let identity = value.to_string();
            let params = vec![Param { name: "side".into(), distribution, value }];
            Ok(Candidate { params, known: vec![None], identity, costs: Vec::new() })
        }
    }

    #[test]
    fn the_grid_comes_to_every_point_once() {
        struct Dice;
        impl SearchSpace for Dice {
            fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
                let failed = |e: nasgen_modules::Error| Rejection::Invalid(format!("{e:?}"));
                let die = Distribution::Int { low: 1, high: 3, step: 1, log: false };
                let first = draw.draw("first", &die).map_err(failed)?;
                let mut params = vec![Param { name: "first".into(), distribution: die.clone(), value: first.clone() }];
                if first != 2 {
                    // The second is above the first, if there is one.
                    let factors =
                        [1, 2, 3].map(|side| f64::from(u8::from(first == 3 || side > first.as_i64().unwrap())));
                    let value = draw.draw_among("second", &die, Some(&factors)).map_err(failed)?;
                    params.push(Param { name: "second".into(), distribution: die, value });
                }
                let identity = text_of(&params);
                Ok(Candidate { params, known: vec![None], identity, costs: Vec::new() })
            }
        }
        let objectives = Toy::accuracy(1.0).objectives;
        let sampler = sampler("grid", 0, &Map::new()).unwrap();
        let mut points = Vec::new();
        let mut trials: Vec<Trial> = Vec::new();
        while let Ok(candidate) =
            sampler.suggest(History { study: "", objectives: &objectives, trials: &trials }, trials.len() as u64, &Dice)
        {
            points.push(candidate.params.iter().map(|param| param.value.to_string()).collect::<String>());
            trials.push(Trial {
                system: candidate.attributes(),
                params: candidate.params,
                ..empty_trial(trials.len() as u64, State::Complete)
            });
        }
        assert_eq!(points, ["12", "13", "2", "31", "32", "33"]);
    }

    /// Milliseconds that this thread has run; those in which others did are not counted.
    fn processor_ms() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
    }

    /// The least time of a few that asking takes after many trials, since what else runs slows some of them;
    /// `--nocapture` shows it. `cells_yardstick asking` measures the same on networks.
    #[test]
    fn asking_after_ten_thousand_trials_takes_less_than_fifty_milliseconds() {
        for space in [Toy::accuracy(1e9), Toy::with_costs(1e9)] {
            let mut draw = RandomDraw::new(Chance::new(0, "test", 0));
            let trial = |number: u64| space.train(number, &space.candidate(&mut draw).unwrap());
            let trials: Vec<Trial> = (0..10_000).map(trial).collect();
            for kind in samplers() {
                let sampler = kind.sampler(0, &Map::new()).unwrap();
                let time = |number| {
                    let start = processor_ms();
                    sampler.suggest(space.history(&trials), number, &space).unwrap();
                    processor_ms() - start
                };
                let least = (10_000..10_009).map(time).fold(f64::INFINITY, f64::min);
                let count = space.objectives.len();
                writeln!(std::io::stderr(), "{count} objectives, {}: {least:.1} ms", kind.name).unwrap();
                assert!(least < 50.0, "{count} objectives, {}: {least} ms", kind.name);
            }
        }
    }
}

//! Made for networks.

use crate::{
    Candidate, History, NoCandidate, Param, Sampler, SamplerKind, SearchSpace, Trial,
    draws::{Planned, editable},
    gain::Gain,
    sampler::{Attempts, FromSettings, chance_of},
    settings::{Settings, at_least},
    standing::{best_first, ended_and_running, final_losses},
    surrogate::{Columns, Observation, Point, Surrogate, normal_scores},
};
use nasgen_modules::chance::Chance;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

pub(crate) const KIND: SamplerKind = SamplerKind::of::<Auto>(
    "auto",
    "made for networks: a Gaussian process of what training finds out, exact costs, edits of the best networks",
);

/// Networks that the model learns from: beyond these the best and the newest.
const LEARNT: usize = 240;
/// The cost that time follows from.
const MACS: &str = "macs";
/// Parts of the candidates, in turn: the first round is edits and random networks, the others are edits of what
/// promised most before.
const ROUNDS: usize = 3;

/// Chooses where the expected gain is largest: of one objective the expected improvement, of several the expected
/// growth of the dominated volume. Only what training finds out is modelled, by a Gaussian process over the draws
/// (a kernel over sets of names: what differs, and what only one has) and the known costs; objectives known before
/// training enter exactly. Candidates are edits of one draw of the best networks, edits of those that promise most,
/// and random networks; none was trained before.
///
/// Values enter, and gains count, as normal scores of their ranks. Trials that were stopped
/// early count as what complete ones of the same standing at that step came to, with more noise; running ones as
/// what is expected of them. At first networks are random, spread over the costs.
struct Auto {
    seed: u64,
    settings: AutoSettings,
}

#[derive(Deserialize, Serialize)]
struct AutoSettings {
    /// Trials before the model decides; `null` is 10 with one objective and 20 with several.
    n_startup_trials: Option<usize>,
    /// Networks that are looked at for each one that is trained.
    n_candidates: usize,
    /// Of how many of the best networks neighbours are looked at; of several objectives the front is added.
    n_parents: usize,
    /// A gain counts by the multiply-adds of the network to this power less: 0 makes the most of trials, 1 of time.
    cost_exponent: f64,
}

impl Default for AutoSettings {
    fn default() -> Self {
        Self { n_startup_trials: None, n_candidates: 200, n_parents: 5, cost_exponent: 0.0 }
    }
}

impl Settings for AutoSettings {
    fn problem(&self) -> Option<String> {
        at_least("n_startup_trials", self.n_startup_trials.unwrap_or(10) as f64, 2.0)
            .or_else(|| at_least("n_candidates", self.n_candidates as f64, 1.0))
            .or_else(|| at_least("n_parents", self.n_parents as f64, 1.0))
            .or_else(|| at_least("cost_exponent", self.cost_exponent, 0.0))
    }
}

impl FromSettings for Auto {
    type Settings = AutoSettings;

    fn new(seed: u64, settings: AutoSettings) -> Self {
        Self { seed, settings }
    }
}

impl Sampler for Auto {
    fn suggest(&self, history: History<'_>, number: u64, space: &dyn SearchSpace) -> Result<Candidate, NoCandidate> {
        let mut chance = chance_of(self.seed, number);
        let attempts = Attempts::new(history, number, space);
        let (ended, running) = ended_and_running(history, number);
        let usual = if history.objectives.len() == 1 { 10 } else { 20 };
        if ended.len() < self.settings.n_startup_trials.unwrap_or(usual) {
            return self.spread(history, ended.len() + running.len(), attempts, chance);
        }
        let learnt = learnt(history, &ended, &mut chance);
        let mut hunt = Hunt {
            attempts,
            chance,
            looked_at: HashSet::new(),
            promising: Vec::new(),
            cost_exponent: self.settings.cost_exponent,
            model: Model::new(history, &learnt, &running),
        };
        let parents = self.parents(history, &learnt);
        let first = self.settings.n_candidates / 2;
        hunt.random(first.div_ceil(3))?;
        hunt.edits(&parents, first - first.div_ceil(3))?;
        for _ in 1..ROUNDS {
            let best: Vec<Vec<Param>> = hunt.best(self.settings.n_parents);
            let best: Vec<&[Param]> = best.iter().map(Vec::as_slice).collect();
            hunt.edits(&best, (self.settings.n_candidates - first) / (ROUNDS - 1))?;
        }
        hunt.finish()
    }
}

impl Auto {
    /// A random network of those that a number of draws gives: the `count`-th part of the costs, in an order that
    /// spreads. With one objective cheap networks are left out, because few of them are the best; where time counts,
    /// expensive ones, because several others can be tried for each of them.
    fn spread(
        &self,
        history: History<'_>,
        count: usize,
        mut attempts: Attempts<'_>,
        mut chance: Chance,
    ) -> Result<Candidate, NoCandidate> {
        const DRAWS: usize = 60;
        let mut pool: Vec<Candidate> = Vec::new();
        for _ in 0..DRAWS {
            pool.extend(attempts.new_candidate(&mut Planned::new([], &mut chance))?);
        }
        if pool.is_empty() {
            return attempts.random(chance);
        }
        let cost = |candidate: &Candidate| candidate.costs.iter().map(|(_, cost)| libm::log(cost.max(1e-9))).sum();
        let mut order: Vec<(f64, usize)> = pool.iter().map(cost).zip(0..).collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        let part = van_der_corput(count);
        let part = match history.objectives.len() {
            _ if self.settings.cost_exponent > 0.0 => 0.6 * part,
            1 => 0.5 + 0.5 * part,
            _ => part,
        };
        let chosen = order[((part * order.len() as f64) as usize).min(order.len() - 1)].1;
        Ok(pool.swap_remove(chosen))
    }

    /// Those whose neighbours are looked at.
    fn parents<'a>(&self, history: History<'_>, learnt: &[&'a Trial]) -> Vec<&'a [Param]> {
        let mut best = best_first(history, learnt, learnt.len());
        let wanted = if history.objectives.len() == 1 {
            self.settings.n_parents
        } else {
            let losses: Vec<Vec<f64>> =
                best.iter().map(|trial| history.losses(trial)).take_while(|l| !l.is_empty()).collect();
            crate::pareto::front(&losses).len().max(self.settings.n_parents)
        };
        best.truncate(wanted);
        best.into_iter().map(|trial| trial.params.as_slice()).collect()
    }
}

/// The digits of `index` in base 2 behind the point, in reverse: points that spread over 0 to 1 however many.
fn van_der_corput(mut index: usize) -> f64 {
    let (mut part, mut value) = (0.5, 0.0);
    while index > 0 {
        value += part * (index % 2) as f64;
        index /= 2;
        part /= 2.0;
    }
    value
}

/// Those that the model learns from: all while they are few, else the best, the newest and some of the others.
fn learnt<'a>(history: History<'_>, ended: &[&'a Trial], chance: &mut Chance) -> Vec<&'a Trial> {
    if ended.len() <= LEARNT {
        return ended.to_vec();
    }
    let mut chosen = best_first(history, ended, LEARNT / 2);
    chosen.extend(ended[ended.len() - LEARNT / 4..].iter().copied());
    while chosen.len() < LEARNT {
        chosen.push(ended[chance.below(ended.len() as u64) as usize]);
    }
    chosen.sort_by_key(|trial| trial.number);
    chosen.dedup_by_key(|trial| trial.number);
    chosen
}

/// What is expected of networks.
struct Model {
    columns: Columns,
    surrogates: Vec<Surrogate>,
    gain: Gain,
}

impl Model {
    fn new(history: History<'_>, learnt: &[&Trial], running: &[&Trial]) -> Self {
        let mut columns = Columns::default();
        let mut point = |trial: &Trial| columns.point(&trial.params, trial.costs());
        let points: Vec<Point> = learnt.iter().map(|trial| point(trial)).collect();
        let busy: Vec<Point> = running.iter().map(|trial| point(trial)).collect();
        let losses = final_losses(history, learnt);
        let found_out = (0..history.objectives.len()).filter(|place| !history.objectives[*place].known);
        let mut surrogates = Vec::new();
        let mut scores = Vec::new();
        for place in found_out {
            let values: Vec<f64> = losses.iter().map(|(losses, _)| -losses[place]).collect();
            let own = normal_scores(&values);
            let observations = points.iter().zip(&own).zip(&losses).map(|((point, score), (_, noise))| Observation {
                point: point.clone(),
                score: *score,
                extra_noise: *noise,
            });
            surrogates.push(Surrogate::fit(&columns, observations.collect(), busy.clone()));
            scores.push(own);
        }
        let losses: Vec<Vec<f64>> = losses.into_iter().map(|(losses, _)| losses).collect();
        Self { columns, surrogates, gain: Gain::new(history.objectives, &losses, &scores) }
    }

    /// What training `candidate` is expected to gain.
    fn gain(&mut self, candidate: &Candidate) -> f64 {
        let costs = candidate.costs.iter().map(|(name, cost)| (name.as_str(), *cost));
        let point = self.columns.point(&candidate.params, costs);
        let expected: Vec<(f64, f64)> =
            self.surrogates.iter().map(|surrogate| surrogate.predict(&self.columns, &point)).collect();
        self.gain.expected(&expected, &candidate.known)
    }
}

/// Looks for the network that promises most.
struct Hunt<'a> {
    attempts: Attempts<'a>,
    chance: Chance,
    looked_at: HashSet<String>,
    /// By falling gain for what they cost.
    promising: Vec<(f64, Candidate)>,
    cost_exponent: f64,
    model: Model,
}

impl Hunt<'_> {
    fn look_at(&mut self, candidate: Option<Candidate>) {
        let Some(candidate) = candidate.filter(|candidate| self.looked_at.insert(candidate.identity.clone())) else {
            return;
        };
        let cost = candidate.costs.iter().find(|(name, _)| name == MACS).map_or(1.0, |(_, macs)| macs.max(1.0));
        let gain = self.model.gain(&candidate) / libm::pow(cost, self.cost_exponent);
        let place = self.promising.partition_point(|(known, _)| *known >= gain);
        self.promising.insert(place, (gain, candidate));
    }

    fn random(&mut self, count: usize) -> Result<(), NoCandidate> {
        for _ in 0..count {
            let candidate = self.attempts.new_candidate(&mut Planned::new([], &mut self.chance))?;
            self.look_at(candidate);
        }
        Ok(())
    }

    fn edits(&mut self, parents: &[&[Param]], count: usize) -> Result<(), NoCandidate> {
        if parents.is_empty() {
            return Ok(());
        }
        for index in 0..count {
            let parent = parents[index % parents.len()];
            let edits = editable(parent);
            if edits.is_empty() {
                continue;
            }
            let changed = edits[self.chance.below(edits.len() as u64) as usize];
            let candidate = self.attempts.new_candidate(&mut Planned::edit(parent, changed, &mut self.chance))?;
            self.look_at(candidate);
        }
        Ok(())
    }

    fn best(&self, count: usize) -> Vec<Vec<Param>> {
        self.promising.iter().take(count).map(|(_, candidate)| candidate.params.clone()).collect()
    }

    fn finish(self) -> Result<Candidate, NoCandidate> {
        match self.promising.into_iter().next() {
            Some((_, candidate)) => Ok(candidate),
            None => self.attempts.random(self.chance),
        }
    }
}

//! Successive halving: trials are compared at fixed steps, the rungs, and only the best of a rung climb on.

use crate::{History, State, Trial, Verdict, pareto, settings::at_least};

/// What decides about a ladder of rungs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    /// The step of the lowest rung.
    pub(crate) first: u64,
    /// How many times farther each next rung is, and one in how many climbs on.
    pub(crate) reduction_factor: u64,
    /// So many trials of a rung are stopped or set aside whatever they reach.
    pub(crate) bootstrap_count: usize,
    /// Whether those that do not climb on are set aside and may climb later.
    pub(crate) promotion: bool,
    /// The last step of a whole training, where it is known: nothing is judged there or later.
    pub(crate) last: Option<u64>,
}

/// A trial on a rung: what it reached there, less being better, with the exact costs that are objectives.
struct Standing {
    number: u64,
    losses: Vec<f64>,
}

impl Ladder {
    /// The step of rung `rung`, from 0; none is as far as the last step.
    fn step(&self, rung: u32) -> u64 {
        let step = self.first.saturating_mul(self.reduction_factor.saturating_pow(rung));
        if self.last.is_some_and(|last| step >= last) { u64::MAX } else { step }
    }

    /// What becomes of `trial` after its last report, among the trials that `competes` says.
    pub(crate) fn judge(&self, history: History<'_>, trial: &Trial, competes: impl Fn(u64) -> bool) -> Verdict {
        let Some((&(step, value), before)) = trial.reports.split_last() else { return Verdict::Continue };
        let previous = before.last().map(|(step, _)| *step);
        let beaten = if self.promotion { Verdict::Pause } else { Verdict::Stop };
        let reached = (0..64).skip_while(|rung| previous.is_some_and(|previous| self.step(*rung) <= previous));
        for rung in reached.take_while(|rung| self.step(*rung) <= step) {
            if value.is_nan() {
                return Verdict::Stop;
            }
            let own = Standing { number: trial.number, losses: losses_at(history, trial, value) };
            let mut standings = self.standings(history, rung, &competes);
            standings.retain(|other| other.number != trial.number);
            standings.push(own);
            if standings.len() <= self.bootstrap_count || !self.climbing(&standings).contains(&trial.number) {
                return beaten;
            }
        }
        Verdict::Continue
    }

    /// The paused trial that should climb: the best of the highest rung that has one among its best.
    pub(crate) fn promote(&self, history: History<'_>, competes: impl Fn(u64) -> bool) -> Option<u64> {
        let paused = |trial: &&Trial| trial.state == State::Running && trial.paused && competes(trial.number);
        let highest = history.trials.iter().filter(paused).filter_map(|trial| self.rung_of(trial)).max()?;
        (0..=highest).rev().find_map(|rung| {
            let standings = self.standings(history, rung, &competes);
            if standings.len() <= self.bootstrap_count {
                return None;
            }
            let waits = |number: &u64| {
                let trial = history.trials.iter().filter(paused).find(|trial| trial.number == *number);
                trial.is_some_and(|trial| self.rung_of(trial) == Some(rung))
            };
            self.climbing(&standings).into_iter().find(waits)
        })
    }

    /// The highest rung that a trial reached.
    fn rung_of(&self, trial: &Trial) -> Option<u32> {
        let last = trial.last_step()?;
        (0..64).take_while(|rung| self.step(*rung) <= last).last()
    }

    /// Where the trials stand that reached `rung`: by their first report there or past it.
    fn standings(&self, history: History<'_>, rung: u32, competes: &impl Fn(u64) -> bool) -> Vec<Standing> {
        let at = self.step(rung);
        let standing = |trial: &Trial| {
            let place = trial.reports.partition_point(|(step, _)| *step < at);
            let (_, value) = *trial.reports.get(place)?;
            (!value.is_nan()).then(|| Standing { number: trial.number, losses: losses_at(history, trial, value) })
        };
        let competing = history.trials.iter().filter(|trial| competes(trial.number));
        competing.filter_map(standing).collect()
    }

    /// Who of a rung climbs on, the best first: one in `reduction_factor`. Where trials cannot be set aside the
    /// best one does even while there are fewer, since it could not later; and equals climb together.
    fn climbing(&self, standings: &[Standing]) -> Vec<u64> {
        let places = standings.len() / self.reduction_factor as usize;
        let places = if self.promotion { places } else { places.max(1) };
        if places == 0 {
            return Vec::new();
        }
        let losses: Vec<&[f64]> = standings.iter().map(|standing| standing.losses.as_slice()).collect();
        let mut best = pareto::select_best(&losses, places);
        if losses[0].len() == 1 {
            let limit = best.last().map_or(f64::NEG_INFINITY, |last| losses[*last][0]);
            let equal = (0..losses.len()).filter(|place| losses[*place][0] == limit && !best.contains(place));
            best.extend(equal.collect::<Vec<_>>());
        }
        best.into_iter().map(|place| standings[place].number).collect()
    }
}

/// What `trial` reached with a report of `value`: the objectives that are known then.
fn losses_at(history: History<'_>, trial: &Trial, value: f64) -> Vec<f64> {
    let known = trial.known();
    let mut losses = vec![history.objectives[0].direction.to_minimize(value)];
    for (place, objective) in history.objectives.iter().enumerate().skip(1).filter(|(_, objective)| objective.known) {
        let cost = trial.values.get(place).copied().or_else(|| known.get(place).copied().flatten());
        losses.push(cost.map_or(f64::INFINITY, |cost| objective.direction.to_minimize(cost)));
    }
    losses
}

/// A hundredth of what complete trials ran, at least 1: the first rung where none is set. `None` before one is
/// complete.
pub(crate) fn first_rung(history: History<'_>) -> Option<u64> {
    let longest = history.complete().filter_map(Trial::last_step).max()?;
    Some((longest / 100).max(1))
}

/// What is wrong with the settings that all ladders share.
pub(crate) fn problem(min_resource: Option<u64>, reduction_factor: u64) -> Option<String> {
    at_least("min_resource", min_resource.unwrap_or(1) as f64, 1.0)
        .or_else(|| at_least("reduction_factor", reduction_factor as f64, 2.0))
}

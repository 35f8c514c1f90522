//! Asynchronous successive halving.

use crate::{
    History, Pruner, PrunerKind, SettingError, Trial, Verdict,
    pruner::FromSettings,
    rungs::{Ladder, first_rung, problem},
    settings::Settings,
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<Asha>(
    "asha",
    "asynchronous successive halving: at each rung the best quarter trains on, the others are set aside and may \
     follow later",
);

/// At steps that grow by a factor the best part of the trials that came there trains on (Li et al. 2020,
/// arXiv:1810.05934). The others are set aside, and when later results let one of them belong to the best it is
/// taken up again before a new trial is begun, from the highest rung down. With several objectives the best are
/// those that together dominate most, costs that are known before training counting exactly.
///
/// With `promotion` off those that are beaten end, as in Optuna's `SuccessiveHalvingPruner`.
struct Asha {
    settings: AshaSettings,
}

#[derive(Deserialize, Serialize)]
struct AshaSettings {
    /// The step of the first rung; `null` is two rungs below `max_resource`, one where that is below the first step,
    /// and while no `max_resource` is known a hundredth of the steps of a complete trial, at least 1; nothing is
    /// judged before a trial is complete then.
    min_resource: Option<u64>,
    /// The last step of a full training, where nothing is judged any more; `null` where it is not known.
    max_resource: Option<u64>,
    /// How many times farther each next rung is, and one in how many climbs.
    reduction_factor: u64,
    /// Rungs left out at the start: the first is at `min_resource` × `reduction_factor` to this power.
    min_early_stopping_rate: u32,
    /// A rung lets nothing climb before it holds more trials than these.
    bootstrap_count: usize,
    /// Whether what is beaten is set aside instead of ended.
    promotion: bool,
}

impl Default for AshaSettings {
    fn default() -> Self {
        Self {
            min_resource: None,
            max_resource: None,
            reduction_factor: 4,
            min_early_stopping_rate: 0,
            bootstrap_count: 0,
            promotion: true,
        }
    }
}

impl Settings for AshaSettings {
    fn problem(&self) -> Option<String> {
        let least = self.min_resource.unwrap_or(1);
        let most = self.max_resource.unwrap_or(least);
        problem(self.min_resource, self.reduction_factor)
            .or_else(|| (most < least).then(|| format!("`max_resource` is {most}, below `min_resource`, {least}")))
    }
}

impl FromSettings for Asha {
    type Settings = AshaSettings;

    fn new(settings: AshaSettings) -> Result<Self, SettingError> {
        Ok(Self { settings })
    }
}

impl Asha {
    fn ladder(&self, history: History<'_>) -> Option<Ladder> {
        let AshaSettings { min_resource, max_resource, reduction_factor, bootstrap_count, promotion, .. } =
            self.settings;
        let below = || max_resource.map(|most| two_rungs_below(most, reduction_factor));
        let first = min_resource.or_else(below).or_else(|| first_rung(history))?;
        let first = first.saturating_mul(reduction_factor.saturating_pow(self.settings.min_early_stopping_rate));
        Some(Ladder { first, reduction_factor, bootstrap_count, promotion, last: max_resource })
    }
}

/// The first of two rungs below step `last`; of one where the first would be less than half a step.
fn two_rungs_below(last: u64, reduction_factor: u64) -> u64 {
    let square = reduction_factor.saturating_mul(reduction_factor);
    if last.saturating_mul(2) > square { last.div_ceil(square) } else { last.div_ceil(reduction_factor) }
}

impl Pruner for Asha {
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict {
        self.ladder(history).map_or(Verdict::Continue, |ladder| ladder.judge(history, trial, |_| true))
    }

    fn promote(&self, history: History<'_>) -> Option<u64> {
        self.ladder(history)?.promote(history, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Objective, State, fixtures::empty_trial, pruner::FromSettings};

    #[test]
    fn rungs_are_a_sixteenth_and_a_quarter_of_a_training() {
        let rungs = |last: u64| {
            let pruner = Asha::new(AshaSettings { max_resource: Some(last), ..AshaSettings::default() }).unwrap();
            let objectives = [Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false }];
            // The best of many is the only one that is not set aside: the worst shows every rung that judges.
            let mut best = empty_trial(0, State::Complete);
            best.reports = (1..=last).map(|step| (step, 0.9)).collect();
            let history = History { study: "s", objectives: &objectives, trials: &[best] };
            let judged = |step: &u64| {
                let mut worst = empty_trial(1, State::Running);
                worst.reports = (1..=*step).map(|step| (step, 0.1)).collect();
                pruner.judge(history, &worst) == Verdict::Pause
            };
            (1..=last).filter(judged).collect::<Vec<_>>()
        };
        for (last, expected) in [
            (1, vec![]),
            (2, vec![1]),
            (3, vec![1]),
            (5, vec![2]),
            (8, vec![2]),
            (10, vec![1, 4]),
            (30, vec![2, 8]),
            (100, vec![7, 28]),
        ] {
            assert_eq!(rungs(last), expected, "{last} steps");
        }
    }
}

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
    /// The step of the first rung; `null` is a hundredth of the steps of a complete trial, at least 1, and nothing
    /// is judged before a trial is complete.
    min_resource: Option<u64>,
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
            reduction_factor: 4,
            min_early_stopping_rate: 0,
            bootstrap_count: 0,
            promotion: true,
        }
    }
}

impl Settings for AshaSettings {
    fn problem(&self) -> Option<String> {
        problem(self.min_resource, self.reduction_factor)
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
        let AshaSettings { min_resource, reduction_factor, min_early_stopping_rate, bootstrap_count, promotion } =
            self.settings;
        let first = min_resource.or_else(|| first_rung(history))?;
        let first = first.saturating_mul(reduction_factor.saturating_pow(min_early_stopping_rate));
        Some(Ladder { first, reduction_factor, bootstrap_count, promotion })
    }
}

impl Pruner for Asha {
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict {
        self.ladder(history).map_or(Verdict::Continue, |ladder| ladder.judge(history, trial, |_| true))
    }

    fn promote(&self, history: History<'_>) -> Option<u64> {
        self.ladder(history)?.promote(history, |_| true)
    }
}

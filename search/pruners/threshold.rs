//! Out of bounds.

use crate::{
    History, Pruner, PrunerKind, SettingError, Trial, Verdict,
    pruner::{FromSettings, is_checked},
    settings::{Settings, at_least},
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<Threshold>(
    "threshold",
    "ends a training whose report leaves given bounds: for values that cannot recover",
);

/// A trial ends when a report is NaN or out of bounds (as Optuna's `ThresholdPruner`).
struct Threshold {
    settings: ThresholdSettings,
}

#[derive(Default, Deserialize, Serialize)]
struct ThresholdSettings {
    /// Reports below end a trial.
    lower: Option<f64>,
    /// Reports above end a trial.
    upper: Option<f64>,
    /// Nothing ends before this step.
    n_warmup_steps: u64,
    /// Steps between two checks; 0 is the same as 1.
    interval_steps: u64,
}

impl Settings for ThresholdSettings {
    fn problem(&self) -> Option<String> {
        match (self.lower, self.upper) {
            (None, None) => Some("wanted `lower`, `upper` or both".into()),
            (Some(lower), Some(upper)) => at_least("upper", upper, lower),
            _ => None,
        }
    }
}

impl FromSettings for Threshold {
    type Settings = ThresholdSettings;

    fn new(settings: ThresholdSettings) -> Result<Self, SettingError> {
        Ok(Self { settings })
    }
}

impl Pruner for Threshold {
    fn judge(&self, _history: History<'_>, trial: &Trial) -> Verdict {
        let settings = &self.settings;
        if !is_checked(trial, settings.n_warmup_steps, settings.interval_steps.max(1)) {
            return Verdict::Continue;
        }
        let inside = |value: f64| {
            let (lower, upper) = (settings.lower.unwrap_or(f64::NEG_INFINITY), settings.upper.unwrap_or(f64::INFINITY));
            (lower..=upper).contains(&value)
        };
        match trial.reports.last() {
            Some((_, value)) if !inside(*value) => Verdict::Stop,
            _ => Verdict::Continue,
        }
    }
}

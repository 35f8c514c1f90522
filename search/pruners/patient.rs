//! Only what has stopped improving.

use crate::{
    History, Pruner, PrunerKind, SettingError, Trial, Verdict,
    pruner::{FromSettings, pruner},
    settings::{Settings, at_least},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<Patient>(
    "patient",
    "lets another pruner judge only what has not improved for some reports; alone it is early stopping",
);

/// A trial that still improves trains on whatever another pruner thinks of it (as Optuna's `PatientPruner`).
struct Patient {
    settings: PatientSettings,
    wrapped: Option<Box<dyn Pruner>>,
}

#[derive(Deserialize, Serialize)]
struct PatientSettings {
    /// Reports without improvement that are allowed.
    patience: usize,
    /// What is less better than this is no improvement.
    min_delta: f64,
    /// The pruner that judges then; `null` ends the trial.
    wrapped: Option<String>,
    /// Its settings.
    wrapped_settings: Map<String, Value>,
}

impl Default for PatientSettings {
    fn default() -> Self {
        Self { patience: 2, min_delta: 0.0, wrapped: None, wrapped_settings: Map::new() }
    }
}

impl Settings for PatientSettings {
    fn problem(&self) -> Option<String> {
        at_least("min_delta", self.min_delta, 0.0)
    }
}

impl FromSettings for Patient {
    type Settings = PatientSettings;

    fn new(settings: PatientSettings) -> Result<Self, SettingError> {
        let wrapped = settings.wrapped.as_ref().map(|name| pruner(name, &settings.wrapped_settings)).transpose()?;
        Ok(Self { settings, wrapped })
    }
}

impl Pruner for Patient {
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict {
        let recent = self.settings.patience + 1;
        if trial.reports.len() <= recent {
            return Verdict::Continue;
        }
        let (before, after) = trial.reports.split_at(trial.reports.len() - recent);
        let best = |reports: &[(u64, f64)]| {
            let losses = reports.iter().map(|(_, value)| history.objectives[0].direction.to_minimize(*value));
            losses.fold(f64::NAN, f64::min)
        };
        if best(before) + self.settings.min_delta < best(after) {
            return self.wrapped.as_ref().map_or(Verdict::Stop, |wrapped| wrapped.judge(history, trial));
        }
        Verdict::Continue
    }

    fn promote(&self, history: History<'_>) -> Option<u64> {
        self.wrapped.as_ref()?.promote(history)
    }
}

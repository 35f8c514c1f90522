//! Below the median.

use crate::{
    History, Pruner, PrunerKind, SettingError, Trial, Verdict,
    pruner::{FromSettings, is_checked},
    settings::{Settings, at_least},
};
use serde::{Deserialize, Serialize};

pub(crate) const KIND: PrunerKind = PrunerKind::of::<Median>(
    "median",
    "ends a training that is worse than half of the complete ones were at the same step: mild, needs no budget",
);

/// A trial ends when the best of its reports is worse than the median, or another percentile, of what the complete
/// trials reported at this step (Golovin et al. 2017; as Optuna's `MedianPruner` and `PercentilePruner`).
///
/// With several objectives only complete trials that cost no more are compared with: a small network need not be
/// as good as a large one.
struct Median {
    settings: MedianSettings,
}

#[derive(Deserialize, Serialize)]
struct MedianSettings {
    /// The part of complete trials, in percent, that a trial must be as good as the last of.
    percentile: f64,
    /// Nothing ends before so many trials are complete.
    n_startup_trials: usize,
    /// Nothing ends before this step.
    n_warmup_steps: u64,
    /// Steps between two checks.
    interval_steps: u64,
    /// Nothing ends at a step that fewer complete trials have reported.
    n_min_trials: usize,
}

impl Default for MedianSettings {
    fn default() -> Self {
        Self { percentile: 50.0, n_startup_trials: 5, n_warmup_steps: 0, interval_steps: 1, n_min_trials: 1 }
    }
}

impl Settings for MedianSettings {
    fn problem(&self) -> Option<String> {
        let outside = !(0.0..=100.0).contains(&self.percentile);
        outside
            .then(|| format!("`percentile` is {}, wanted 0 to 100", self.percentile))
            .or_else(|| at_least("interval_steps", self.interval_steps as f64, 1.0))
            .or_else(|| at_least("n_min_trials", self.n_min_trials as f64, 1.0))
    }
}

impl FromSettings for Median {
    type Settings = MedianSettings;

    fn new(settings: MedianSettings) -> Result<Self, SettingError> {
        Ok(Self { settings })
    }
}

impl Pruner for Median {
    fn judge(&self, history: History<'_>, trial: &Trial) -> Verdict {
        let settings = &self.settings;
        let others: Vec<&Trial> = history
            .complete()
            .filter(|other| other.number != trial.number && costs_no_more(history, other, trial))
            .collect();
        if others.is_empty() || others.len() < settings.n_startup_trials {
            return Verdict::Continue;
        }
        if !is_checked(trial, settings.n_warmup_steps, settings.interval_steps) {
            return Verdict::Continue;
        }
        let loss = |value: f64| history.objectives[0].direction.to_minimize(value);
        // The least of nothing but NaN is NaN.
        let best = trial.reports.iter().map(|(_, value)| loss(*value)).fold(f64::NAN, f64::min);
        if best.is_nan() {
            return Verdict::Stop;
        }
        let at_step = |other: &&Trial| trial.last_step().and_then(|step| other.report_at(step)).map(loss);
        let known: Vec<f64> = others.iter().filter_map(at_step).collect();
        if known.len() < settings.n_min_trials {
            return Verdict::Continue;
        }
        match percentile(known, settings.percentile) {
            Some(limit) if best > limit => Verdict::Stop,
            _ => Verdict::Continue,
        }
    }
}

/// Whether `other` costs no more than `trial` in each objective that is known before training.
fn costs_no_more(history: History<'_>, other: &Trial, trial: &Trial) -> bool {
    let known = trial.known();
    history.objectives.iter().enumerate().filter(|(_, objective)| objective.known).all(|(place, objective)| {
        match (other.values.get(place), known.get(place).copied().flatten()) {
            (Some(other), Some(own)) => objective.direction.to_minimize(*other) <= objective.direction.to_minimize(own),
            _ => true,
        }
    })
}

/// The value below which `percent` of `values` are, between two of them by proportion; NaN left out.
fn percentile(mut values: Vec<f64>, percent: f64) -> Option<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    let place = percent / 100.0 * (values.len().checked_sub(1)?) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(if below == above { below } else { below + (above - below) * (place - place.floor()) })
}

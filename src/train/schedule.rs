//! The learning rate over the steps.

use crate::spec::{self, TrainSettings};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Steps in one pass over `images`: a partial last batch is left out where a full one exists.
pub fn steps_per_epoch(images: usize, batch: usize) -> usize {
    (images / batch).max(1)
}

/// The learning rate as a function of the step: linear from `peak / warm-up steps` to `peak` over the
/// warm-up, then a curve. All are PyTorch's, stepped once per batch: `LinearLR` into `StepLR`,
/// `MultiStepLR`, `CosineAnnealingLR` (Loshchilov and Hutter 2017), `CosineAnnealingWarmRestarts`,
/// `PolynomialLR`; `OneCycleLR` (Smith and Topin 2017), whose own rise takes the warm-up's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: spec::Schedule,
    peak: f64,
    /// Steps of the warm-up.
    warm: u64,
    /// Steps in all.
    steps: u64,
    period: u64,
    period_factor: u64,
    milestones: Vec<u64>,
    gamma: f64,
    power: f64,
}

/// What `OneCycleLR` divides the peak by at the beginning, and that again by at the end.
const ONE_CYCLE: [f64; 2] = [25.0, 1e4];

impl Schedule {
    /// The schedule that the settings ask for, with so many steps in an epoch. What is set in epochs
    /// counts from the end of the warm-up.
    pub fn of(settings: &TrainSettings, steps_per_epoch: usize) -> Self {
        let in_steps = |epochs: usize| (epochs * steps_per_epoch) as u64;
        let steps = in_steps(settings.epochs);
        Self {
            kind: settings.schedule,
            peak: settings.learning_rate(),
            warm: (steps as f64 * settings.warmup).round() as u64,
            steps,
            period: in_steps(settings.period),
            period_factor: settings.period_factor as u64,
            milestones: settings.milestones.iter().map(|epoch| in_steps(*epoch)).collect(),
            gamma: settings.gamma,
            power: settings.power,
        }
    }

    /// The learning rate of a step, from 0, after `reductions` of a plateau schedule.
    pub fn rate(&self, step: u64, reductions: u32) -> f64 {
        if self.kind == spec::Schedule::Onecycle {
            return self.one_cycle(step);
        }
        if step < self.warm {
            return self.peak * (step + 1) as f64 / self.warm as f64;
        }
        let (since, length) = (step - self.warm, (self.steps - self.warm).max(1));
        let done = since as f64 / length as f64;
        self.peak
            * match self.kind {
                spec::Schedule::Constant | spec::Schedule::Onecycle => 1.0,
                spec::Schedule::Step => self.gamma.powi((since / self.period) as i32),
                spec::Schedule::Multistep => {
                    let passed = self.milestones.iter().filter(|milestone| **milestone <= since).count();
                    self.gamma.powi(passed as i32)
                }
                spec::Schedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
                spec::Schedule::Restarts => self.restarts(since),
                spec::Schedule::Plateau => self.gamma.powi(reductions as i32),
                spec::Schedule::Polynomial => (1.0 - done).powf(self.power),
            }
    }

    fn restarts(&self, mut since: u64) -> f64 {
        let mut period = self.period;
        while since >= period {
            since -= period;
            period *= self.period_factor;
        }
        0.5 * (1.0 + (PI * since as f64 / period as f64).cos())
    }

    /// `torch.optim.lr_scheduler.OneCycleLR` with cosines and two phases.
    fn one_cycle(&self, step: u64) -> f64 {
        let [initial, last] = [self.peak / ONE_CYCLE[0], self.peak / ONE_CYCLE[0] / ONE_CYCLE[1]];
        let (top, end) = (self.warm as f64 - 1.0, self.steps as f64 - 1.0);
        let cosine = |from: f64, to: f64, done: f64| to + (from - to) / 2.0 * (1.0 + (PI * done).cos());
        let step = step as f64;
        if step <= top {
            return cosine(initial, self.peak, if top > 0.0 { step / top } else { 1.0 });
        }
        let top = top.max(0.0);
        cosine(self.peak, last, (step - top) / (end - top).max(1.0))
    }
}

/// Reduces the learning rate when a measure stays as it is: `ReduceLROnPlateau` with a relative
/// threshold of 1e-4 and no cool-down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The best value so far; higher is better.
    best: Option<f64>,
    /// Epochs since then.
    waited: usize,
    /// Reductions so far.
    pub reductions: u32,
}

impl Plateau {
    /// Takes the measure of an epoch, higher is better.
    pub fn observe(&mut self, goodness: f64, patience: usize) {
        const THRESHOLD: f64 = 1e-4;
        let better = self.best.is_none_or(|best| goodness > best + THRESHOLD * best.abs());
        if better {
            (self.best, self.waited) = (Some(goodness), 0);
            return;
        }
        self.waited += 1;
        if self.waited > patience {
            (self.reductions, self.waited) = (self.reductions + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn schedule(settings: Value, steps_per_epoch: usize) -> Schedule {
        let settings = TrainSettings::parse(settings.as_object().unwrap()).unwrap();
        Schedule::of(&settings, steps_per_epoch)
    }

    #[test]
    fn rises_to_the_peak_and_falls_to_zero() {
        let default = schedule(json!({"lr": 0.1, "epochs": 10}), 10);
        let rates: Vec<f64> = (0..100).map(|step| default.rate(step, 0)).collect();
        assert!((rates[0] - 0.02).abs() < 1e-12 && (rates[4] - 0.1).abs() < 1e-12 && (rates[5] - 0.1).abs() < 1e-12);
        assert!(rates[5..].windows(2).all(|pair| pair[1] <= pair[0]) && rates[99] < 1e-4);
        assert_eq!(schedule(json!({"lr": 0.1, "epochs": 1, "warmup": 0.0}), 1).rate(0, 0), 0.1);
        assert!(schedule(json!({"lr": 0.1, "epochs": 1, "warmup": 1.0}), 10).rate(9, 0) > 0.0999);
    }

    #[test]
    fn a_partial_batch_counts_only_alone() {
        assert_eq!([(130, 64), (64, 64), (10, 64)].map(|(images, batch)| steps_per_epoch(images, batch)), [2, 1, 1]);
    }

    /// 200 steps of PyTorch's own schedulers.
    #[test]
    fn every_schedule_is_pytorchs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/training/schedules.json");
        let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for case in cases {
            let schedule = schedule(case["settings"].clone(), case["steps_per_epoch"].as_u64().unwrap() as usize);
            kinds.insert(case["settings"]["schedule"].to_string());
            let rates: Vec<f64> = serde_json::from_value(case["rates"].clone()).unwrap();
            assert_eq!(rates.len(), 200);
            let measures: Vec<f64> = serde_json::from_value(case["losses"].clone()).unwrap_or_default();
            let mut plateau = Plateau::default();
            for (step, expected) in rates.into_iter().enumerate() {
                let actual = schedule.rate(step as u64, plateau.reductions);
                let tolerance = 1e-9 * schedule.peak;
                assert!(
                    (actual - expected).abs() < tolerance,
                    "{}: step {step}: {actual} {expected}",
                    case["settings"]
                );
                if let Some(loss) = measures.get(step) {
                    let patience = case["settings"]["plateau_patience"].as_u64().unwrap() as usize;
                    plateau.observe(-loss, patience);
                }
            }
        }
        assert_eq!(kinds.len(), 8, "{kinds:?}");
    }
}

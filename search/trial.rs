//! One network of a study: what was drawn, what came of it.

use nasgen_modules::Distribution;
use serde_json::Value;
use std::{collections::BTreeMap, ops::Bound};

/// Free values by name, as Optuna's attributes.
pub type Attributes = BTreeMap<String, Value>;

/// Where a trial stands. The names are those of Optuna's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Being trained, or set aside ([`Trial::paused`]).
    Running,
    /// Has its values.
    Complete,
    /// Stopped early; what was reported is kept.
    Pruned,
    /// Ended without a value: diverged, crashed, out of memory.
    Fail,
    /// In the queue: the next free worker takes it.
    Waiting,
}

impl State {
    /// Whether nothing of such a trial changes any more.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Fail)
    }
}

/// One draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The scoped name, `s2.nc.Conv.out`.
    pub name: String,
    /// The full distribution, whatever was ruled out beside it.
    pub distribution: Distribution,
    /// What was drawn.
    pub value: Value,
}

/// One row of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// From 0, without gaps, in order of creation.
    pub number: u64,
    /// Where it stands.
    pub state: State,
    /// Whether it was set aside with a checkpoint and may be taken up again; its state is then `Running`.
    pub paused: bool,
    /// In the order in which the space asked for them.
    pub params: Vec<Param>,
    /// One for each objective, in the study's order; empty until it is known. May be infinite, never NaN.
    /// A pruned trial of a study with one objective has its last finite report here.
    pub values: Vec<f64>,
    /// `(step, value)` of the first objective by rising step; the value may be NaN or infinite.
    pub reports: Vec<(u64, f64)>,
    /// For users and other programs.
    pub user: Attributes,
    /// For samplers and pruners.
    pub system: Attributes,
    /// When training began, in microseconds since 1970 (UTC).
    pub started: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
}

impl Trial {
    /// Where [`Self::system`] holds the [identity](crate::Candidate::identity): text.
    pub const IDENTITY: &str = "nasgen:identity";
    /// Where [`Self::system`] holds [what is known](crate::Candidate::known) of the objectives: a list with `null`
    /// for the others.
    pub const KNOWN: &str = "nasgen:known";
    /// Where [`Self::system`] holds the [costs](crate::Candidate::costs): numbers by name.
    pub const COSTS: &str = "nasgen:costs";

    /// What it computes, if nasgen drew it.
    pub fn identity(&self) -> Option<&str> {
        self.system.get(Self::IDENTITY)?.as_str()
    }

    /// The objectives that were known of it before training; empty if nasgen did not draw it.
    pub fn known(&self) -> Vec<Option<f64>> {
        self.system.get(Self::KNOWN).and_then(Value::as_array).into_iter().flatten().map(Value::as_f64).collect()
    }

    /// What was known of it before training, by name; empty if nasgen did not draw it.
    pub fn costs(&self) -> impl Iterator<Item = (&str, f64)> {
        let costs = self.system.get(Self::COSTS).and_then(Value::as_object);
        costs.into_iter().flatten().filter_map(|(name, cost)| Some((name.as_str(), cost.as_f64()?)))
    }

    /// By how much it breaks constraints, summed; 0 if it keeps them all. They stand as Optuna has them: above 0
    /// is broken, in `constraints` a list, in `constraints:NAME` (5.0) a number.
    pub fn violation(&self) -> f64 {
        let from = (Bound::Included("constraints"), Bound::Unbounded);
        let own = self.system.range::<str, _>(from).take_while(|(key, _)| key.starts_with("constraints"));
        let stated = own.filter(|(key, _)| *key == "constraints" || key.starts_with("constraints:"));
        let numbers = stated.flat_map(|(_, value)| match value.as_array() {
            Some(list) => list.as_slice(),
            None => std::slice::from_ref(value),
        });
        numbers.filter_map(Value::as_f64).filter(|violation| *violation > 0.0).sum()
    }

    /// The param called `name`, if this trial drew it.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// The last step that was reported.
    pub fn last_step(&self) -> Option<u64> {
        self.reports.last().map(|(step, _)| *step)
    }

    /// What was reported at `step`.
    pub fn report_at(&self, step: u64) -> Option<f64> {
        let index = self.reports.binary_search_by_key(&step, |(step, _)| *step).ok()?;
        Some(self.reports[index].1)
    }
}

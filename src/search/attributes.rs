//! The attributes that a search writes beside what Optuna has a place for. Those of the user are for people and
//! other programs; those of the system begin with `nasgen:`.

use nasgen_search::{Attributes, Trial};
use serde_json::Value;

/// User: the whole spec, as YAML.
pub const CONFIG: &str = "config";
/// User: what kind of mishap ended the trial.
pub const FAULT: &str = "fault";
/// User: why the trial failed, in a sentence.
pub const REASON: &str = "reason";
/// User: the last lines of an evaluator that failed.
pub const LAST_LINES: &str = "last_lines";
/// User: the trial whose result this one has, because it would have been the same training.
pub const REUSED: &str = "reused";
/// User: whether the spec was given by the user and not drawn.
pub const GIVEN: &str = "given";
/// Whether a user attribute has a meaning of its own here, so that nothing that was measured may be called so.
pub(super) fn is_own(name: &str) -> bool {
    [CONFIG, FAULT, REASON, LAST_LINES, REUSED, GIVEN, "params", "macs"].contains(&name)
}

/// User: what a training took. A trial that is another one's repetition took nothing.
const TAKEN: [&str; 2] = ["seconds", "images_per_second"];

/// What a trial measured, beside its values: what its repetition knows too.
pub(super) fn measures(user: &Attributes) -> impl Iterator<Item = (&String, &Value)> {
    user.iter().filter(|(name, value)| value.is_number() && !is_own(name) && !TAKEN.contains(&name.as_str()))
}

/// System: what the suggestion saw, as [`view()`](super::view()) writes it.
pub const SAW: &str = "nasgen:saw";
/// System: whether the trial was set aside because the search was stopped, not because it was behind.
pub const INTERRUPTED: &str = "nasgen:interrupted";
/// System: which worker began the trial.
pub const WORKER: &str = "nasgen:worker";

/// System, of a study: what was searched last and how, as pairs of words for people.
pub const ABOUT: &str = "nasgen:about";
/// System, of a study: what came of its last step.
pub const FINAL: &str = "nasgen:final";
/// System, of a study: the study whose best trials it trains again. It is one's own business, and no user's study.
pub const LAST_STEP_OF: &str = "nasgen:last_step_of";
/// System attribute of a study: what its networks might cost at most when it was searched last, by name.
pub const LIMITS: &str = "nasgen:limits";

/// System: how many workers died of the trial since its last report, and which that was.
pub const DEATHS: &str = "nasgen:deaths";

/// How many workers died of the trial since it reported `step`.
pub(super) fn deaths_since(trial: &Trial, step: Option<u64>) -> u64 {
    let noted = trial.system.get(DEATHS).filter(|deaths| deaths["step"].as_u64() == step);
    noted.and_then(|deaths| deaths["count"].as_u64()).unwrap_or(0)
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

pub(super) fn fault(trial: &Trial) -> Option<&str> {
    text(trial.user.get(FAULT))
}

/// The whole spec of a trial; `None` for one that another program made.
pub fn config(trial: &Trial) -> Option<&str> {
    text(trial.user.get(CONFIG))
}

/// Why a trial failed.
pub fn reason(trial: &Trial) -> Option<&str> {
    text(trial.user.get(REASON))
}

/// The trial whose result this one has.
pub fn reused(trial: &Trial) -> Option<u64> {
    trial.user.get(REUSED).and_then(Value::as_u64)
}

/// Whether the trial was set aside because the search was stopped, not because it was behind.
pub fn is_interrupted(trial: &Trial) -> bool {
    trial.system.get(INTERRUPTED) == Some(&Value::Bool(true))
}

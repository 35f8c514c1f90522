//! Trainings that were made before: none is made twice.

use super::{attributes, scorer::FaultKind};
use nasgen_search::{State, Trial};

/// What is known of a training from another trial.
#[derive(Debug, PartialEq)]
pub(super) enum Known<'a> {
    /// Nothing: it has to be trained.
    Nothing,
    /// Its whole result.
    Result(&'a Trial),
    /// A beginning that was judged not worth going on with.
    Beginning(&'a Trial),
    /// It is being trained.
    Soon,
}

/// What the trials know of the training `identity` that trial `number` would be.
pub(super) fn known<'a>(trials: &'a [Trial], identity: &str, number: u64) -> Known<'a> {
    let same = |trial: &&Trial| trial.number != number && trial.identity() == Some(identity);
    let (mut beginning, mut soon) = (None, false);
    for trial in trials.iter().filter(same) {
        match trial.state {
            State::Complete => return Known::Result(trial),
            // It would end the same again.
            State::Fail if attributes::fault(trial) == Some(&FaultKind::Diverged.to_string()) => {
                return Known::Result(trial);
            }
            // One that only has the beginning of another, which may yet go on.
            State::Pruned if attributes::reused(trial).is_some() => {}
            State::Pruned => beginning = Some(trial),
            State::Running if trial.paused && !attributes::is_interrupted(trial) => beginning = Some(trial),
            // Of two that begin at the same time the first one trains.
            State::Running => soon |= trial.number < number,
            State::Fail | State::Waiting => {}
        }
    }
    match beginning {
        Some(trial) => Known::Beginning(trial),
        None if soon => Known::Soon,
        None => Known::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trial(
        number: u64,
        state: State,
        system: &[(&str, serde_json::Value)],
        user: &[(&str, serde_json::Value)],
    ) -> Trial {
        let map = |pairs: &[(&str, serde_json::Value)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        Trial {
            number,
            state,
            paused: false,
            params: Vec::new(),
            values: Vec::new(),
            reports: Vec::new(),
            user: map(user),
            system: map(system),
            started: None,
            finished: None,
        }
    }

    #[test]
    fn a_training_is_known_by_its_identity_and_how_it_ended() {
        let of = |number, state, user: &[(&str, serde_json::Value)]| {
            trial(number, state, &[(Trial::IDENTITY, json!("x"))], user)
        };
        let crashed = of(0, State::Fail, &[(attributes::FAULT, json!("crashed"))]);
        let diverged = of(1, State::Fail, &[(attributes::FAULT, json!("diverged"))]);
        let (pruned, running, complete) =
            (of(2, State::Pruned, &[]), of(3, State::Running, &[]), of(4, State::Complete, &[]));
        let known = |trials: &[&Trial], number| {
            let trials: Vec<Trial> = trials.iter().map(|trial| (*trial).clone()).collect();
            match super::known(&trials, "x", number) {
                Known::Nothing => "nothing".to_owned(),
                Known::Soon => "soon".to_owned(),
                Known::Result(trial) => format!("result {}", trial.number),
                Known::Beginning(trial) => format!("beginning {}", trial.number),
            }
        };
        assert_eq!(known(&[&crashed], 9), "nothing");
        let repetition = of(5, State::Pruned, &[(attributes::REUSED, json!(2))]);
        assert_eq!(known(&[&repetition], 2), "nothing", "what was set aside goes on whoever has its beginning");
        assert_eq!(known(&[&crashed, &diverged], 9), "result 1");
        assert_eq!(known(&[&pruned, &running], 9), "beginning 2");
        assert_eq!(known(&[&pruned, &running, &complete], 9), "result 4");
        assert_eq!((known(&[&running], 9), known(&[&running], 2)), ("soon".into(), "nothing".into()));
        assert_eq!(known(&[&complete], 4), "nothing", "a trial is not its own forerunner");
    }
}

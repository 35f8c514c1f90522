//! What a suggestion saw: which trials there were, and how far each had come. Together with the trials as they
//! ended it gives back the history of that moment, so that a search with many workers can be replayed.

use nasgen_search::{State, Trial};
use std::fmt::Write;

/// The trials of a moment, compactly: `0-11,13 12p@3 14r@2 15r 16w 17n` are trials 0 to 11 and 13, ended; 12, set
/// aside at step 3; 14, at step 2; 15, without a report; 16, in the queue; 17, of which nothing was known yet.
pub fn view(trials: &[Trial]) -> String {
    let mut ended = String::new();
    let mut others = String::new();
    let mut range: Option<(u64, u64)> = None;
    let mut close = |range: Option<(u64, u64)>| {
        let Some((first, last)) = range else { return };
        let comma = if ended.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = if first == last { write!(ended, "{comma}{first}") } else { write!(ended, "{comma}{first}-{last}") };
    };
    for trial in trials {
        if trial.state.is_finished() {
            range = match range {
                Some((first, last)) if last + 1 == trial.number => Some((first, trial.number)),
                before => {
                    close(before);
                    Some((trial.number, trial.number))
                }
            };
            continue;
        }
        let step = trial.last_step().map_or_else(String::new, |step| format!("@{step}"));
        let _ = write!(others, " {}{}{step}", trial.number, letter(trial));
    }
    close(range);
    ended + &others
}

fn letter(trial: &Trial) -> char {
    match trial.state {
        State::Waiting => 'w',
        _ if trial.paused => 'p',
        _ if trial.params.is_empty() => 'n',
        _ => 'r',
    }
}

/// The trials as they were when `view` was taken, of what became of them; `None` if it is no view of these.
pub fn trials_seen(view: &str, trials: &[Trial]) -> Option<Vec<Trial>> {
    let find = |number: u64| trials.iter().find(|trial| trial.number == number).cloned();
    let mut seen = Vec::new();
    for (index, part) in view.split(' ').enumerate() {
        if index == 0 {
            for range in part.split(',').filter(|range| !range.is_empty()) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                for number in first.parse::<u64>().ok()?..=last.parse().ok()? {
                    seen.push(find(number)?);
                }
            }
            continue;
        }
        let at = part.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, rest) = part.split_at(at);
        let (letter, step) = rest.split_at(1);
        let step: Option<u64> = step.strip_prefix('@').map(str::parse).transpose().ok()?;
        seen.push(as_it_was(find(number.parse().ok()?)?, letter, step));
    }
    seen.sort_by_key(|trial| trial.number);
    Some(seen)
}

fn as_it_was(mut trial: Trial, letter: &str, step: Option<u64>) -> Trial {
    trial.state = if letter == "w" { State::Waiting } else { State::Running };
    trial.paused = letter == "p";
    trial.reports.retain(|(reported, _)| step.is_some_and(|step| *reported <= step));
    trial.values.clear();
    trial.finished = None;
    if letter == "n" || letter == "w" {
        trial.params.clear();
    }
    trial
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::Distribution;
    use nasgen_search::{Attributes, Param};
    use serde_json::json;

    fn trial(number: u64, state: State, paused: bool, reports: &[(u64, f64)]) -> Trial {
        let distribution = Distribution::Choice(vec![json!(1), json!(2)]);
        let params = vec![Param { name: "x".into(), distribution, value: json!(1) }];
        let values = if state == State::Complete { vec![0.5] } else { Vec::new() };
        Trial {
            number,
            state,
            paused,
            params,
            values,
            reports: reports.to_vec(),
            user: Attributes::new(),
            system: Attributes::new(),
            started: Some(1),
            finished: state.is_finished().then_some(2),
        }
    }

    #[test]
    fn a_view_gives_back_the_moment() {
        let mut unknown = trial(7, State::Running, false, &[]);
        unknown.params.clear();
        let mut waiting = trial(6, State::Waiting, false, &[]);
        waiting.params.clear();
        let then = vec![
            trial(0, State::Complete, false, &[(1, 0.1)]),
            trial(1, State::Fail, false, &[]),
            trial(2, State::Running, true, &[(1, 0.1), (3, 0.2)]),
            trial(3, State::Pruned, false, &[(1, 0.0)]),
            trial(4, State::Running, false, &[(1, 0.3)]),
            trial(5, State::Running, false, &[]),
            waiting,
            unknown,
        ];
        let view = view(&then);
        assert_eq!(view, "0-1,3 2p@3 4r@1 5r 6w 7n");
        let mut later = then.clone();
        for trial in &mut later[2..] {
            *trial = self::trial(trial.number, State::Complete, false, &[(1, 0.1), (3, 0.2), (4, 0.9)]);
        }
        later[3] = then[3].clone();
        let seen = trials_seen(&view, &later).unwrap();
        let told = |trial: &Trial| {
            (trial.number, trial.state, trial.paused, trial.params.len(), trial.last_step(), trial.values.len())
        };
        assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), then.iter().map(told).collect::<Vec<_>>());
        assert!(trials_seen("0-9", &then).is_none() && trials_seen("0 1", &then).is_none());
        assert_eq!(super::view(&[]), "");
        assert_eq!(trials_seen("", &then), Some(Vec::new()));
    }
}

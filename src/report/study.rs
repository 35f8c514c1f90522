//! Studies and their trials.

use super::network::plain_table;
use crate::{
    numbers::{grouped, short, three_digits},
    search::attributes,
    study::{best, front, last_step, measure, param_names, ranking, state_name, values},
};
use nasgen_search::{Direction, Trial};
use nasgen_storage::Study;
use std::path::Path;

/// Measures that people look for, where trials have them.
const SHOWN: [&str; 6] = ["accuracy", "macro_f1", "loss", "params", "macs", "latency"];
/// Failed trials that are listed.
const MOST_FAILED: usize = 10;
/// Measures that are counts.
const COUNTS: [&str; 2] = ["params", "macs"];

/// One line for each study: where it is, how many trials it has and the best value.
pub fn studies_text(studies: &[(String, Study, Vec<Trial>)]) -> String {
    if studies.is_empty() {
        return "no studies: start one with `nasgen search`\n".to_owned();
    }
    let mut table = plain_table(&["study", "trials", "complete", "best", "storage"], &[1, 2]);
    for (url, study, trials) in studies {
        let ranking = ranking(study, trials);
        let best = best(study, trials).map_or_else(|| "-".to_owned(), |(trial, _)| values_text(study, trial));
        table.add_row([
            study.name.clone(),
            grouped(trials.len() as u64),
            grouped(ranking.len() as u64),
            best,
            url.clone(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

fn values_text(study: &Study, trial: &Trial) -> String {
    let pair = |(objective, value): (&nasgen_search::Objective, f64)| {
        format!("{} {}", objective.name, value_text(&objective.name, value))
    };
    study.objectives.iter().zip(values(study, trial)).map(pair).collect::<Vec<_>>().join(", ")
}

fn value_text(name: &str, value: f64) -> String {
    if COUNTS.contains(&name) && (0.0..1e15).contains(&value) {
        short(value as u64)
    } else if name.starts_with("latency") {
        three_digits(value)
    } else {
        format!("{value:.4}")
    }
}

/// What a study is, how its trials ended, and its best ones.
pub fn study_text(study: &Study, trials: &[Trial], top: usize) -> String {
    let objectives: Vec<String> = study
        .objectives
        .iter()
        .map(|objective| match objective.direction {
            Direction::Maximize => format!("most {}", objective.name),
            Direction::Minimize => format!("least {}", objective.name),
        })
        .collect();
    let states = ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "PAUSED", "WAITING"].into_iter().filter_map(|state| {
        let count = trials.iter().filter(|trial| state_name(trial) == state).count();
        (count > 0).then(|| format!("{} {}", grouped(count as u64), state.to_lowercase()))
    });
    let states: Vec<String> = states.collect();
    let states = if states.is_empty() { "none yet".to_owned() } else { states.join(", ") };
    let ranking = ranking(study, trials);
    let shown = &ranking[..ranking.len().min(top)];
    let mut text = format!("study    {}\nwanted   {}\ntrials   {states}\n", study.name, objectives.join(", "));
    if let Some((trial, _)) = best(study, trials) {
        text += &format!("best     {}\n", chosen_text(study, trials, trial));
    }
    let front = if study.objectives.len() > 1 { front(study, trials) } else { Vec::new() };
    if !front.is_empty() {
        text += &format!("\nNo other is better than these in everything:\n{}\n", trials_table(study, &front));
    }
    if !shown.is_empty() {
        let title = if front.is_empty() { "" } else { "The best by the first of these:\n" };
        text += &format!("\n{title}{}\n", trials_table(study, shown));
    }
    text + &failed_text(trials)
}

/// Which trial, and why it.
fn chosen_text(study: &Study, trials: &[Trial], trial: &Trial) -> String {
    let number = trial.number;
    match best(study, trials).filter(|(best, _)| best.number == number) {
        Some((_, true)) => {
            let outcome = last_step(study);
            let winner = outcome.as_ref().map(|outcome| outcome.winner());
            let again = winner.map_or_else(String::new, |winner| {
                let (mean, count) = (value_text(&study.objectives[0].name, winner.mean()), winner.values.len());
                format!(": {} {mean} again, the mean of {count}", study.objectives[0].name)
            });
            format!("trial {number}, the winner of the last step{again}")
        }
        Some((_, false)) => format!("trial {number}, which has the best {}", study.objectives[0].name),
        None => format!("trial {number}"),
    }
}

/// Failed trials with their reasons.
fn failed_text(trials: &[Trial]) -> String {
    let failed: Vec<&Trial> = trials.iter().filter(|trial| state_name(trial) == "FAIL").collect();
    if failed.is_empty() {
        return String::new();
    }
    let line = |trial: &&Trial| {
        let kind = trial.user.get(attributes::FAULT).and_then(serde_json::Value::as_str).unwrap_or("failed");
        let reason = attributes::reason(trial).unwrap_or("it does not say why");
        format!("trial {:>5}  {kind}: {reason}\n", trial.number)
    };
    let mut text = format!("\nfailed   {}\n", grouped(failed.len() as u64));
    text.extend(failed.iter().take(MOST_FAILED).map(line));
    if failed.len() > MOST_FAILED {
        text += "         … `nasgen study export` has all of them\n";
    }
    text
}

fn params_text(trial: &Trial) -> String {
    let value = |name: &String| trial.param(name).map(|param| param.value.to_string()).unwrap_or_default();
    param_names(std::slice::from_ref(trial)).iter().map(|name| format!("{name}: {}\n", value(name))).collect()
}

/// The trials with what people look for.
fn trials_table(study: &Study, trials: &[&Trial]) -> String {
    let own = study.objectives.iter().map(|objective| objective.name.as_str());
    let mut columns: Vec<&str> = own.collect();
    let has = |name: &str| trials.iter().any(|trial| measure(study, trial, name).is_some());
    columns.extend(SHOWN.into_iter().filter(|name| study.objectives.iter().all(|own| own.name != *name) && has(name)));
    let numeric: Vec<usize> = (0..=columns.len()).collect();
    let mut table = plain_table(&[&["trial"][..], &columns].concat(), &numeric);
    for trial in trials {
        let cell = |name: &&str| measure(study, trial, name).map_or("-".to_owned(), |value| value_text(name, value));
        table.add_row([trial.number.to_string()].into_iter().chain(columns.iter().map(cell)));
    }
    table.trim_fmt()
}

/// One trial of the study at `url`, and its spec unless it was written to a file.
pub fn best_text(
    study: &Study,
    url: &str,
    trials: &[Trial],
    trial: &Trial,
    config: Option<&str>,
    written: Option<&Path>,
) -> String {
    let (name, chosen) = (&study.name, chosen_text(study, trials, trial));
    let table = format!("study    {name} in {url}\nbest     {chosen}\n\n{}", trials_table(study, &[trial]));
    match (config, written) {
        (_, Some(path)) => format!("{table}\n\nits spec is {}\n", path.display()),
        (Some(config), None) => format!("{table}\n\n{config}"),
        // Another program added it.
        (None, None) => format!("{table}\n\n{}", params_text(trial)),
    }
}

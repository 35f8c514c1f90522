//! Studies and their trials.

use super::network::plain_table;
use crate::{
    numbers::{grouped, short},
    study::{measure, ranking, state_name},
};
use nasgen_search::{Direction, Trial};
use nasgen_storage::Study;
use std::path::Path;

/// Measures that people look for, where trials have them.
const SHOWN: [&str; 6] = ["accuracy", "macro_f1", "loss", "params", "macs", "latency"];
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
        let best = ranking.first().map_or_else(|| "-".to_owned(), |trial| values_text(study, trial));
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
    let pair = |(objective, value): (&nasgen_search::Objective, &f64)| {
        format!("{} {}", objective.name, value_text(&objective.name, *value))
    };
    study.objectives.iter().zip(&trial.values).map(pair).collect::<Vec<_>>().join(", ")
}

fn value_text(name: &str, value: f64) -> String {
    if COUNTS.contains(&name) && (0.0..1e15).contains(&value) { short(value as u64) } else { format!("{value:.4}") }
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
    let heading = format!("study    {}\nwanted   {}\ntrials   {states}\n", study.name, objectives.join(", "));
    if shown.is_empty() { heading } else { format!("{heading}\n{}\n", trials_table(study, shown)) }
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
pub fn best_text(study: &Study, url: &str, trial: &Trial, config: Option<&str>, written: Option<&Path>) -> String {
    let table = format!("study    {} in {url}\n\n{}", study.name, trials_table(study, &[trial]));
    match (config, written) {
        (_, Some(path)) => format!("{table}\n\nits spec is {}\n", path.display()),
        (Some(config), None) => format!("{table}\n\n{config}"),
        (None, None) => format!("{table}\n"),
    }
}

//! What a search came to.

use super::{
    board::word,
    last_step::{Finale, made_again},
    setup::Setup,
    study::Opened,
    workers::{TALLY, config_file, percent, plural},
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
        train::quoted,
    },
    data::Source,
    files,
    numbers::{grouped, short, three_digits},
    report::{StudyPage, chance_text},
    search::{End, Finalist, Tally, attributes, finalists},
    study,
};
use nasgen_search::{History, Objective, State, Trial, importances};
use nasgen_storage::{Study, connect};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What is said, and what programs are given.
struct Found<'a> {
    setup: &'a Setup<'a>,
    opened: &'a Opened,
    end: &'a End,
    study: Study,
    /// Whether the best is the winner of a last step.
    won: bool,
    trials: Vec<Trial>,
    /// The trial that is recommended: of the last step, else the best value.
    best: Trial,
    best_file: PathBuf,
    finale: Option<&'a Finale>,
}

pub(super) fn say(
    setup: &Setup<'_>,
    opened: &Opened,
    end: &End,
    finale: Option<&Finale>,
    output: &Output,
) -> Result<(), Failure> {
    let mut storage = connect(&opened.url)?;
    // What the time or a good value cut off is not judged: the same command goes on with it.
    if !matches!(end, End::Stopped | End::GoodEnough) {
        storage.close(opened.id)?;
    }
    let trials = storage.trials(opened.id)?.to_vec();
    let (_, study) = storage
        .study(&opened.name)?
        .ok_or_else(|| Failure::new(Kind::Failed, format!("the study `{}` is gone", opened.name)))?;
    let (best, won) = study::best(&study, &trials).ok_or_else(|| nothing(&trials, &study.objectives, end))?;
    let best = best.clone();
    let best_file = opened.folder.join("best.yml");
    write_best(setup, opened, &best, &best_file, output)?;
    let page = opened.folder.join("report.html");
    let html = study_page(&study, &trials);
    files::write_whole(&page, html.as_bytes())
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", page.display())))?;
    let found = Found { setup, opened, end, study, won, trials, best, best_file, finale };
    let json = found.json()?;
    output.result(|| found.text(), || json)
}

/// Writes the best trial's spec; one that another program added is made again from its draws.
fn write_best(setup: &Setup<'_>, opened: &Opened, best: &Trial, path: &Path, output: &Output) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display()));
    let text = match attributes::config(best) {
        Some(text) => Some(text.to_owned()),
        None => made_again(setup, opened, best)?,
    };
    match text {
        Some(text) => files::write_whole(path, text.as_bytes()).map_err(failed),
        None => {
            output.note(&format!("trial {} is not of this space: there is no best.yml", best.number));
            // One of before would be of another trial.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            }
        }
    }
}

/// The study as a page.
fn study_page(study: &Study, trials: &[Trial]) -> String {
    let system = &study.system;
    let outcome = study::last_step(study);
    let history = History { study: &study.name, objectives: &study.objectives, trials };
    let mut importance = importances(history);
    let all: f64 = importance.iter().map(|(_, share)| share).sum();
    importance.iter_mut().for_each(|(_, share)| *share /= all.max(f64::MIN_POSITIVE));
    let mut tally = Tally::default();
    let counted = system.range(TALLY.to_owned()..).take_while(|(name, _)| name.starts_with(TALLY));
    for part in counted.filter_map(|(_, value)| serde_json::from_value::<Tally>(value.clone()).ok()) {
        tally.add(&part);
    }
    StudyPage { study, trials, outcome: outcome.as_ref(), tally: &tally, importance: &importance }.html()
}

/// No trial has a value.
fn nothing(trials: &[Trial], objectives: &[Objective], end: &End) -> Failure {
    if *end == End::Stopped && trials.iter().any(|trial| trial.paused) {
        let farthest = finalists(trials, objectives, 1);
        let farthest = trials.iter().find(|trial| farthest.contains(&trial.number));
        let farthest = farthest.and_then(|trial| {
            let (step, value) = trial.reports.last()?;
            let name = &objectives[0].name;
            Some(format!(" Farthest came trial {}, with {name} {value:.4} after step {step}.", trial.number))
        });
        let message = format!(
            "the time was up before any trial ended.{} Nothing is lost: the same command goes on, best with more --time",
            farthest.unwrap_or_default()
        );
        return Failure::new(Kind::Failed, message);
    }
    if *end == End::Stopped && trials.is_empty() {
        let message = "the time was up before any draw fitted the limits: wider ones, or more --time, may find one";
        return Failure::new(Kind::NothingFits, message);
    }
    let failed: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Fail).collect();
    let diverged = |trial: &&Trial| trial.user.get(attributes::FAULT) == Some(&json!("diverged"));
    let kind = if !failed.is_empty() && failed.iter().all(diverged) { Kind::Diverged } else { Kind::Failed };
    let last = failed.last().and_then(|trial| attributes::reason(trial));
    let last = last.map_or_else(String::new, |reason| format!("; the last failed one: {reason}"));
    Failure::new(kind, format!("no trial of {} came to a value{last}", trials.len()))
}

impl Found<'_> {
    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for trial in &self.trials {
            *counts.entry(word(trial.state, attributes::reused(trial).is_some(), trial.paused)).or_default() += 1;
        }
        counts
    }

    fn trial_json(&self, trial: &Trial) -> Result<Value, Failure> {
        let values: Map<String, Value> = self
            .setup
            .objectives
            .iter()
            .zip(study::values(&self.study, trial))
            .map(|(one, value)| (one.name.clone(), json!(value)))
            .collect();
        let costs: Map<String, Value> = trial.costs().map(|(name, cost)| (name.to_owned(), json!(cost))).collect();
        Ok(
            json!({ "number": trial.number, "values": values, "config": config_file(self.opened, trial)?, "costs": costs }),
        )
    }

    fn json(&self) -> Result<Value, Failure> {
        let counts = self.counts();
        let count = |word: &str| counts.get(word).copied().unwrap_or(0);
        let mut best = self.trial_json(&self.best)?;
        best["config"] = json!(self.best_file);
        let front = study::front(&self.study, &self.trials)
            .into_iter()
            .map(|trial| self.trial_json(trial))
            .collect::<Result<Vec<_>, _>>()?;
        let finale = self.finale.map(|finale| {
            let finalist = |one: &Finalist| {
                json!({
                    "number": one.number, "values": one.values, "mean": one.mean(), "deviation": one.deviation(),
                    "chance": one.chance,
                })
            };
            json!({
                "finalists": finale.outcome.finalists.iter().map(finalist).collect::<Vec<_>>(),
                "test": finale.outcome.test, "test_images": finale.test_images, "run": finale.weights,
            })
        });
        Ok(json!({
            "study": self.opened.name,
            "storage": self.opened.url,
            "trials": {
                "complete": count("complete"), "pruned": count("pruned"), "failed": count("failed"),
                "reused": count("reused"), "paused": count("paused"),
            },
            "ended": self.ended().0,
            "best": best,
            "front": front,
            "final": finale,
        }))
    }

    fn text(&self) -> String {
        let Opened { name, url, folder, before, .. } = self.opened;
        let counts = self.counts();
        let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let new = self.trials.len().saturating_sub(*before);
        let mut text = format!("study   {name} in {url}: {} ({new} new)\n", counts.join(", "));
        text += &format!("ended   {}\n", self.ended().1);
        let won = if self.won { ", the winner of the last step" } else { "" };
        text += &format!("best    {}{won}\n", self.line(&self.best));
        if self.setup.objectives.len() > 1 {
            text += "front   no other is better than these in everything:\n";
            for trial in study::front(&self.study, &self.trials) {
                text += &format!("        {}\n", self.line(trial));
            }
        }
        if let Some(finale) = self.finale {
            text += &self.last_step(finale);
        }
        let spec = quoted(&self.best_file.display().to_string());
        text += &format!("files   {}: best.yml, report.html, trials\n", folder.display());
        match self.setup.config.data {
            _ if self.setup.pictures.is_none() => {}
            Source::Synthetic => {
                text += &format!("next:   nasgen train {spec} --data FOLDER_OF_YOUR_IMAGES --classes N\n")
            }
            ref data => {
                let epochs = self.setup.config.settings.epochs * 3;
                text +=
                    &format!("next:   nasgen train {spec} --data {} --epochs {epochs}\n", quoted(&data.to_string()));
            }
        }
        if let Some(run) = self.finale.and_then(|finale| finale.weights.as_ref()) {
            let run = quoted(&run.display().to_string());
            text += &format!("        nasgen predict {run} IMAGE · nasgen eval {run}\n");
        }
        text.trim_end().to_owned()
    }

    /// Why the search ended, in a word for programs and for people with how it goes on.
    fn ended(&self) -> (&'static str, String) {
        let cut = self.trials.iter().filter(|trial| trial.paused && attributes::is_interrupted(trial)).count();
        let on = match cut {
            0 => "the same command goes on".to_owned(),
            1 => "the same command goes on with the trial that was cut off".to_owned(),
            cut => format!("the same command goes on with the {cut} trials that were cut off"),
        };
        match self.end {
            End::Trials => {
                let wanted = self.setup.arguments.trials.unwrap_or(0);
                let before = match self.opened.before as u64 {
                    before if before >= wanted => format!(", which the study had before: {before}"),
                    _ => String::new(),
                };
                (
                    "trials",
                    format!("all of --trials {wanted} were begun{before}; with more of them the same command goes on"),
                )
            }
            End::Exhausted if self.setup.sampler.text.starts_with("grid") => {
                let words = "every point of the grid was tried; a finer one (grid:values_per_range=9), or another --sampler, \
                             goes on";
                ("exhausted", words.to_owned())
            }
            End::Exhausted => ("exhausted", "everything in the space was tried; there is nothing more".to_owned()),
            End::Infeasible { attempts, reason } => {
                let words = format!("none of {attempts} more draws fits the limits; the nearest: {reason}");
                ("infeasible", words)
            }
            End::GoodEnough => ("until", format!("a trial is as good as --until asks; without it {on}")),
            End::Stopped => ("time", format!("the time was up; {on}")),
        }
    }

    fn line(&self, trial: &Trial) -> String {
        let values = self.setup.objectives.iter().zip(study::values(&self.study, trial));
        let mut words: Vec<String> = values
            .filter(|(objective, _)| !objective.known)
            .map(|(objective, value)| format!("{} {}", objective.name, percent(objective, value)))
            .collect();
        for (name, cost) in trial.costs() {
            words.push(match name {
                "params" => format!("{} parameters", grouped(cost as u64)),
                "macs" => format!("{} MACs", short(cost as u64)),
                "latency" => format!("{} ms", three_digits(cost)),
                _ => format!("{name} {cost}"),
            });
        }
        format!("trial {}: {}", trial.number, words.join(", "))
    }

    fn last_step(&self, finale: &Finale) -> String {
        let objective = &self.setup.objectives[0];
        let seeds = finale.outcome.winner().values.len() as u64;
        let each = plural(seeds, "seed");
        let mut text = format!("again   {seeds} {each} each, on the validation images:\n");
        for finalist in &finale.outcome.finalists {
            let said = match (finalist.chance, finalist.is_worse()) {
                (Some(chance), Some(true)) => format!("   really worse ({})", chance_text(chance)),
                (Some(chance), _) => format!("   not measurably worse ({})", chance_text(chance)),
                (None, _) => String::new(),
            };
            let mean = percent(objective, finalist.mean());
            // One value has no deviation.
            let deviation = (seeds > 1).then(|| format!(" ± {}", percent(objective, finalist.deviation())));
            text += &format!("        trial {:<5} {mean}{}{said}\n", finalist.number, deviation.unwrap_or_default());
        }
        text += &match &finale.outcome.test[..] {
            [] => "test    the data has no test images: the values above chose the winner, and flatter it\n".to_owned(),
            values => {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let each: Vec<String> = values.iter().map(|value| percent(objective, *value)).collect();
                let each = if each.len() > 1 { format!(" ({})", each.join(", ")) } else { String::new() };
                let (mean, images) = (percent(objective, mean), finale.test_images);
                format!("test    {mean}{each} on {images} images that nothing was chosen by\n")
            }
        };
        text
    }
}

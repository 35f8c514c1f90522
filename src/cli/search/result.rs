//! What a search came to.

use super::{
    board::word,
    setup::{Opened, Setup},
    workers::{FINAL, Finale, TALLY, config_file, percent},
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
        train::quoted,
    },
    data::Source,
    files,
    numbers::{grouped, short},
    report::StudyPage,
    search::{Finalist, Tally, attributes, ranking},
};
use nasgen_search::{History, State, Trial, pareto};
use nasgen_storage::{Study, connect};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::PathBuf};

/// What is said, and what programs are given.
struct Found<'a> {
    setup: &'a Setup<'a>,
    opened: &'a Opened,
    trials: Vec<Trial>,
    /// The trial that is recommended: of the last step, else the best value.
    best: Trial,
    best_file: PathBuf,
    finale: Option<&'a Finale>,
}

pub(super) fn say(setup: &Setup<'_>, opened: &Opened, finale: Option<&Finale>, output: &Output) -> Result<(), Failure> {
    let mut storage = connect(&opened.url)?;
    storage.close(opened.id)?;
    let trials = storage.trials(opened.id)?.to_vec();
    let first = ranking(&trials, &setup.objectives).first().map(|trial| trial.number);
    let number = finale.map(|finale| finale.outcome.winner().number).or(first).ok_or_else(|| nothing(&trials))?;
    let best = trials.iter().find(|trial| trial.number == number).cloned();
    let best = best.ok_or_else(|| Failure::new(Kind::Failed, format!("trial {number} is gone")))?;
    let best_file = opened.folder.join("best.yml");
    if let Some(text) = attributes::config(&best) {
        files::write_whole(&best_file, text.as_bytes())
            .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", best_file.display())))?;
    }
    let page = opened.folder.join("report.html");
    let (_, study) = storage
        .study(&opened.name)?
        .ok_or_else(|| Failure::new(Kind::Failed, format!("the study `{}` is gone", opened.name)))?;
    let html = study_page(&study, &trials);
    files::write_whole(&page, html.as_bytes())
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", page.display())))?;
    let found = Found { setup, opened, trials, best, best_file, finale };
    let json = found.json()?;
    output.result(|| found.text(), || json)
}

/// The study as a page.
fn study_page(study: &Study, trials: &[Trial]) -> String {
    let system = &study.system;
    let outcome = system.get(FINAL).and_then(|last| serde_json::from_value(last["outcome"].clone()).ok());
    let mut tally = Tally::default();
    let counted = system.range(TALLY.to_owned()..).take_while(|(name, _)| name.starts_with(TALLY));
    for part in counted.filter_map(|(_, value)| serde_json::from_value::<Tally>(value.clone()).ok()) {
        tally.add(&part);
    }
    StudyPage { study, trials, outcome: outcome.as_ref(), tally: &tally, importance: &[] }.html()
}

/// No trial has a value.
fn nothing(trials: &[Trial]) -> Failure {
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
            *counts.entry(word(trial.state, attributes::reused(trial).is_some())).or_default() += 1;
        }
        counts
    }

    /// The trials that no other is better than in every objective.
    fn front(&self) -> Vec<&Trial> {
        let complete: Vec<&Trial> = self
            .trials
            .iter()
            .filter(|trial| {
                trial.state == State::Complete
                    && trial.values.len() == self.setup.objectives.len()
                    && attributes::reused(trial).is_none()
            })
            .collect();
        let history = History { study: &self.opened.name, objectives: &self.setup.objectives, trials: &self.trials };
        let losses: Vec<Vec<f64>> = complete.iter().map(|trial| history.losses(trial)).collect();
        pareto::front(&losses).into_iter().map(|index| complete[index]).collect()
    }

    fn trial_json(&self, trial: &Trial) -> Result<Value, Failure> {
        let values: Map<String, Value> = self
            .setup
            .objectives
            .iter()
            .zip(&trial.values)
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
        let front = self.front().into_iter().map(|trial| self.trial_json(trial)).collect::<Result<Vec<_>, _>>()?;
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
                "reused": count("reused"),
            },
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
        text += &format!("best    {}\n", self.line(&self.best));
        if self.setup.objectives.len() > 1 {
            text += &format!("front   {} trials that no other is better than in everything\n", self.front().len());
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
        text + "        the same command with more --trials or --time goes on"
    }

    fn line(&self, trial: &Trial) -> String {
        let values = self.setup.objectives.iter().zip(&trial.values);
        let mut words: Vec<String> = values
            .filter(|(objective, _)| !objective.known)
            .map(|(objective, value)| format!("{} {}", objective.name, percent(objective, *value)))
            .collect();
        for (name, cost) in trial.costs() {
            words.push(match name {
                "params" => format!("{} parameters", grouped(cost as u64)),
                "macs" => format!("{} MACs", short(cost as u64)),
                "latency" => format!("{cost:.2} ms"),
                _ => format!("{name} {cost}"),
            });
        }
        format!("trial {}: {}", trial.number, words.join(", "))
    }

    fn last_step(&self, finale: &Finale) -> String {
        let objective = &self.setup.objectives[0];
        let seeds = self.setup.arguments.final_seeds;
        let mut text = format!("again   {seeds} seeds each, on the validation images:\n");
        for finalist in &finale.outcome.finalists {
            let said = match (finalist.chance, finalist.is_worse()) {
                (Some(chance), Some(true)) => format!("   really worse (p = {chance:.2})"),
                (Some(chance), _) => format!("   not measurably worse (p = {chance:.2})"),
                (None, _) => String::new(),
            };
            let (mean, deviation) = (percent(objective, finalist.mean()), percent(objective, finalist.deviation()));
            text += &format!("        trial {:<5} {mean} ± {deviation}{said}\n", finalist.number);
        }
        text += &match &finale.outcome.test[..] {
            [] => "test    the data has no test images: the values above chose the winner, and flatter it\n".to_owned(),
            values => {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let each: Vec<String> = values.iter().map(|value| percent(objective, *value)).collect();
                format!(
                    "test    {} ({}) on {} images that nothing was chosen by\n",
                    percent(objective, mean),
                    each.join(", "),
                    finale.test_images
                )
            }
        };
        text
    }
}

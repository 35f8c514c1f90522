//! A study as one page: what was found, how it was found, and every trial.

use super::html::{
    chart::{Axis, Coordinate, Point, Series, Span, lines, parallel, scatter, timeline},
    number,
    page::{Section, facts, page},
    table::{Cell, table},
};
use crate::{
    numbers::{grouped, short},
    search::{Outcome, Tally, attributes, ranking},
    study,
};
use maud::{Markup, html};
use nasgen_modules::Distribution;
use nasgen_search::{History, Objective, State, Trial, pareto};
use nasgen_storage::Study;
use serde_json::Value;
use std::collections::BTreeMap;

/// Points beside the front, lines and spans that one chart shows; of more an even choice.
const MOST_POINTS: usize = 2000;
const MOST_LINES: usize = 200;
/// Params of the parallel coordinates.
const MOST_PARAMS: usize = 7;
/// Moments at which the hypervolume is computed.
const MOMENTS: usize = 100;
/// Of fewer trials the best tenth is none.
const LEAST_TRIALS: usize = 10;
/// Steps of the bars of importance.
const MOST_IMPORTANCES: usize = 20;

/// What a page shows.
pub struct StudyPage<'a> {
    /// The study.
    pub study: &'a Study,
    /// All of its trials, by number.
    pub trials: &'a [Trial],
    /// What came of the last step.
    pub outcome: Option<&'a Outcome>,
    /// What became of draws before they were trained.
    pub tally: &'a Tally,
    /// Params with their share of what decides about the first objective, the most important first.
    pub importance: &'a [(String, f64)],
}

impl<'a> StudyPage<'a> {
    /// The page, one file that needs no network.
    pub fn html(&self) -> String {
        let sections = [
            ("front", "What was found", self.found()),
            ("history", "How it was found", self.history()),
            ("params", "What mattered", self.params()),
            ("curves", "Curves", self.curves()),
            ("workers", "Who worked when", self.workers()),
            ("refused", "What was refused, and what failed", self.refused()),
            ("trials", "Every trial", self.every_trial()),
        ];
        let sections = sections.map(|(id, title, body)| Section { id, title: title.into(), body });
        page(&format!("Study {}", self.study.name), &self.summary(), &sections)
    }

    fn objectives(&self) -> &[Objective] {
        &self.study.objectives
    }

    fn first(&self) -> &Objective {
        &self.study.objectives[0]
    }

    fn complete(&self) -> impl Iterator<Item = &Trial> {
        let whole = |trial: &&Trial| trial.state == State::Complete && trial.values.len() == self.objectives().len();
        self.trials.iter().filter(whole)
    }

    /// Whether trials are networks, and not named values alone.
    fn has_networks(&self) -> bool {
        self.trials.iter().any(|trial| trial.costs().next().is_some())
    }

    fn summary(&self) -> Markup {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for trial in self.trials {
            *counts.entry(state_word(trial)).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(word, count)| format!("{} {word}", grouped(*count as u64))).collect();
        let best = study::best(self.study, self.trials).map(|(trial, won)| {
            format!("{}{}", self.line(trial), if won { ", the winner of the last step" } else { "" })
        });
        let front = if self.objectives().len() > 1 { study::front(self.study, self.trials) } else { Vec::new() };
        let about = self.study.system.get(attributes::ABOUT).and_then(Value::as_array);
        let pair = |pair: &'a Value| Some((pair[0].as_str()?, pair[1].as_str()?.to_owned()));
        let about = about.into_iter().flatten().filter_map(pair);
        // A command is long, and a line to copy.
        let (commands, about): (Vec<_>, Vec<_>) = about.partition(|(name, _)| *name == "command");
        let spent: f64 = self.trials.iter().filter_map(seconds).sum();
        html! {
            p class="lead" { (best.map_or_else(|| "No trial has a value yet.".to_owned(), |line| format!("Best: {line}"))) }
            (facts(&[("trials", counts.join(", ")), ("time in trials", clock(spent))]))
            @if !about.is_empty() {
                h3 { "What was searched" }
                (facts(&about))
                @for (_, command) in &commands { pre class="command" { (command) } }
            }
            @if !front.is_empty() {
                h3 { "No other is better than these in everything" }
                ul { @for trial in &front { li { (self.line(trial)) } } }
            }
            @if let Some(outcome) = self.outcome { (self.last_step(outcome)) }
        }
    }

    fn last_step(&self, outcome: &Outcome) -> Markup {
        let rows: Vec<Vec<Cell>> = outcome
            .finalists
            .iter()
            .enumerate()
            .map(|(rank, one)| {
                let said = match (one.chance, one.is_worse()) {
                    (Some(chance), Some(true)) => format!("really worse ({})", chance_text(chance)),
                    (Some(chance), _) => format!("not measurably worse ({})", chance_text(chance)),
                    (None, _) if rank == 0 => "the winner".into(),
                    (None, _) => "one seed does not say whether it is worse".into(),
                };
                // One value has no deviation.
                let deviation = (one.values.len() > 1).then(|| format!(" ± {}", number(one.deviation())));
                vec![
                    Cell::number(one.number),
                    Cell::number(format!("{}{}", number(one.mean()), deviation.unwrap_or_default())),
                    Cell::text(said),
                ]
            })
            .collect();
        html! {
            h3 { "The best again, with other seeds" }
            (table(&["trial", &self.first().name, "difference"], &rows))
            @if !outcome.test.is_empty() {
                @let mean = outcome.test.iter().sum::<f64>() / outcome.test.len() as f64;
                p { "On the test images, which nothing was chosen by: " strong { (number(mean)) } "." }
            }
        }
    }

    fn line(&self, trial: &Trial) -> String {
        let values = self.objectives().iter().zip(study::values(self.study, trial));
        let values = values.map(|(one, value)| format!("{} {}", one.name, shown(&one.name, value)));
        let costs = trial.costs().filter(|(name, _)| self.objectives().iter().all(|one| one.name != *name));
        let costs = costs.map(|(name, cost)| format!("{name} {}", shown(name, cost)));
        format!("trial {}, {}", trial.number, values.chain(costs).collect::<Vec<_>>().join(", "))
    }

    /// The first objective over the second, or over a cost.
    fn found(&self) -> Markup {
        let complete: Vec<&Trial> = self.complete().collect();
        let second: Vec<(String, Vec<f64>)> = match self.objectives() {
            [_] => ["params", "macs"].map(|name| self.costs(&complete, name)).into_iter().flatten().collect(),
            [_, others @ ..] => others
                .iter()
                .enumerate()
                .map(|(index, one)| (one.name.clone(), complete.iter().map(|trial| trial.values[index + 1]).collect()))
                .collect(),
            [] => Vec::new(),
        };
        html! {
            div class="grid" {
                @for (name, across) in &second { (self.over(&complete, name, across)) }
            }
            @if second.is_empty() { p { "One objective, and nothing known of what a trial costs." } }
        }
    }

    fn costs(&self, trials: &[&Trial], name: &str) -> Option<(String, Vec<f64>)> {
        let cost = |trial: &&Trial| trial.costs().find(|(cost, _)| *cost == name).map(|(_, cost)| cost);
        let costs: Vec<f64> = trials.iter().map(|trial| cost(trial).unwrap_or(f64::NAN)).collect();
        costs.iter().any(|cost| cost.is_finite()).then(|| (name.to_owned(), costs))
    }

    fn over(&self, trials: &[&Trial], name: &str, across: &[f64]) -> Markup {
        let loss = |value: f64| self.first().direction.to_minimize(value);
        let seen: Vec<usize> = (0..trials.len()).filter(|index| across[*index].is_finite()).collect();
        let points: Vec<[f64; 2]> = seen.iter().map(|index| [loss(trials[*index].values[0]), across[*index]]).collect();
        let front = pareto::front(&points);
        let is_front = |place: usize| front.binary_search(&place).is_ok();
        let rest = seen.len().saturating_sub(front.len());
        let every = rest.div_ceil(MOST_POINTS).max(1);
        let kept = (0..seen.len()).filter(|place| is_front(*place) || place % every == 0);
        let points: Vec<Point> = kept
            .map(|place| {
                let trial = trials[seen[place]];
                Point { place: [across[seen[place]], trial.values[0]], name: self.line(trial), front: is_front(place) }
            })
            .collect();
        let axis = if across.iter().all(|value| value.is_nan() || *value > 0.0) {
            Axis::new(name).log()
        } else {
            Axis::new(name)
        };
        scatter(
            &format!("{} and {name}", self.first().name),
            &axis,
            &Axis::new(&self.first().name),
            &points,
            ["trials", "no other is better in both"],
        )
    }

    fn history(&self) -> Markup {
        let direction = self.first().direction;
        let mut best: Option<f64> = None;
        let (mut line, mut points) = (Vec::new(), Vec::new());
        for trial in self.complete() {
            let value = trial.values[0];
            let better = best.is_none_or(|best| direction.to_minimize(value) < direction.to_minimize(best));
            if better {
                best = Some(value);
            }
            line.push([trial.number as f64, best.unwrap_or(value)]);
            points.push(Point { place: [trial.number as f64, value], name: self.line(trial), front: better });
        }
        let every = points.len().div_ceil(MOST_POINTS).max(1);
        let (line, points): (Vec<_>, Vec<_>) = line
            .into_iter()
            .zip(points)
            .enumerate()
            .filter(|(place, (_, point))| point.front || place % every == 0)
            .map(|(_, pair)| pair)
            .unzip();
        let name = &self.first().name;
        let trial = Axis::new("trial");
        html! {
            div class="grid" {
                (scatter(&format!("{name} of each trial"), &trial, &Axis::new(name), &points, ["trials", "best so far"]))
                (lines("Best so far", &trial, &Axis::new(name), &[Series { name: "best".into(), points: line }], &[]))
                @if let [_, _, ..] = self.objectives() { (self.hypervolume()) }
            }
        }
    }

    /// What the front dominates, after each of some moments.
    fn hypervolume(&self) -> Markup {
        let history = History { study: &self.study.name, objectives: self.objectives(), trials: self.trials };
        let complete: Vec<&Trial> = self.complete().collect();
        let losses: Vec<Vec<f64>> = complete.iter().map(|trial| history.losses(trial)).collect();
        let reference = pareto::reference_beyond(&losses);
        let every = losses.len().div_ceil(MOMENTS).max(1);
        let mut front: Vec<Vec<f64>> = Vec::new();
        let mut points = Vec::new();
        for (place, loss) in losses.iter().enumerate() {
            if !front.iter().any(|other| pareto::dominates(other, loss) || other == loss) {
                front.retain(|other| !pareto::dominates(loss, other));
                front.push(loss.clone());
            }
            if place % every == 0 || place + 1 == losses.len() {
                points.push([complete[place].number as f64, pareto::hypervolume(&front, &reference)]);
            }
        }
        let series = Series { name: "hypervolume".into(), points };
        lines("Hypervolume of the front", &Axis::new("trial"), &Axis::new("hypervolume").with(&[0.0]), &[series], &[])
    }

    fn params(&self) -> Markup {
        let rows: Vec<Vec<Cell>> = self
            .importance
            .iter()
            .take(MOST_IMPORTANCES)
            .map(|(name, share)| vec![Cell::text(name), Cell::Share(*share)])
            .collect();
        let complete = self.complete().count();
        html! {
            @if complete < LEAST_TRIALS {
                p { "Too few trials with a value to say which param matters." }
            } @else {
                p { "Which params tell the best tenth of the trials from all (PED-ANOVA, Watanabe et al. 2023)." }
                (table(&["param", "importance"], &rows))
            }
            (self.coordinates())
        }
    }

    /// The best trials with the params that matter most, those that all trials have first.
    fn coordinates(&self) -> Markup {
        let best: Vec<&Trial> = ranking(self.trials, self.objectives()).into_iter().take(MOST_LINES).collect();
        let mut names: Vec<&str> = self.importance.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            names = best.iter().flat_map(|trial| trial.params.iter().map(|param| param.name.as_str())).collect();
            let mut seen = std::collections::BTreeSet::new();
            names.retain(|name| seen.insert(*name));
        }
        let drawn = |name: &&str| best.iter().filter(|trial| trial.param(name).is_some()).count();
        names.retain(|name| drawn(name) * 2 > best.len());
        names.truncate(MOST_PARAMS);
        let mut coordinates: Vec<Coordinate> = names
            .iter()
            .map(|name| {
                let values = best.iter().filter_map(|trial| trial.param(name)).map(|param| &param.value);
                let mut words: Vec<String> = values.filter(|value| !value.is_number()).map(word).collect();
                words.sort_unstable();
                words.dedup();
                let log = best.iter().filter_map(|trial| trial.param(name)).any(|param| is_log(&param.distribution));
                Coordinate { name: (*name).to_owned(), names: words, log }
            })
            .collect();
        coordinates.push(Coordinate { name: self.first().name.clone(), names: Vec::new(), log: false });
        let row = |trial: &&Trial| -> Vec<f64> {
            let values = names.iter().zip(&coordinates).map(|(name, coordinate)| {
                let Some(param) = trial.param(name) else { return f64::NAN };
                match param.value.as_f64() {
                    Some(value) if coordinate.names.is_empty() => value,
                    _ => coordinate
                        .names
                        .iter()
                        .position(|known| *known == word(&param.value))
                        .map_or(f64::NAN, |at| at as f64),
                }
            });
            values.chain([trial.values[0]]).collect()
        };
        let rows: Vec<Vec<f64>> = best.iter().map(row).collect();
        let top = (best.len() / 10).max(1);
        let highlighted: Vec<bool> = (0..best.len()).map(|place| place < top).collect();
        let title = match best.len() {
            0 | 1 => return html! {},
            count @ ..20 => format!("The best {count} trials, the very best marked"),
            count => format!("The best {count} trials, a tenth of them marked"),
        };
        parallel(&title, &coordinates, &rows, &highlighted)
    }

    /// The best trials' curves, and some that were stopped early.
    fn curves(&self) -> Markup {
        let best = ranking(self.trials, self.objectives());
        let of = |trials: &[&Trial]| -> Vec<Series> {
            let curve = |trial: &&Trial| Series {
                name: format!("trial {}", trial.number),
                points: trial.reports.iter().map(|(step, value)| [*step as f64, *value]).collect(),
            };
            trials.iter().filter(|trial| !trial.reports.is_empty()).map(curve).collect()
        };
        // What the end of the search cut off was not judged.
        let judged = |trial: &&Trial| trial.paused && !attributes::is_interrupted(trial);
        let pruned: Vec<&Trial> =
            self.trials.iter().filter(|trial| trial.state == State::Pruned || judged(trial)).collect();
        let every = pruned.len().div_ceil(MOST_LINES / 4).max(1);
        let pruned: Vec<&Trial> = pruned.into_iter().step_by(every).collect();
        let (step, value) = (Axis::new("step"), Axis::new(&self.first().name));
        html! {
            div class="grid" {
                (lines("The best six", &step, &value, &of(&best[..best.len().min(6)]), &[]))
                @if !pruned.is_empty() { (lines("Stopped early", &step, &value, &of(&pruned), &[])) }
            }
        }
    }

    fn workers(&self) -> Markup {
        let began = self.trials.iter().filter_map(|trial| trial.started).min().unwrap_or(0);
        let mut lanes: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        let timed: Vec<&Trial> =
            self.trials.iter().filter(|trial| trial.started.is_some() && trial.finished.is_some()).collect();
        let every = timed.len().div_ceil(MOST_POINTS).max(1);
        for trial in timed.iter().step_by(every) {
            let (Some(from), Some(to)) = (trial.started, trial.finished) else { continue };
            let worker = trial.system.get(attributes::WORKER).and_then(Value::as_str).unwrap_or("another program");
            let minutes = |time: i64| (time - began) as f64 / 60e6;
            let kind = match trial.state {
                State::Complete => 0,
                State::Pruned => 1,
                _ => 2,
            };
            let span = Span {
                time: [minutes(from), minutes(to)],
                kind,
                name: format!("trial {}: {}", trial.number, state_word(trial)),
            };
            lanes.entry(worker.to_owned()).or_default().push(span);
        }
        let lanes: Vec<(String, Vec<Span>)> = lanes.into_iter().collect();
        timeline("Trials by worker", &Axis::new("minutes"), &lanes, &["complete", "stopped early", "failed"])
    }

    fn refused(&self) -> Markup {
        let Tally { fit, refused } = self.tally;
        let drawn = fit + refused.values().sum::<u64>();
        let share = |count: u64| Cell::Share(count as f64 / drawn.max(1) as f64);
        let mut rows = vec![vec![Cell::text("fits"), Cell::number(grouped(*fit)), share(*fit)]];
        rows.extend(refused.iter().map(|(reason, count)| {
            let words = match reason.as_str() {
                "impossible" => "layers cannot stand on each other, or a constraint of the space is broken".to_owned(),
                cost => format!("too many {cost}").replace("many latency", "slow"),
            };
            vec![Cell::text(words), Cell::number(grouped(*count)), share(*count)]
        }));
        let failed: Vec<&Trial> = self.trials.iter().filter(|trial| trial.state == State::Fail).collect();
        let failures: Vec<Vec<Cell>> = failed
            .iter()
            .take(MOST_LINES)
            .map(|trial| {
                let kind = trial.user.get(attributes::FAULT).and_then(Value::as_str).unwrap_or("");
                let reason = attributes::reason(trial).unwrap_or("it does not say why");
                vec![Cell::number(trial.number), Cell::text(kind), Cell::text(reason)]
            })
            .collect();
        html! {
            @if drawn > 0 && self.has_networks() {
                p { (grouped(drawn)) " draws were looked at before training; what is refused costs no training." }
                (table(&["draws", "number", "share"], &rows))
            }
            @if failures.is_empty() { p { "No trial failed." } }
            @else {
                h3 { (grouped(failed.len() as u64)) " failed trials" }
                (table(&["trial", "kind", "reason"], &failures))
            }
        }
    }

    fn every_trial(&self) -> Markup {
        html! {
            @if self.has_networks() {
                p class="soft" { "Open a line for the spec: `nasgen train` takes it as it is." }
            }
            @for trial in self.trials {
                details {
                    summary {
                        (self.line(trial)) " " span class="soft" { (state_word(trial))
                            @if let Some(seconds) = seconds(trial) { ", " (clock(seconds)) } }
                    }
                    @if let Some(lines) = trial.user.get(attributes::LAST_LINES).and_then(Value::as_array) {
                        pre { @for line in lines { (line.as_str().unwrap_or_default()) "\n" } }
                    }
                    @if let Some(config) = attributes::config(trial) { pre { (config) } }
                    @else {
                        pre { @for param in &trial.params { (param.name) ": " (param.value.to_string()) "\n" } }
                    }
                }
            }
        }
    }
}

/// How likely a difference is by chance, for people: small ones are not zero.
pub fn chance_text(chance: f64) -> String {
    if chance < 0.01 { "p < 0.01".to_owned() } else { format!("p = {chance:.2}") }
}

fn state_word(trial: &Trial) -> &'static str {
    match trial.state {
        _ if attributes::reused(trial).is_some() => "reused",
        State::Complete => "complete",
        State::Pruned => "stopped early",
        State::Fail => "failed",
        State::Running if trial.paused && attributes::is_interrupted(trial) => "cut off by the end of the search",
        State::Running if trial.paused => "set aside",
        State::Running => "running",
        State::Waiting => "waiting",
    }
}

/// How long a trial took: what its training says, else its time from beginning to end, of which nothing follows where
/// it was set aside between.
fn seconds(trial: &Trial) -> Option<f64> {
    let trained = trial.user.get("seconds").and_then(Value::as_f64);
    let whole = || Some((trial.finished? - trial.started?) as f64 / 1e6);
    trained.or_else(|| whole().filter(|_| trial.state != State::Pruned))
}

fn clock(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.1} s") } else { format!("{:.1} min", seconds / 60.0) }
}

fn shown(name: &str, value: f64) -> String {
    match name {
        "params" | "macs" => short(value.max(0.0) as u64),
        _ => number(value),
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether equal factors are equally likely.
fn is_log(distribution: &Distribution) -> bool {
    matches!(distribution, Distribution::Int { log: true, .. } | Distribution::Float { log: true, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Finalist;
    use nasgen_search::{Attributes, Direction, Param, importances};
    use serde_json::json;
    use std::time::Instant;

    /// A study of twelve draws, two objectives and ten reports per trial, as a search writes them.
    fn large(count: u64) -> (Study, Vec<Trial>) {
        let objective = |name: &str, direction| Objective { name: name.into(), direction, known: name == "params" };
        let objectives = vec![objective("accuracy", Direction::Maximize), objective("params", Direction::Minimize)];
        let study = Study { name: "large".into(), objectives, user: Attributes::new(), system: Attributes::new() };
        let trial = |number: u64| {
            // Something that looks random, and a front that grows.
            let value = |index: u64| (number * 7919 + index * 104_729) % 101;
            let params = (0..12).map(|index| Param {
                name: format!("s{index}.width"),
                distribution: Distribution::Int { low: 0, high: 100, step: 1, log: false },
                value: json!(value(index)),
            });
            let accuracy = 0.5 + (value(1) as f64 + (number as f64).sqrt()) / 500.0;
            let curve = (1..=10).map(|step| (step, accuracy * (1.0 - 1.0 / (step + 1) as f64)));
            let size = 1000 + value(2) * 100 + number % 97;
            let config = format!("# trial {number}\nbackbone:\n{}", "  - [1, Conv, [16, 3, 1]]\n".repeat(30));
            Trial {
                number,
                state: State::Complete,
                paused: false,
                params: params.collect(),
                values: vec![accuracy, size as f64],
                reports: curve.collect(),
                user: [("config".to_owned(), json!(config)), ("params".to_owned(), json!(size))].into(),
                system: [(attributes::WORKER.to_owned(), json!(format!("worker {}", number % 4)))].into(),
                started: Some(number as i64 * 1_000_000),
                finished: Some(number as i64 * 1_000_000 + 3_500_000),
            }
        };
        (study, (0..count).map(trial).collect())
    }

    /// No part of the page takes time that grows faster than the trials, by much.
    #[test]
    fn a_page_of_ten_thousand_trials_is_quick_and_has_them_all() {
        let page = |(study, trials): &(Study, Vec<Trial>)| {
            let began = Instant::now();
            let history = History { study: &study.name, objectives: &study.objectives, trials };
            let importance = importances(history);
            let tally = Tally::default();
            let page = StudyPage { study, trials, outcome: None, tally: &tally, importance: &importance }.html();
            (page, began.elapsed().as_secs_f64())
        };
        let (all, few) = (large(10_000), large(1000));
        // What else the machine does slows one of a few, and not all.
        let least = |study| (0..3).map(|_| page(study).1).fold(f64::INFINITY, f64::min);
        let (seconds, before) = (least(&all), least(&few));
        assert!(seconds < 5.0 && seconds < 20.0 * before, "{seconds} s, of a tenth {before} s");
        let (text, _) = page(&all);
        assert_eq!(text.matches("<details").count(), 10_000);
        // Charts show a choice: beside the specs there is little.
        let specs: usize = all.1.iter().map(|trial| attributes::config(trial).map_or(0, str::len)).sum();
        assert!(text.len() < 2 * specs, "{} bytes, of these {specs} specs", text.len());
    }

    #[test]
    fn one_seed_says_nothing_about_differences() {
        let objective = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
        let (user, system) = (Attributes::new(), Attributes::new());
        let study = Study { name: "s".into(), objectives: vec![objective], user, system };
        let page = StudyPage { study: &study, trials: &[], outcome: None, tally: &Tally::default(), importance: &[] };
        let finalist =
            |number, values: &[f64], chance| Finalist { number, runs: vec![], values: values.to_vec(), chance };
        let text = |finalists| page.last_step(&Outcome { finalists, test: vec![] }).into_string();
        let one = text(vec![finalist(3, &[0.7], None), finalist(5, &[0.6], None)]);
        assert!(one.matches("the winner").count() == 1 && one.contains("one seed does not say"), "{one}");
        assert!(!one.contains('±'), "{one}");
        let two = text(vec![finalist(3, &[0.7, 0.8], None), finalist(5, &[0.6, 0.5], Some(0.3))]);
        assert!(two.contains("0.75 ± ") && two.contains("not measurably worse (p = 0.30)"), "{two}");
    }
}

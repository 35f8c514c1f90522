//! Runs samplers on the space `cells` with a formula in place of trainings (`score.rs`), and notes what they reached,
//! one JSON object a line.
//!
//! `cells_yardstick OUT FROM:TO SAMPLER…` runs nasgen's samplers with these seeds; a sampler is NAME or
//! NAME={"setting": value}. `cells_yardstick serve` lets another program draw: for each draw it writes
//! `{"ask": NAME, "values": [...]}` and reads the value, then it writes `{"accuracy": x, "params": n}` or
//! `{"rejected": reason}` and begins anew. `cells_yardstick asking SAMPLER…` measures how long
//! suggestions take.

mod score;

use nasgen::{
    space::{Attempt, Cost, DEFAULT, Sampler as Specs, Space},
    spec::SourceText,
};
use nasgen_modules::{Blocks, Distribution, Draw, Error, chance::Chance};
use nasgen_search::{
    Candidate, Direction, History, Objective, Param, RandomDraw, Rejection, SamplerKind, SearchSpace, State, Trial,
    sampler, samplers, weighted_index,
};
use serde_json::{Map, Value, json};
use std::{
    error::Error as StdError,
    fs::OpenOptions,
    io::{self, BufRead, Write},
    time::Instant,
};

/// Objectives and the trials of a study.
const STUDIES: [(&str, u64); 2] = [("accuracy", 150), ("accuracy,params", 200)];
/// What a network may have at most, in parameters.
const MAX_PARAMS: u64 = 300_000;

/// The space as samplers see it.
struct Cells {
    space: Space,
    with_costs: bool,
}

/// Passes draws on and keeps them.
struct Recorded<'a> {
    draw: &'a mut dyn Draw,
    params: Vec<Param>,
}

impl Draw for Recorded<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value, Error> {
        let value = self.draw.draw_among(name, distribution, factors)?;
        self.params.push(Param { name: name.into(), distribution: distribution.clone(), value: value.clone() });
        Ok(value)
    }
}

impl SearchSpace for Cells {
    fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
        let specs = Specs { space: &self.space, seed: 0, budget: Default::default(), input: None };
        let mut recorded = Recorded { draw, params: Vec::new() };
        let (file, network) = match specs.attempt(&mut recorded, 0) {
            Attempt::Drawn(file, Some(network)) => (file, network),
            Attempt::Impossible(reason) => return Err(Rejection::Impossible(reason.message)),
            _ => return Err(Rejection::Invalid("the space gives no network".into())),
        };
        let Cost { params, macs } = Cost::of(&network);
        if params > MAX_PARAMS {
            let excess = params as f64 / MAX_PARAMS as f64;
            return Err(Rejection::OverBudget { reason: format!("{params} parameters of {MAX_PARAMS}"), excess });
        }
        Ok(Candidate {
            params: recorded.params,
            known: if self.with_costs { vec![None, Some(params as f64)] } else { vec![None] },
            identity: file["backbone"].to_string(),
            costs: vec![("params".into(), params as f64), ("macs".into(), macs as f64)],
        })
    }
}

fn accuracy_of(candidate: &Candidate) -> f64 {
    let cost = |name: &str| candidate.costs.iter().find(|(own, _)| own == name).map_or(0.0, |(_, cost)| *cost);
    score::accuracy(&candidate.params, cost("params"), cost("macs"))
}

fn main() -> Result<(), Box<dyn StdError>> {
    let source = SourceText { name: DEFAULT.0.into(), text: DEFAULT.1.into() };
    let space = Space::parse(DEFAULT.0, &source, &Blocks::builtin())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [serve] if serve == "serve" => serve_draws(&Cells { space, with_costs: false }),
        [asking, names @ ..] if asking == "asking" => time_asking(Cells { space, with_costs: false }, names),
        [out, seeds, samplers @ ..] => run(space, out, seeds, samplers),
        _ => Err("wanted OUT FROM:TO SAMPLER…, serve or asking".into()),
    }
}

fn run(space: Space, out: &str, seeds: &str, samplers: &[String]) -> Result<(), Box<dyn StdError>> {
    let mut out = OpenOptions::new().create(true).append(true).open(out)?;
    let (from, to) = seeds.split_once(':').ok_or("seeds are FROM:TO")?;
    let mut cells = Cells { space, with_costs: false };
    for seed in from.parse::<u64>()?..to.parse()? {
        for asked in samplers {
            for (objectives, trials) in STUDIES {
                cells.with_costs = objectives.contains(',');
                let (name, settings) = asked.split_once('=').unwrap_or((asked, "{}"));
                let settings: Map<String, Value> = serde_json::from_str(settings)?;
                let start = Instant::now();
                let reached = study(&cells, &*sampler(name, seed, &settings)?, trials)?;
                let line = json!({
                    "sampler": asked, "objectives": objectives, "seed": seed, "reached": reached,
                    "seconds": start.elapsed().as_secs_f64(),
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

fn objectives(with_costs: bool) -> Vec<Objective> {
    let accuracy = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
    let params = Objective { name: "params".into(), direction: Direction::Minimize, known: true };
    if with_costs { vec![accuracy, params] } else { vec![accuracy] }
}

/// Accuracy and parameters of each network that the sampler took.
fn study(cells: &Cells, sampler: &dyn nasgen_search::Sampler, trials: u64) -> Result<Vec<[f64; 2]>, Box<dyn StdError>> {
    let objectives = objectives(cells.with_costs);
    let mut history: Vec<Trial> = Vec::new();
    let mut reached = Vec::new();
    for number in 0..trials {
        let known = History { study: "cells", objectives: &objectives, trials: &history };
        let candidate = sampler.suggest(known, number, cells)?;
        let accuracy = accuracy_of(&candidate);
        reached.push([accuracy, candidate.costs[0].1]);
        history.push(trial(number, candidate, accuracy));
    }
    Ok(reached)
}

fn trial(number: u64, candidate: Candidate, accuracy: f64) -> Trial {
    Trial {
        number,
        state: State::Complete,
        paused: false,
        values: [accuracy].into_iter().chain(candidate.known.iter().copied().flatten()).collect(),
        system: candidate.attributes(),
        params: candidate.params,
        reports: Vec::new(),
        user: Default::default(),
        started: None,
        finished: None,
    }
}

/// Prints how long these samplers, or all, take for a suggestion after 10 000 trials: the median of nine, in milliseconds.
fn time_asking(mut cells: Cells, names: &[String]) -> Result<(), Box<dyn StdError>> {
    for with_costs in [false, true] {
        cells.with_costs = with_costs;
        let objectives = objectives(with_costs);
        let mut trials: Vec<Trial> = Vec::new();
        for draw in 0.. {
            if let Ok(candidate) = cells.candidate(&mut RandomDraw::new(Chance::new(0, "asking", draw))) {
                let accuracy = accuracy_of(&candidate);
                trials.push(trial(trials.len() as u64, candidate, accuracy));
            }
            if trials.len() == 10_000 {
                break;
            }
        }
        let known = History { study: "cells", objectives: &objectives, trials: &trials };
        let asked = |kind: &&SamplerKind| names.is_empty() || names.iter().any(|name| name == kind.name);
        for kind in samplers().iter().filter(asked) {
            let sampler = kind.sampler(0, &Map::new())?;
            let mut times = Vec::new();
            for number in 10_000..10_009 {
                let start = Instant::now();
                if let Err(problem) = sampler.suggest(known, number, &cells) {
                    writeln!(io::stdout(), "{}: {problem:?}", kind.name)?;
                    break;
                }
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            times.sort_by(f64::total_cmp);
            if let Some(median) = times.get(times.len() / 2) {
                writeln!(io::stdout(), "{} objectives, {}: {median:.1} ms", objectives.len(), kind.name)?;
            }
        }
    }
    Ok(())
}

/// Asks another program for draws.
struct Asked;

impl Draw for Asked {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value, Error> {
        let failed = |problem: String| Error::row(problem);
        let values = distribution.values(1000).ok_or_else(|| failed(format!("`{name}` is a continuum")))?;
        let question =
            json!({ "ask": name, "values": values, "ordered": !matches!(distribution, Distribution::Choice(_)) });
        writeln!(io::stdout(), "{question}").map_err(|error| failed(error.to_string()))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(|error| failed(error.to_string()))?;
        let index: u64 = answer.trim().parse().map_err(|_| failed(format!("wanted an index, got {answer:?}")))?;
        match factors {
            // What is ruled out gives way to a value that is not, at random.
            Some(factors) if factors[index as usize] <= 0.0 => {
                let mut chance = nasgen_modules::chance::Chance::new(index, "serve", name.len() as u64);
                Ok(distribution.value(weighted_index(distribution, factors, &mut chance)))
            }
            _ => Ok(distribution.value(index)),
        }
    }
}

fn serve_draws(cells: &Cells) -> Result<(), Box<dyn StdError>> {
    loop {
        let answer = match cells.candidate(&mut Asked) {
            Ok(candidate) => json!({ "accuracy": accuracy_of(&candidate), "params": candidate.costs[0].1 }),
            Err(Rejection::Impossible(reason)) => json!({ "rejected": reason }),
            Err(Rejection::OverBudget { reason, .. }) => json!({ "rejected": reason }),
            // The other program has ended.
            Err(Rejection::Invalid(_) | Rejection::Stopped) => return Ok(()),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
}

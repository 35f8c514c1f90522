//! Runs nasgen's samplers on NAS-Bench-201 and notes which cells they tried, one JSON object a line, as
//! `benches/nasbench201/optuna_runs.py` does for Optuna's.
//!
//! `nasbench201 TABLE OUT SEEDS SAMPLER…`: seeds as FROM:TO, a sampler as NAME or as NAME={"setting": value}.

#[path = "../tests/yardstick/mod.rs"]
mod yardstick;

use nasgen_search::sampler;
use serde_json::{Map, Value, json};
use std::{error::Error, fs::OpenOptions, io::Write, path::Path, time::Instant};
use yardstick::{COLUMNS, Table};

/// Objectives and the trials of a study.
const STUDIES: [(&str, u64); 2] = [("accuracy", 150), ("accuracy,flops", 200)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, out, seeds, samplers @ ..] = &arguments[..] else {
        return Err("wanted TABLE OUT FROM:TO SAMPLER…".into());
    };
    let table = Table::read(Path::new(table))?;
    let mut out = OpenOptions::new().create(true).append(true).open(out)?;
    let (from, to) = seeds.split_once(':').ok_or("seeds are FROM:TO")?;
    for seed in from.parse::<u64>()?..to.parse()? {
        for asked in samplers {
            let (name, settings) = asked.split_once('=').unwrap_or((asked, "{}"));
            let settings: Map<String, Value> = serde_json::from_str(settings)?;
            let chosen = sampler(name, seed, &settings)?;
            for (column, (column_name, _)) in COLUMNS.iter().enumerate() {
                for (objectives, trials) in STUDIES {
                    let start = Instant::now();
                    let cells = table.run(&*chosen, column, objectives.contains(','), trials);
                    let line = json!({
                        "sampler": asked, "column": column_name, "objectives": objectives, "seed": seed,
                        "cells": cells, "seconds": start.elapsed().as_secs_f64(),
                    });
                    writeln!(out, "{line}")?;
                }
            }
        }
    }
    Ok(())
}

//! How good the samplers are on a table of trained networks. It is named by the variable `NASGEN_NASBENCH`; without
//! it there is nothing to run on. The comparison with Optuna is `benches/nasbench201`.

mod yardstick;

use nasgen_search::{pareto, sampler};
use serde_json::Map;
use std::{env, io::Write, path::Path};
use yardstick::{COLUMNS, Table};

const SEEDS: std::ops::Range<u64> = 200..206;

/// The best accuracy of `cells` in column `column`.
fn best(table: &Table, column: usize, cells: &[usize]) -> f64 {
    cells.iter().map(|cell| table.accuracies[column][*cell]).fold(0.0, f64::max)
}

/// The volume that `cells` dominate, of that of all cells: accuracy against the logarithm of multiply-adds.
fn volume_share(table: &Table, column: usize, cells: &[usize]) -> f64 {
    let most = table.flops.iter().copied().fold(0.0, f64::max);
    let reference = [-COLUMNS[column].1, most.ln() + 1e-9];
    let point = |cell: &usize| [-table.accuracies[column][*cell], table.flops[*cell].ln()];
    let all: Vec<[f64; 2]> = (0..table.flops.len()).map(|cell| point(&cell)).collect();
    let reached: Vec<[f64; 2]> = cells.iter().map(point).collect();
    pareto::hypervolume(&reached, &reference) / pareto::hypervolume(&all, &reference)
}

/// What a mean over a few seeds must reach: by column the best accuracy after 100 trials, and the part of the table's
/// hypervolume after 100.
fn assert_reaches(name: &str, accuracies: [f64; 2], volumes: [f64; 2]) {
    let Some(path) = env::var_os("NASGEN_NASBENCH") else {
        let _ = writeln!(std::io::stderr(), "skipped: NASGEN_NASBENCH names no table");
        return;
    };
    let table = Table::read(Path::new(&path)).expect("NASGEN_NASBENCH names a table that can be read");
    for column in 0..2 {
        let mean = |measure: &dyn Fn(u64) -> f64| SEEDS.map(measure).sum::<f64>() / SEEDS.count() as f64;
        let run = |seed: u64, with_costs: bool| {
            let cells = table.run(
                &*sampler(name, seed, &Map::new()).expect("a sampler without settings"),
                column,
                with_costs,
                100,
            );
            let mut distinct = cells.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), cells.len(), "{name} trained a network twice");
            cells
        };
        let accuracy = mean(&|seed| best(&table, column, &run(seed, false)));
        let volume = mean(&|seed| volume_share(&table, column, &run(seed, true)));
        assert!(accuracy >= accuracies[column], "{name}, column {column}: accuracy {accuracy}");
        assert!(volume >= volumes[column], "{name}, column {column}: hypervolume {volume}");
    }
}

#[test]
fn random_reaches_what_chance_does() {
    assert_reaches("random", [90.4, 44.9], [0.80, 0.80]);
}

#[test]
fn tpe_reaches_what_optunas_does() {
    assert_reaches("tpe", [91.15, 46.3], [0.88, 0.86]);
}

#[test]
fn auto_reaches_more() {
    assert_reaches("auto", [91.5, 46.9], [0.92, 0.92]);
}

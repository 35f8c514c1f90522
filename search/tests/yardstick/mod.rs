//! NAS-Bench-201 (Dong and Yang 2020): 15 625 cells of six operations, all trained. A sampler is run on the table as
//! if it trained.

use flate2::read::GzDecoder;
use nasgen_modules::{Distribution, Draw};
use nasgen_search::{Candidate, Direction, History, Objective, Param, Rejection, Sampler, SearchSpace, State, Trial};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

const EDGES: [&str; 6] = ["e1", "e2", "e3", "e4", "e5", "e6"];
const OPERATIONS: [&str; 5] = ["skip_connect", "none", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
/// Columns of validation accuracies, and the accuracy from which on a network counts for the hypervolume.
pub(crate) const COLUMNS: [(&str, f64); 2] = [("val_c10", 80.0), ("val_in16", 25.0)];

/// The table.
pub(crate) struct Table {
    rows: HashMap<[String; 6], usize>,
    params: Vec<f64>,
    /// Multiply-adds of each cell, in millions.
    pub(crate) flops: Vec<f64>,
    /// By column, then by cell.
    pub(crate) accuracies: Vec<Vec<f64>>,
}

impl Table {
    /// Reads the table as published here: gzipped CSV with a header.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        GzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let place = |name: &str| {
            let found = header.iter().position(|column| *column == name);
            found.ok_or_else(|| io::Error::other(format!("{} has no column {name}", path.display())))
        };
        let edges = EDGES.map(place).into_iter().collect::<io::Result<Vec<_>>>()?;
        let (params, flops) = (place("params_m")?, place("flops_m")?);
        let columns = COLUMNS.map(|(name, _)| place(name)).into_iter().collect::<io::Result<Vec<_>>>()?;
        let mut table = Self {
            rows: HashMap::new(),
            params: Vec::new(),
            flops: Vec::new(),
            accuracies: vec![Vec::new(); COLUMNS.len()],
        };
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |place: usize| fields[place].parse::<f64>().map_err(io::Error::other);
            let cell = [0, 1, 2, 3, 4, 5].map(|edge| fields[edges[edge]].to_owned());
            table.rows.insert(cell, table.params.len());
            table.params.push(number(params)?);
            table.flops.push(number(flops)?);
            for (accuracies, place) in table.accuracies.iter_mut().zip(&columns) {
                accuracies.push(number(*place)?);
            }
        }
        Ok(table)
    }

    /// The cells that `sampler` tries, by row: accuracy alone, or against multiply-adds.
    pub(crate) fn run(&self, sampler: &dyn Sampler, column: usize, with_costs: bool, trials: u64) -> Vec<usize> {
        let accuracy = Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false };
        let macs = Objective { name: "macs".into(), direction: Direction::Minimize, known: true };
        let objectives = if with_costs { vec![accuracy, macs] } else { vec![accuracy] };
        let space = Cells { table: self, with_costs };
        let mut history: Vec<Trial> = Vec::new();
        let mut cells = Vec::new();
        for number in 0..trials {
            let known = History { study: "yardstick", objectives: &objectives, trials: &history };
            let candidate = sampler.suggest(known, number, &space).expect("the table has more cells than trials");
            let cell: usize = candidate.identity.parse().expect("identities are rows");
            cells.push(cell);
            let mut values = vec![self.accuracies[column][cell]];
            values.extend(candidate.known.iter().skip(1).map(|known| known.expect("costs are known")));
            history.push(Trial {
                number,
                state: State::Complete,
                paused: false,
                system: candidate.attributes(),
                params: candidate.params,
                values,
                reports: Vec::new(),
                user: Default::default(),
                started: None,
                finished: None,
            });
        }
        cells
    }
}

/// The cells as a space; equal operations are one network, whatever they compute.
struct Cells<'a> {
    table: &'a Table,
    with_costs: bool,
}

impl SearchSpace for Cells<'_> {
    fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection> {
        let distribution = Distribution::Choice(OPERATIONS.map(Value::from).to_vec());
        let mut params = Vec::new();
        let mut cell: [String; 6] = Default::default();
        for (edge, operation) in EDGES.iter().zip(&mut cell) {
            let value = draw.draw(edge, &distribution).map_err(|error| Rejection::Invalid(format!("{error:?}")))?;
            *operation = value.as_str().unwrap_or_default().to_owned();
            params.push(Param { name: (*edge).to_owned(), distribution: distribution.clone(), value });
        }
        let row = self.table.rows[&cell];
        let (parameters, macs) = (self.table.params[row], self.table.flops[row]);
        Ok(Candidate {
            params,
            known: if self.with_costs { vec![None, Some(macs)] } else { vec![None] },
            identity: row.to_string(),
            costs: vec![("params".into(), parameters), ("macs".into(), macs)],
        })
    }
}

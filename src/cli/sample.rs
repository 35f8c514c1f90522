//! `nasgen sample`: networks drawn from a space.

use super::{
    destination::{self, Destination},
    failure::{Failure, Kind},
    output::Output,
    show::parse_input,
    space::{needs_network, read_space},
};
use crate::{
    numbers::{grouped, parse_count, parse_seed, short},
    space::{Budget, Sample, SampleError, Sampler, Tuning},
    spec::{ModelSpec, SourceText},
};
use nasgen_modules::{Blocks, Shape};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Draw networks from a search space.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The space's file, or the name of a built-in one: cells (the default), lecture_fixed,
    /// lecture_growing, lecture_free, search_model.
    space: Option<PathBuf>,
    /// Write to this file; with --count over 1, to 0001.yml, 0002.yml, … in this folder. A file that
    /// nasgen drew is replaced; another one, and a folder that has samples, only with --force.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Replace what stands at --out.
    #[arg(long, requires = "out")]
    force: bool,
    /// Decides what is drawn: the same seed gives the same files on every machine.
    #[arg(long, default_value_t = 0, value_parser = parse_seed)]
    seed: u64,
    /// How many networks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// At most this many parameters, such as 300k.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_params: Option<u64>,
    /// At most this many multiply-adds for one image, such as 3M.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_macs: Option<u64>,
    /// Count for images of this shape (default: the space's input_size, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    /// Draw again what this drawn spec's `sample:` records.
    #[arg(long, value_name = "CONFIG", conflicts_with_all = ["seed", "count"])]
    replay: Option<PathBuf>,
    /// With --replay: another value for one draw; what depends on it is drawn anew.
    #[arg(long = "set", value_name = "DRAW=VALUE", requires = "replay", value_parser = parse_change)]
    changes: Vec<(String, Value)>,
    /// Take the file as a fixed network and draw these training settings:
    /// lr=1e-4..1e-1:log,epochs=30..120:10.
    #[arg(long, value_name = "NAME=LOW..HIGH[:log|:STEP],…", requires = "space")]
    tune: Option<Tuning>,
}

/// `s1.n=3`, `s1.nc=Conv`: the value as YAML would have it.
fn parse_change(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("wanted DRAW=VALUE, got `{text}`"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let count = u64::from(arguments.count);
    let destination = Destination::new(arguments.out.as_deref(), count)?;
    let space = read_space(arguments.space.as_deref(), arguments.tune.as_ref(), blocks)?;
    let budget = Budget { max_params: arguments.max_params, max_macs: arguments.max_macs };
    needs_network(&space, &budget, arguments.input)?;
    let sampler = Sampler {
        space: &space,
        seed: arguments.seed,
        budget,
        input: arguments.input.map(|[channels, height, width]| Shape::image(channels, height, width)),
    };
    let replaced = destination.check(arguments.force)?;
    let mut written = Vec::new();
    let mut rejected = 0;
    for number in 0..count {
        let sample = match &arguments.replay {
            None => sampler.sample(number).map_err(infeasible),
            Some(path) => replay(&sampler, path, &arguments.changes),
        };
        let sample = sample.map_err(|failure| failure.after(so_far(&written)))?;
        rejected += sample.rejected;
        let Some(path) = destination.file(number) else { return print_sample(&sample, output) };
        destination::write(&path, &sample.to_yaml()).map_err(|failure| failure.after(so_far(&written)))?;
        if count == 1 {
            output.note(&describe(&path, &sample));
        }
        written.push(path.display().to_string());
    }
    if let Some(replaced) = replaced {
        output.note(&replaced);
    }
    let object = || json!({ "written": written, "drawn": count, "rejected": rejected });
    output.result(|| next_steps(&written, rejected), object)
}

/// Which files there are of a drawing that fails.
fn so_far(written: &[String]) -> Option<String> {
    match written {
        [] => None,
        [path] => Some(format!("written before that: {path}")),
        [first, .., last] => Some(format!("written before that: {} files, {first} to {last}", written.len())),
    }
}

fn replay(sampler: &Sampler<'_>, path: &Path, changes: &[(String, Value)]) -> Result<Sample, Failure> {
    let spec = ModelSpec::parse(&SourceText::read(path)?, sampler.space.blocks())?;
    let Some(record) = spec.sample else {
        return Err(Failure::usage(format!("{} has no `sample:`: nasgen did not draw it", path.display())));
    };
    let drawn_from = record["space"].as_str().unwrap_or_default();
    if drawn_from != sampler.space.name {
        let problem = format!("{} was drawn from the space `{drawn_from}`", path.display());
        return Err(Failure::usage(format!("{problem}, not from `{}`: name its file", sampler.space.name)));
    }
    let changes: Map<String, Value> = changes.iter().cloned().collect();
    let input = sampler.input.or_else(|| recorded_input(&record["input"]));
    Sampler { input, ..*sampler }.replay(&record, &changes).map_err(infeasible)
}

/// The shape that a sample was drawn for, if a flag gave it.
fn recorded_input(value: &Value) -> Option<Shape> {
    let sides: Vec<usize> = value.as_array()?.iter().filter_map(|side| usize::try_from(side.as_u64()?).ok()).collect();
    match sides[..] {
        [channels, height, width] => Some(Shape::image(channels, height, width)),
        _ => None,
    }
}

fn infeasible(error: SampleError) -> Failure {
    match error {
        SampleError::Invalid(error) => error.into(),
        error @ SampleError::Replay(_) => Failure::usage(error.to_string()),
        error => Failure::new(Kind::NothingFits, error.to_string()),
    }
}

fn print_sample(sample: &Sample, output: &Output) -> Result<(), Failure> {
    let text = sample.to_yaml();
    output.result(|| text.clone(), || json!({ "written": [], "drawn": 1, "rejected": sample.rejected, "config": text }))
}

fn describe(path: &Path, sample: &Sample) -> String {
    let Some(network) = &sample.network else { return format!("{}: named values", path.display()) };
    format!(
        "{}: {} rows, {} parameters, {} MACs",
        path.display(),
        network.rows.len(),
        grouped(network.params()),
        short(network.macs()),
    )
}

fn next_steps(written: &[String], rejected: usize) -> String {
    match written {
        [path] => {
            format!("wrote {path} ({rejected} draws did not fit)\nnext: nasgen show {path}\n      nasgen train {path}")
        }
        [first, .., last] => format!("wrote {} files, {first} to {last} ({rejected} draws did not fit)", written.len()),
        [] => String::new(),
    }
}

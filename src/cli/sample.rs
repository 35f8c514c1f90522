//! `nasgen sample`: networks drawn from a space.

use super::{
    failure::{Failure, Kind},
    output::Output,
    show::parse_input,
};
use crate::{
    files,
    numbers::{grouped, parse_count, short},
    space::{Budget, DEFAULT, Sample, SampleError, Sampler, Space},
    spec::SourceText,
};
use nasgen_modules::{Blocks, Shape};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Draw networks from a search space.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The space's file (default: the built-in `cells`).
    space: Option<PathBuf>,
    /// Write to this file; with --count over 1, to 0001.yml, 0002.yml, … in this folder.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Decides what is drawn: the same seed gives the same files on every machine.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many networks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// At most this many parameters, such as 300k.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_params: Option<u64>,
    /// At most this many multiply-adds for one image, such as 3M.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_macs: Option<u64>,
    /// Count for images of this shape (default: the space's input_size, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    if arguments.count > 1 && arguments.out.as_ref().is_none_or(|out| out.as_os_str() == "-") {
        return Err(Failure::usage("--count over 1 needs --out FOLDER"));
    }
    let space = read_space(arguments.space.as_deref(), blocks)?;
    let sampler = Sampler {
        space: &space,
        blocks,
        seed: arguments.seed,
        budget: Budget { max_params: arguments.max_params, max_macs: arguments.max_macs },
        input: arguments.input.map(|[channels, height, width]| Shape::image(channels, height, width)),
    };
    // `-` is stdout, as everywhere.
    let out = arguments.out.as_ref().filter(|out| out.as_os_str() != "-");
    let mut written = Vec::new();
    let mut rejected = 0;
    for number in 0..arguments.count {
        let sample = sampler.sample(number).map_err(infeasible)?;
        rejected += sample.rejected;
        match out {
            None => print_sample(&sample, output)?,
            Some(out) => {
                let path = if arguments.count == 1 { out.clone() } else { out.join(format!("{:04}.yml", number + 1)) };
                write(&path, &sample)?;
                if arguments.count == 1 {
                    output.note(&describe(&path, &sample));
                }
                written.push(path.display().to_string());
            }
        }
    }
    if out.is_none() {
        return Ok(());
    }
    let drawn = arguments.count;
    let object = || json!({ "written": written, "drawn": drawn, "rejected": rejected });
    output.result(|| next_steps(&written, rejected), object)
}

fn read_space(path: Option<&Path>, blocks: &Blocks) -> Result<Space, Failure> {
    let (name, source) = match path {
        None => {
            let (name, text) = DEFAULT;
            (name.to_owned(), SourceText { name: format!("{name} (built in)"), text: text.to_owned() })
        }
        Some(path) => {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            (stem.to_string_lossy().into_owned(), SourceText::read(path)?)
        }
    };
    Ok(Space::parse(&name, &source, blocks)?)
}

fn infeasible(error: SampleError) -> Failure {
    match error {
        SampleError::Invalid(error) => error.into(),
        error => Failure::new(Kind::NothingFits, error.to_string()),
    }
}

fn print_sample(sample: &Sample, output: &Output) -> Result<(), Failure> {
    let text = sample.to_yaml();
    output.result(|| text.clone(), || json!({ "written": [], "drawn": 1, "rejected": sample.rejected, "config": text }))
}

fn write(path: &Path, sample: &Sample) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    files::write_whole(path, sample.to_yaml().as_bytes()).map_err(failed)
}

fn describe(path: &Path, sample: &Sample) -> String {
    let network = &sample.network;
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

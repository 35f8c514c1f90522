//! The `nasgen` program: one file per command. Only here is anything printed, the environment
//! read, or a device or a seed picked; the files wire parts together and hold no logic.

mod bench;
mod check;
mod classifier;
mod destination;
mod device;
mod eval;
mod export;
mod failure;
mod images;
mod interrupt;
mod modules;
mod output;
mod predict;
mod progress;
mod report;
mod sample;
mod search;
mod show;
mod space;
mod study;
mod train;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use failure::Failure;
use nasgen_modules::{Block, Blocks};
use output::Output;
use std::process::ExitCode;

/// Reads, samples and trains small image classifiers written in YAML.
#[derive(Parser)]
#[command(name = "nasgen", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print exactly one JSON object on stdout.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  nasgen sample --max-macs 3M --out cfg.yml      draw a network
  nasgen space my_space.yml                      how many networks a space holds
  nasgen search                                  find a good network in ten minutes
  nasgen show cfg.yml                            its layers, parameters and MACs
  nasgen train cfg.yml                           train it on the built-in images
  nasgen train cfg.yml --data photos             … on a folder of class folders
  nasgen train --resume runs/latest              go on with a training that was stopped
  nasgen check photos                            what is in a folder of images
  nasgen eval runs/latest                        how good it is
  nasgen predict runs/latest photo.jpg           what it says of an image
  nasgen report runs/latest                      its curves, mistakes, network as one page
  nasgen bench cfg.yml --train                   how fast it trains
  nasgen study best --max-macs 3M --out best.yml the best network that a search found
  nasgen modules InvertedResidualv3              what a block takes

Exit codes: 0 done, 1 failed, 2 wrong usage or config, 3 data unusable, 4 training diverged,
5 nothing fits the budget, 6 out of memory, 130/143 stopped and resumable";

#[derive(Subcommand)]
enum Command {
    Bench(bench::Arguments),
    Show(show::Arguments),
    Modules(modules::Arguments),
    Sample(sample::Arguments),
    Search(Box<search::Arguments>),
    Space(space::Arguments),
    Train(Box<train::Arguments>),
    Check(check::Arguments),
    Eval(eval::Arguments),
    Export(export::Arguments),
    Predict(predict::Arguments),
    Report(report::Arguments),
    Study(study::Arguments),
}

/// The program with nasgen's own blocks and `more`: the whole of a crate that adds blocks.
///
/// ```no_run
/// # use nasgen_modules::Block;
/// # const MY_BLOCKS: &[Block] = &[];
/// fn main() -> std::process::ExitCode {
///     nasgen::cli::main_with(MY_BLOCKS)
/// }
/// ```
pub fn main_with(more: &[Block]) -> ExitCode {
    let cli = match read() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.json);
    let result =
        Blocks::with(more).map_err(|error| Failure::usage(error.to_string())).and_then(|blocks| match cli.command {
            Command::Bench(arguments) => bench::run(&arguments, &blocks, &output),
            Command::Show(arguments) => show::run(&arguments, &blocks, &output),
            Command::Modules(arguments) => modules::run(&arguments, &blocks, &output),
            Command::Sample(arguments) => sample::run(&arguments, &blocks, &output),
            Command::Search(arguments) => search::run(&arguments, &blocks, &output),
            Command::Check(arguments) => check::run(&arguments, &output),
            Command::Eval(arguments) => eval::run(&arguments, &blocks, &output),
            Command::Export(arguments) => export::run(&arguments, &blocks, &output),
            Command::Predict(arguments) => predict::run(&arguments, &blocks, &output),
            Command::Report(arguments) => report::run(&arguments, &blocks, &output),
            Command::Space(arguments) => space::run(&arguments, &blocks, &output),
            Command::Study(arguments) => study::run(&arguments, &output),
            Command::Train(arguments) => train::run(&arguments, &blocks, &output),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    }
}

/// The command line. A negative number after a flag is its value, and the flag says what it takes.
fn read() -> Result<Cli, clap::Error> {
    let numbers = |argument: clap::Arg| {
        if argument.get_action().takes_values() && !argument.is_allow_hyphen_values_set() {
            argument.allow_negative_numbers(true)
        } else {
            argument
        }
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(numbers));
    let mut matches = command.try_get_matches()?;
    Cli::from_arg_matches_mut(&mut matches)
}

/// clap's own report. With `--json` what was asked for, or a wrong command line, is an object on
/// stdout like every result and failure.
fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let key = if error.kind() == ErrorKind::DisplayHelp { "help" } else { "version" };
        let text = error.to_string();
        return match Output::new(true).result(String::new, || serde_json::json!({ key: text.trim_end() })) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.code(),
        };
    }
    if json && error.use_stderr() {
        let failure = Failure::usage(error.to_string().trim_start_matches("error: "));
        Output::new(true).failure(&failure);
        return failure.code();
    }
    // A closed pipe is no reason to fail.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

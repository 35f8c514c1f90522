//! `nasgen search`: the best network of a space.

mod board;
mod choosers;
mod last_step;
mod pictures;
mod queue;
mod result;
mod setup;
mod study;
mod trainer;
mod workers;

use super::{
    failure::{Failure, Kind},
    interrupt::Interrupt,
    output::Output,
    show::parse_input,
    train::{ExecutorName, SettingFlags},
};
use crate::{
    data::{Fit, Source},
    numbers::parse_count,
    search::Keep,
    space::Tuning,
};
use last_step::LastStep;
use nasgen_modules::Blocks;
use setup::Setup;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use workers::Clock;

/// Search a space for the best network.
///
/// Trials are drawn from the space, trained on the images and measured on the validation images. The study with
/// all of them is a database that Optuna and its dashboard open. The same command goes on with a search that
/// was stopped or killed; started on several machines with one --storage, it is one search. In the end the best
/// few are trained again with other seeds, and the winner alone is measured on the test images, once.
///
/// Without --trials and --time it searches for ten minutes.
#[derive(clap::Args)]
#[command(mut_arg("epochs", |argument| argument.help("Epochs of a trial [default: 10]").long_help(None::<&str>)))]
pub(super) struct Arguments {
    /// The space's file, or the name of a built-in one: cells (the default), lecture_fixed,
    /// lecture_growing, lecture_free, search_model. With --tune a fixed network.
    space: Option<PathBuf>,
    /// Take the file as a fixed network and search these training settings:
    /// lr=1e-4..1e-1:log,epochs=30..120:10.
    #[arg(long, value_name = "NAME=LOW..HIGH[:log|:STEP],…", requires = "space")]
    tune: Option<Tuning>,

    /// Images: `synthetic` (built in), a folder or a CSV table, as for `nasgen train` [default: synthetic].
    #[arg(long, value_name = "SOURCE", help_heading = "Images")]
    data: Option<Source>,
    /// How images of another size are fitted: letterbox, crop or stretch [default: letterbox].
    #[arg(long, help_heading = "Images")]
    fit: Option<Fit>,
    /// Shape that the images are brought to, such as 3x64x64 (default: the space's input_size, else 3x32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input, help_heading = "Images")]
    input: Option<[usize; 3]>,
    /// Trials, and the last step, learn from a part of the training images, of each class the same: 20% or 3000.
    #[arg(long, value_name = "SHARE|N", help_heading = "Images")]
    subset: Option<String>,
    /// Measure each trial K times, on another part of the images each; the winner then learns from all of them,
    /// whatever --subset says.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=100), help_heading = "Images")]
    kfold: Option<u32>,
    /// Which image is for what, as the split.csv of a run says.
    #[arg(long, value_name = "FILE", conflicts_with = "kfold", help_heading = "Images")]
    split: Option<PathBuf>,

    /// What is made better: accuracy, macro_f1 or loss, then params, macs or latency (milliseconds of one image
    /// on one thread), as in accuracy,params:min. With --evaluator any name, as in recall:max
    /// [default: accuracy; with --evaluator value].
    #[arg(long, value_name = "NAMES", help_heading = "What is searched for")]
    objective: Option<String>,
    /// At most this many parameters, such as 300k.
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "What is searched for")]
    max_params: Option<u64>,
    /// At most this many multiply-adds for one image, such as 3M.
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "What is searched for")]
    max_macs: Option<u64>,
    /// At most so many milliseconds for one image on one thread of this machine.
    #[arg(long, value_name = "MS", value_parser = positive, help_heading = "What is searched for")]
    max_latency: Option<f64>,
    /// End as soon as a trial is as good: macro_f1=0.8.
    #[arg(long, value_name = "NAME=VALUE", help_heading = "What is searched for")]
    until: Option<String>,

    /// Begin no more trials than these in the whole study, those of before counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000), help_heading = "How it is searched")]
    trials: Option<u64>,
    /// Search for so long, such as 30m, 8h or 90s, the last step included, which is shortened where it would take
    /// longer. Trials that the end cuts off are set aside, and the same command goes on with them.
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "How it is searched")]
    time: Option<Duration>,
    /// What chooses the next trial, perhaps with settings: auto, random, tpe, evolution, nsga2, local or grid,
    /// as in tpe or tpe:n_startup_trials=20.
    #[arg(long, value_name = "NAME[:KEY=VALUE,…]", default_value = setup::SAMPLER, help_heading = "How it is searched")]
    sampler: String,
    /// What stops trials early, perhaps with settings: none, median, asha, hyperband, threshold or patient
    /// [default: asha, which sets trials aside after a sixteenth and a quarter of their epochs unless they are among
    /// the best quarter there, and takes them up again when they are; with --evaluator none].
    #[arg(long, value_name = "NAME[:KEY=VALUE,…]", help_heading = "How it is searched")]
    pruner: Option<String>,
    /// Trainings at a time, each with its share of the processor's cores [default: one for each core; with
    /// --evaluator 1].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "How it is searched")]
    jobs: Option<u32>,
    /// Try this spec first: one that `nasgen sample` drew from the space, or any other.
    #[arg(long, value_name = "CONFIG", help_heading = "How it is searched")]
    enqueue: Vec<PathBuf>,
    /// How many of the best are trained again in the end; 0 leaves the last step out.
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "How it is searched")]
    finalists: usize,
    /// How often each of them is trained.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100), help_heading = "How it is searched")]
    final_seeds: u64,
    /// For so many epochs [default: as many as a trial].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000), help_heading = "How it is searched")]
    final_epochs: Option<u64>,

    /// Your own training code: a command that is started once for each job, reads trials and answers with
    /// values, a line of JSON each (README, "Your own training code").
    #[arg(long, value_name = "COMMAND", help_heading = "Your own training code",
        conflicts_with_all = ["data", "fit", "subset", "kfold", "split", "finalists", "final_seeds", "final_epochs", "keep", "max_disk"])]
    evaluator: Option<String>,
    /// How long it may say nothing before its trial fails.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1h", requires = "evaluator", help_heading = "Your own training code")]
    silence: Duration,

    /// Name of the study [default: the space's].
    #[arg(long, value_name = "NAME", help_heading = "The study")]
    study: Option<String>,
    /// Where it is kept: a file of SQLite, or an address as Optuna has it, such as
    /// postgresql://user:password@host/database [default: studies/NAME.db].
    #[arg(long, value_name = "URL", help_heading = "The study")]
    storage: Option<String>,
    /// Go on with a study whose space was smaller.
    #[arg(long, help_heading = "The study")]
    extend: bool,
    /// Which weights of trials are kept: best:N.
    #[arg(long, value_name = "best:N", default_value = "best:5", help_heading = "The study")]
    keep: Keep,
    /// At most so many bytes of weights, such as 2G.
    #[arg(long, value_name = "BYTES", value_parser = parse_count, default_value = "2G", help_heading = "The study")]
    max_disk: u64,
    /// How long a worker may be silent before others take its trials over.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "60s", help_heading = "The study")]
    lease: Duration,

    #[command(flatten)]
    settings: SettingFlags,
    /// Set one of the settings of the training, such as lr=0.02.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// cpu, cuda or cuda:INDEX.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// engine or reference [default: engine; reference for networks with custom operations].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
}

/// How long is searched when nothing else says when to end.
const TIME: Duration = Duration::from_mins(10);

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let began = Instant::now();
    let interrupt = Interrupt::listen()?;
    let unlimited = arguments.time.is_none() && arguments.trials.is_none() && arguments.until.is_none();
    let clock = Clock { began, time: if unlimited { Some(TIME) } else { arguments.time } };
    let setup = Setup::new(arguments, blocks, output)?;
    let queue = setup.queue()?;
    let opened = setup.open(output)?;
    setup.enqueue(&queue, &opened, output)?;
    output.message(&setup.headline(&opened));
    if unlimited {
        output.note("it searches for 10 minutes; --time and --trials say otherwise");
    }
    let (end, each) = workers::search(&setup, &opened, clock, &interrupt)?;
    if interrupt.asked() {
        return Err(interrupted(&interrupt, &opened.name));
    }
    let last_step = LastStep { setup: &setup, opened: &opened, clock, interrupt: &interrupt, output };
    let finale = last_step.run(each)?;
    if interrupt.asked() {
        return Err(interrupted(&interrupt, &opened.name));
    }
    result::say(&setup, &opened, &end, finale.as_ref(), output)
}

fn interrupted(interrupt: &Interrupt, study: &str) -> Failure {
    let message = format!("stopped; every trial is saved, and the same command goes on with the study `{study}`");
    Failure::new(interrupt.kind(), message)
}

/// `90s`, `30m`, `8h`, `1.5h`, `2d`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let wanted = || format!("wanted a time such as 90s, 30m, 8h or 2d, got `{text}`");
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86_400.0,
        _ => return Err(wanted()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| wanted())?;
    let seconds = number * unit;
    if seconds > 0.0 && seconds <= 3.2e7 { Ok(Duration::from_secs_f64(seconds)) } else { Err(wanted()) }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| format!("wanted a number above 0, got `{text}`"))
}

impl From<nasgen_storage::Error> for Failure {
    fn from(error: nasgen_storage::Error) -> Self {
        let kind = match error {
            nasgen_storage::Error::Address { .. } | nasgen_storage::Error::Version { .. } => Kind::Usage,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2d", 172_800.0)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs_f64(seconds)));
        }
        for text in ["", "30", "m", "-3s", "0s", "1 h", "NaNs", "infs", "9999d", "5µ"] {
            assert!(parse_time(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}

//! `nasgen bench`: how fast a network runs.

use super::{
    device::{self, Device},
    failure::{Failure, Kind},
    images::LoadingFlags,
    output::Output,
    show::{input_shape, parse_input, plan},
    train::{ExecutorName, executor, note_reference, setting, sides},
};
use crate::{
    bench::{DataTiming, Mode, Timing, at_hand, measure, measure_data, noise},
    data::{Dataset, Fit, ImageFormat, Normalisation, Source},
    network::Network,
    numbers::grouped,
    spec::{ModelSpec, SourceText, TrainSettings},
    train::{OptimizerRule, augmentation},
    weights::Weights,
};
use nasgen_modules::{Blocks, arguments::Argument};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Measure how fast a network runs: class scores, or with --train whole training steps.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The model spec.
    config: PathBuf,
    /// Time training steps (forward, loss, backward, optimizer) instead of class scores.
    #[arg(long)]
    train: bool,
    /// Images in a batch.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Threads that work at a time [default: the processor's cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Shape of the images, such as 3x64x64 (default: the spec's input_size, else 32x32).
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    #[arg(long, value_name = "NAME", requires = "train", help = optimizer_help(), value_parser = parse_optimizer)]
    optimizer: Option<String>,
    /// Measure training from these images beside training on noise that is there already: what reading and
    /// augmenting cost. Names are those of `train --data`.
    #[arg(long, value_name = "SOURCE", requires = "train")]
    data: Option<Source>,
    #[command(flatten)]
    loading: LoadingFlags,
    /// What is done to the images of --data, as `train --augment` has it (default: the spec's).
    #[arg(long, value_name = "POLICY", requires = "data")]
    augment: Option<String>,
    /// How long to measure.
    #[arg(long, default_value_t = 3.0, value_name = "S", value_parser = parse_seconds)]
    seconds: f64,
    /// cpu, cuda or cuda:INDEX.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// engine or reference [default: engine; reference for networks with custom operations].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
}

pub(super) fn run(arguments: &Arguments, blocks: &Blocks, output: &Output) -> Result<(), Failure> {
    let device = device::open(&arguments.device)?;
    let source = SourceText::read(&arguments.config)?;
    let spec = ModelSpec::parse(&source, blocks)?;
    let settings = settings(&spec, arguments)?;
    let rule = OptimizerRule::of(&settings);
    let network = plan(&source, &spec, input_shape(&spec, arguments.input))?;
    let threads = arguments.threads.map_or_else(available_threads, |threads| threads as usize);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Failure::new(Kind::Failed, format!("cannot start {threads} threads: {error}")))?;

    note_reference(arguments.executor, &network, output);
    let loaded =
        arguments.data.as_ref().map(|source| Loaded::of(source, &network, &arguments.loading, output)).transpose()?;
    let batch = noise(&network.layers, arguments.batch as usize, 0);
    let mode = if arguments.train { Mode::Train } else { Mode::Infer };
    let classes = network.layers.output().channels();
    let duration = Duration::from_secs_f64(arguments.seconds);
    let (timing, data, executor) =
        pool.install(|| -> Result<(Timing, Option<DataTiming>, &'static str), Failure> {
            let weights = Weights::initial(&network.layers, 0);
            let mut executor = executor(arguments.executor, &network, &weights, rule, 0, device)?;
            let failed = |error: crate::train::ExecutorError| Failure::new(Kind::Failed, error.0);
            // On a CPU a batch is where it is needed.
            let batch = if device == Device::Cpu { batch } else { at_hand(&mut *executor, batch) };
            let timing = measure(&mut *executor, &batch, classes, mode, duration).map_err(failed)?;
            let data = loaded.as_ref().map(|loaded| {
                let images = (&loaded.data.train, &loaded.normalisation, &augmentation(&settings));
                measure_data(&mut *executor, &batch, images, classes, duration).map_err(failed)
            });
            Ok((timing, data.transpose()?, executor.name()))
        })?;

    let (median, least) = (timing.median_ms(), timing.min_ms());
    let images_per_second = f64::from(arguments.batch) / (median * 1e-3);
    let what = if arguments.train { "training step" } else { "batch of scores" };
    output.result(
        || {
            let memory =
                peak_bytes().map_or_else(String::new, |bytes| format!(", peak memory {} MB", bytes / 1_000_000));
            let images = loaded.as_ref().zip(data).map_or_else(String::new, |(loaded, timing)| loaded.text(&timing));
            format!(
                "{median:.2} ms for a {what} of {} images (fastest {least:.2} ms, {} steps): {images_per_second:.0} \
                 images/s\n{executor} on {}, {threads} threads{memory}{images}",
                arguments.batch,
                timing.step_ms.len(),
                arguments.device,
            )
        },
        || {
            let mut result = json!({
                "mode": if arguments.train { "train" } else { "infer" },
                "batch": arguments.batch,
                "threads": threads,
                "device": arguments.device,
                "executor": executor,
                "input": network.input.dims(),
                "steps": timing.step_ms.len(),
                "step_ms": {"p50": median, "min": least},
                "images_per_second": images_per_second,
                "peak_bytes": peak_bytes(),
            });
            if let Some((loaded, timing)) = loaded.as_ref().zip(data) {
                result["data"] = loaded.json(&timing);
            }
            result
        },
    )
}

/// The images of `--data`.
struct Loaded {
    data: Dataset,
    normalisation: Normalisation,
    /// How long it took to read and decode them, once.
    seconds: f64,
}

impl Loaded {
    fn of(source: &Source, network: &Network, loading: &LoadingFlags, output: &Output) -> Result<Self, Failure> {
        let began = Instant::now();
        let [channels, height, width] = sides(network)?;
        let format = ImageFormat { channels, height, width, fit: Fit::default() };
        let data = loading.load(source, &format, output)?;
        let seconds = began.elapsed().as_secs_f64();
        let (wanted, classes) = (data.classes.len(), network.layers.output().channels());
        if wanted > classes {
            return Err(Failure::usage(format!("{} has {wanted} classes, the network {classes} scores", data.name)));
        }
        Ok(Self { normalisation: Normalisation::of(&data.train), data, seconds })
    }

    fn text(&self, timing: &DataTiming) -> String {
        format!(
            "\n{}: {:.0} images/s from {} images in memory (decoded once in {:.1} s), {:.0} on noise, in turn: \
             {:.1} % lost",
            self.data.name,
            timing.data,
            grouped(self.data.train.len() as u64),
            self.seconds,
            timing.synthetic,
            timing.loss() * 100.0,
        )
    }

    fn json(&self, timing: &DataTiming) -> Value {
        json!({
            "name": self.data.name,
            "images": self.data.train.len(),
            "load_seconds": self.seconds,
            "images_per_second": timing.data,
            "synthetic_images_per_second": timing.synthetic,
            "loss_percent": timing.loss() * 100.0,
        })
    }
}

/// What `--optimizer` takes.
fn optimizer() -> Option<Argument> {
    TrainSettings::signature().arguments.into_iter().find(|setting| setting.name == "optimizer")
}

fn optimizer_help() -> String {
    let wanted = optimizer().map_or_else(String::new, |setting| setting.wanted());
    format!("The optimizer of the training steps: {wanted} (default: the spec's, else sgd)")
}

fn parse_optimizer(text: &str) -> Result<String, String> {
    let Some(setting) = optimizer() else { return Ok(text.to_owned()) };
    setting.accepts(&Value::from(text)).map_err(|error| {
        let help = error.help.map_or_else(String::new, |help| format!("; {help}"));
        format!("{}{help}", error.message)
    })?;
    Ok(text.to_owned())
}

/// The spec's settings, with another optimizer and augmentation if they are named.
fn settings(spec: &ModelSpec, arguments: &Arguments) -> Result<TrainSettings, Failure> {
    let given = [("optimizer", &arguments.optimizer), ("augment", &arguments.augment)];
    let mut values = spec.train.clone();
    for (name, text) in given {
        if let Some(text) = text {
            values.insert(name.into(), setting(name, text));
        }
    }
    TrainSettings::parse(&values).map_err(|errors| {
        let flags: Vec<String> =
            given.iter().filter(|(_, text)| text.is_some()).map(|(name, _)| format!("--{name}")).collect();
        let messages: Vec<String> = errors.into_iter().map(|error| error.message).collect();
        Failure::usage(format!("{}: {}", flags.join(", "), messages.join("; ")))
    })
}

/// Cores that this process may use.
fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The most memory that this process has had at a time; `None` where the system does not say.
fn peak_bytes() -> Option<u64> {
    // On Linux `getrusage` counts what the process that started this one had.
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        return Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024);
    }
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        // macOS counts bytes, the others KiB.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        getrusage(UsageWho::RUSAGE_SELF).ok().map(|usage| usage.max_rss() as u64 * unit)
    }
    #[cfg(not(unix))]
    None
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("wanted a number of seconds, such as 3 or 0.5".into()),
    }
}

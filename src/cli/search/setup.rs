//! What is searched, on what and how.

use super::{
    Arguments,
    choosers::{self, Chosen},
    pictures::Pictures,
    trainer::metric_named,
};
use crate::{
    bench::{Mode, measure, noise},
    chance::Chance,
    cli::{
        device,
        failure::{Failure, Kind},
        output::Output,
        space::read_space,
        train::{ExecutorName, executor},
    },
    data::Source,
    network::Network,
    search::{Keep, Limits, ModelSpace, parse_objectives, parse_until},
    space::{Budget, RandomDraw, Space},
    spec::{TrainSettings, is_set, yaml},
    train::{OptimizerRule, RunConfig},
    weights::Weights,
};
use nasgen_modules::{Blocks, Shape};
use nasgen_search::{Objective, Pruner, Rejection, Sampler};
use serde_json::{Map, Value, json};
use std::{thread::available_parallelism, time::Duration};

/// The sampler when none is named.
pub(super) const SAMPLER: &str = "auto";
/// Epochs of a trial when nothing else says how many.
const EPOCHS: usize = 10;

/// Draws that look for the first network of a space.
const LOOKS: u64 = 1000;
/// How long a latency is measured.
const LATENCY: Duration = Duration::from_millis(50);

/// A search before its first trial, or before its next.
pub(super) struct Setup<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) space: Space,
    pub(super) objectives: Vec<Objective>,
    pub(super) until: Option<f64>,
    /// What all trainings have in common; its settings are those that the space does not draw.
    pub(super) config: RunConfig,
    /// `None` where an evaluator has its own.
    pub(super) pictures: Option<Pictures>,
    pub(super) sampler: Chosen<dyn Sampler>,
    pub(super) pruner: Chosen<dyn Pruner>,
    pub(super) jobs: usize,
    /// Cores for each of the jobs.
    pub(super) threads: usize,
}

impl<'a> Setup<'a> {
    pub(super) fn new(arguments: &'a Arguments, blocks: &Blocks, output: &Output) -> Result<Self, Failure> {
        let space = read_space(arguments.space.as_deref(), arguments.tune.as_ref(), blocks)?;
        let wrong = |flag: &'static str| move |problem: String| Failure::usage(format!("--{flag}: {problem}"));
        let external = arguments.evaluator.is_some();
        if arguments.evaluator.as_ref().is_some_and(|command| command.trim().is_empty()) {
            return Err(Failure::usage("--evaluator: wanted a command, such as \"python train.py\", got nothing"));
        }
        let text = arguments.objective.as_deref().unwrap_or(if external { "value" } else { "accuracy" });
        let objectives = parse_objectives(text, external).map_err(wrong("objective"))?;
        let until = arguments.until.as_deref().map(|text| parse_until(text, &objectives)).transpose();
        let until = until.map_err(wrong("until"))?;
        refuse_drawn_settings(arguments, &space)?;
        if !external && !space.has_network() {
            return Err(Failure::usage(format!(
                "`{}` gives named values and no network: say what scores them with --evaluator COMMAND",
                space.name
            )));
        }
        let limited = [
            ("max-params", arguments.max_params.is_some()),
            ("max-macs", arguments.max_macs.is_some()),
            ("max-latency", arguments.max_latency.is_some()),
            ("enqueue", !arguments.enqueue.is_empty()),
        ];
        if let (false, Some((flag, _))) = (space.has_network(), limited.iter().find(|(_, given)| *given)) {
            return Err(Failure::usage(format!("--{flag} is about networks, and `{}` gives named values", space.name)));
        }
        if space.draws_nothing() {
            output.note(&format!(
                "nothing is drawn in `{}`: it is one network, which is trained once; --tune searches its settings",
                space.name
            ));
        }
        let settings = effective(arguments, &objectives, &Map::new())?;
        device::open(&arguments.device)?;
        let sampler = choosers::sampler(arguments, &objectives, settings.seed)?;
        let steps = match arguments.kfold {
            Some(folds) => Some(folds as usize),
            None => Some(settings.epochs).filter(|_| !external && !is_drawn(arguments, &space, "epochs")),
        };
        let pruner = choosers::pruner(arguments, steps)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let jobs = arguments.jobs.map_or(if external { 1 } else { cores }, |jobs| jobs as usize);
        let config = RunConfig {
            config: "model.yaml".into(),
            data: arguments.data.clone().unwrap_or(Source::Synthetic).absolute(),
            fit: arguments.fit.unwrap_or_default(),
            device: arguments.device.clone(),
            executor: arguments.executor.unwrap_or(ExecutorName::Engine).to_string(),
            split: arguments.split.as_ref().map(|path| path.display().to_string()),
            subset: arguments.subset.clone(),
            init: None,
            kfold: arguments.kfold.map(|folds| folds as usize),
            settings,
        };
        let mut setup = Self {
            arguments,
            space,
            objectives,
            until,
            config,
            pictures: None,
            sampler,
            pruner,
            jobs,
            threads: (cores / jobs).max(1),
        };
        if !external {
            let network = setup.first_network()?;
            let pictures = Pictures::load(&setup.config, &network, output)?;
            let classes = pictures.classes()?.len();
            if let Some(given) = network.classes().filter(|given| *given != classes) {
                output.note(&format!(
                    "the networks of the space give {given} class scores; their last layer is replaced by one for \
                     the {classes} classes of the images"
                ));
            }
            setup.pictures = Some(pictures);
        }
        Ok(setup)
    }

    /// Any network of the space: it says which shape the images have.
    fn first_network(&self) -> Result<Network, Failure> {
        let settings = |train: &Map<String, Value>| self.settings(train);
        let latency = |_: &Network| Ok(0.0);
        let space = self.unlimited(&settings, &latency);
        let mut reason = String::new();
        for number in 0..LOOKS {
            match space.propose(&mut RandomDraw::new(Chance::new(0, "look", number))) {
                Ok(proposal) => {
                    if let Some(model) = proposal.model {
                        return Ok(model.network);
                    }
                }
                Err(Rejection::Invalid(message)) => return Err(Failure::usage(message)),
                Err(Rejection::Impossible(why) | Rejection::OverBudget { reason: why, .. }) => reason = why,
                Err(Rejection::Stopped) => break,
            }
        }
        Err(Failure::new(Kind::NothingFits, format!("none of {LOOKS} draws is a network that can stand: {reason}")))
    }

    fn unlimited<'s>(
        &'s self,
        settings: &'s crate::search::EffectiveSettings<'s>,
        latency: &'s crate::search::MeasureLatency<'s>,
    ) -> ModelSpace<'s> {
        let mut space = ModelSpace::new(&self.space, &self.objectives, settings, latency);
        space.input = self.arguments.input.map(|[channels, height, width]| Shape::image(channels, height, width));
        space
    }

    /// The space with all limits, for samplers.
    pub(super) fn model_space<'s>(
        &'s self,
        settings: &'s crate::search::EffectiveSettings<'s>,
        latency: &'s crate::search::MeasureLatency<'s>,
    ) -> Result<ModelSpace<'s>, Failure> {
        let Arguments { max_params, max_macs, max_latency, .. } = *self.arguments;
        let mut space = self.unlimited(settings, latency);
        space.limits = Limits { budget: Budget { max_params, max_macs }, max_latency_ms: max_latency };
        space.context = self.context();
        if let Some(pictures) = &self.pictures {
            space.classes = Some(pictures.classes()?.len());
        }
        Ok(space)
    }

    /// What a score depends on beside the network and its settings.
    fn context(&self) -> String {
        match (&self.pictures, &self.arguments.evaluator) {
            (Some(pictures), _) => pictures.fingerprint(),
            (None, command) => command.clone().unwrap_or_default(),
        }
    }

    /// The settings of a training of a spec with these under its `train:`.
    pub(super) fn settings(&self, train: &Map<String, Value>) -> Result<TrainSettings, String> {
        effective(self.arguments, &self.objectives, train).map_err(|failure| failure.text())
    }

    /// As `nasgen bench --batch 1 --threads 1` measures class scores: the median, in milliseconds.
    pub(super) fn latency_ms(&self, network: &Network) -> Result<f64, String> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| error.to_string())?;
        let measured = pool.install(|| -> Result<f64, Failure> {
            let device = device::open(&self.config.device)?;
            let weights = Weights::initial(&network.layers, 0);
            let mut executor = executor(self.arguments.executor, network, &weights, OptimizerRule::PLAIN, 0, device)?;
            let batch = noise(&network.layers, 1, 0);
            let classes = network.layers.output().channels();
            let timing = measure(&mut *executor, &batch, classes, Mode::Infer, LATENCY);
            Ok(timing.map_err(|error| Failure::new(Kind::Failed, error.0))?.median_ms())
        });
        measured.map_err(|failure| format!("its latency cannot be measured: {}", failure.text()))
    }

    pub(super) fn keep(&self) -> Keep {
        Keep { bytes: self.arguments.max_disk, ..self.arguments.keep }
    }
}

/// The settings of a training: the flags over what the spec says, and what a search decides.
fn effective(
    arguments: &Arguments,
    objectives: &[Objective],
    train: &Map<String, Value>,
) -> Result<TrainSettings, Failure> {
    let mut train = train.clone();
    train.entry("epochs").or_insert_with(|| json!(EPOCHS));
    let mut settings = arguments.settings.over(&arguments.sets, &Map::new(), &train)?.values;
    if let Some(metric) = metric_named(&objectives[0].name) {
        settings.metric = metric;
    }
    Ok(settings)
}

/// A flag that would overrule what the space draws, or what the objective says, is a mistake.
fn refuse_drawn_settings(arguments: &Arguments, space: &Space) -> Result<(), Failure> {
    let flags = arguments.settings.given().map(|(name, _)| name.to_owned());
    let sets = arguments.sets.iter().filter_map(|set| Some(set.split_once('=')?.0.trim().to_owned()));
    for name in flags.chain(sets) {
        if !space.has_network() && name != "seed" {
            return Err(Failure::usage(format!(
                "`{name}` is a setting of trainings, and `{}` gives named values: its evaluator decides",
                space.name
            )));
        }
        if is_drawn(arguments, space, &name) {
            return Err(Failure::usage(format!("`{name}` is drawn from the space, and with a flag it would be fixed")));
        }
        if name == "metric" && arguments.evaluator.is_none() {
            let names: Vec<&str> = crate::search::METRICS.to_vec();
            return Err(Failure::usage(format!(
                "--metric: the first --objective decides; it is one of {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// Whether the space, or `--tune`, draws this setting.
pub(super) fn is_drawn(arguments: &Arguments, space: &Space, name: &str) -> bool {
    let tree = yaml::parse(&space.source().text).ok();
    let train = tree.as_ref().and_then(|tree| tree.get("train"));
    let in_space = train.and_then(|train| train.get(name)).and_then(|value| value.as_map());
    in_space.is_some_and(is_set) || arguments.tune.as_ref().is_some_and(|tuning| tuning.sets().contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::search::trainer::metric_name;

    #[test]
    fn the_metrics_of_trainings_are_objectives() {
        for name in crate::search::METRICS {
            assert_eq!(metric_named(name).map(metric_name), Some(name));
        }
    }
}

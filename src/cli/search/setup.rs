//! What is searched, on what and where it is written down.

use super::{Arguments, pictures::Pictures, trainer::metric_named};
use crate::{
    bench::{Mode, measure, noise},
    chance::Chance,
    cli::{
        device,
        failure::{Failure, Kind},
        output::Output,
        space::read_space,
        train::{ExecutorName, executor, quoted},
    },
    data::Source,
    network::Network,
    numbers::{grouped, short},
    search::{
        Keep, Limits, ModelSpace, attributes, differences, hash, is_wider, objectives_text, parse_objectives,
        parse_until,
    },
    space::{Budget, RandomDraw, Space},
    spec::{ModelSpec, SourceText, TrainSettings, is_set, yaml},
    study,
    train::{OptimizerRule, RunConfig},
    weights::Weights,
};
use nasgen_modules::{Blocks, Shape};
use nasgen_search::{Attributes, Objective, Pruner, Rejection, Sampler, pruner, sampler};
use nasgen_storage::{Storage, Study, connect};
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

/// The sampler when none is named.
pub(super) const SAMPLER: &str = "auto";
/// The pruner of nasgen's own trainings when none is named. An evaluator's are not stopped unless one is: what it
/// reports may not be what it answers in the end.
const PRUNER: &str = "asha";
/// Epochs of a trial when nothing else says how many.
const EPOCHS: usize = 10;
/// System attribute of a study: what it searches, to the last detail that its values depend on.
const SEARCHED: &str = "nasgen:search";
/// System attribute of a study: whether its space was widened.
const EXTENDED: &str = "nasgen:extended";
/// System attribute of a study: what chose its trials last.
const CHOSEN_BY: &str = "nasgen:sampler";
/// System attribute of a study: what its networks might cost when it was searched last.
const LIMITS: &str = "nasgen:limits";
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
    pub(super) sampler: Box<dyn Sampler>,
    pub(super) pruner: Box<dyn Pruner>,
    /// As it is spelled.
    pruner_text: String,
    pub(super) jobs: usize,
    /// Cores for each of the jobs.
    pub(super) threads: usize,
}

/// A spec for the queue: its file, its text and what that says.
pub(super) type Queued<'a> = (&'a Path, SourceText, ModelSpec);

/// The study in its storage.
pub(super) struct Opened {
    pub(super) id: i64,
    pub(super) name: String,
    /// As [`connect`] takes it.
    pub(super) url: String,
    /// Where its files are.
    pub(super) folder: PathBuf,
    /// Trials that there were before.
    pub(super) before: usize,
    /// Whether the space was widened since the first of them.
    pub(super) extended: bool,
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
        if space.draws_nothing() {
            output.note(&format!(
                "nothing is drawn in `{}`: it is one network, which is trained once; --tune searches its settings",
                space.name
            ));
        }
        let settings = effective(arguments, &objectives, &Map::new())?;
        device::open(&arguments.device)?;
        let (name, mut given) = named(&arguments.sampler).map_err(wrong("sampler"))?;
        if name == SAMPLER && !external && objectives.len() == 1 && arguments.trials.is_none() {
            // What ends the search is time, or something that is to be found soon.
            given.entry("cost_exponent").or_insert_with(|| json!(1.0));
        }
        let sampler = sampler(name, settings.seed, &given).map_err(|error| wrong("sampler")(error.to_string()))?;
        let pruner_text = arguments.pruner.as_deref().unwrap_or(if external { "none" } else { PRUNER }).to_owned();
        let (name, mut given) = named(&pruner_text).map_err(wrong("pruner"))?;
        if ["asha", "hyperband"].contains(&name) && !external && !is_drawn(arguments, &space, "epochs") {
            // They need not find out how long a training is.
            let steps = arguments.kfold.map_or(settings.epochs, |folds| folds as usize);
            given.entry("max_resource").or_insert_with(|| json!(steps));
        }
        let pruner = pruner(name, &given).map_err(|error| wrong("pruner")(error.to_string()))?;
        let cores = available_parallelism().map_or(1, usize::from);
        let jobs = arguments.jobs.map_or(if external { 1 } else { cores }, |jobs| jobs as usize);
        let fastest = if arguments.device == "cpu" { ExecutorName::Engine } else { ExecutorName::Reference };
        let config = RunConfig {
            config: "model.yaml".into(),
            data: arguments.data.clone().unwrap_or(Source::Synthetic).absolute(),
            fit: arguments.fit.unwrap_or_default(),
            device: arguments.device.clone(),
            executor: arguments.executor.unwrap_or(fastest).to_string(),
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
            pruner_text,
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
            let mut executor = executor(self.arguments.executor, network, &weights, OptimizerRule::PLAIN, 0, &device)?;
            let batch = noise(&network.layers, 1, 0);
            let classes = network.layers.output().channels();
            let timing = measure(&mut *executor, &batch, classes, Mode::Infer, LATENCY);
            Ok(timing.map_err(|error| Failure::new(Kind::Failed, error.0))?.median_ms())
        });
        measured.map_err(|failure| format!("its latency cannot be measured: {}", failure.text()))
    }

    /// Everything that the values of a study depend on.
    fn description(&self) -> Value {
        let space = yaml::parse(&self.space.source().text).map_or(Value::Null, |tree| tree.to_json());
        json!({
            "space": space,
            "tune": self.arguments.tune.as_ref().map(|tuning| tuning.sets()),
            "input": self.arguments.input,
            "objective": objectives_text(&self.objectives),
            "images": self.pictures.as_ref().map(Pictures::fingerprint),
            "kfold": self.config.kfold,
            "evaluator": self.arguments.evaluator,
            "settings": self.config.settings,
        })
    }

    /// The study, made if there is none; one that is another search is refused.
    pub(super) fn open(&self, output: &Output) -> Result<Opened, Failure> {
        let name = self.arguments.study.clone().unwrap_or_else(|| self.space.name.clone());
        let url = match &self.arguments.storage {
            Some(url) => url.clone(),
            None if name.trim().is_empty() => {
                return Err(Failure::usage("--study: wanted a name, got nothing"));
            }
            None if name.contains(['/', '\\', ':']) || name.starts_with('.') => {
                return Err(Failure::usage(format!(
                    "--study {name}: a name for a file has no / \\ : and no dot first"
                )));
            }
            None => format!("studies/{name}.db"),
        };
        let folder = study::folder(&url, &name);
        let mut storage = connect(&url)?;
        let description = self.description();
        let study = Study {
            name: name.clone(),
            objectives: self.objectives.clone(),
            user: Attributes::new(),
            system: Attributes::from([(SEARCHED.to_owned(), description.clone())]),
        };
        let (id, created) = storage.open(&study)?;
        if !created {
            self.join(&mut *storage, id, &name, &description)?;
        }
        self.note_limits(&mut *storage, id, &name, output)?;
        let chosen_by = json!(format!("{}, pruner {}", self.arguments.sampler, self.pruner_text));
        storage.set_study_attribute(id, true, CHOSEN_BY, &chosen_by)?;
        storage.set_study_attribute(id, true, attributes::ABOUT, &self.about())?;
        let before = storage.trials(id)?.len();
        if !created {
            output.note(&format!("goes on with the study `{name}` in {url}, which has {before} trials"));
        }
        let study = storage.study(&name)?.map(|(_, study)| study);
        let extended = study.is_some_and(|study| study.system.contains_key(EXTENDED));
        let opened = Opened { id, name, url, folder, before, extended };
        std::fs::create_dir_all(&opened.folder).map_err(|error| {
            Failure::new(Kind::Failed, format!("cannot make the folder {}: {error}", opened.folder.display()))
        })?;
        Ok(opened)
    }

    /// What is searched and how, as pairs of words.
    fn about(&self) -> Value {
        let arguments = self.arguments;
        let limits = self.limits_text();
        let mut pairs = vec![("space", self.space.name.clone())];
        match &arguments.evaluator {
            Some(command) => pairs.push(("evaluator", command.clone())),
            None => pairs.extend([("data", self.config.data.to_string()), ("epochs", self.epochs_text())]),
        }
        pairs.extend([
            ("objective", objectives_text(&self.objectives)),
            ("limits", if limits.is_empty() { "none".to_owned() } else { format!("at most {limits}") }),
            ("sampler", arguments.sampler.clone()),
            ("pruner", self.pruner_text.clone()),
            ("seed", self.config.settings.seed.to_string()),
            ("command", command_line()),
        ]);
        json!(pairs)
    }

    fn epochs_text(&self) -> String {
        match is_drawn(self.arguments, &self.space, "epochs") {
            true => "as drawn".to_owned(),
            false => self.config.settings.epochs.to_string(),
        }
    }

    /// Limits may change from one command to the next; then it is said, because trials of before may break them.
    fn note_limits(&self, storage: &mut dyn Storage, id: i64, name: &str, output: &Output) -> Result<(), Failure> {
        let limits = self.limits_text();
        let study = storage.study(name)?.map(|(_, study)| study);
        let before = study.as_ref().and_then(|study| study.system.get(LIMITS)).and_then(Value::as_str);
        if let Some(before) = before.filter(|before| *before != limits) {
            let or_none = |limits: &str| if limits.is_empty() { "none".to_owned() } else { limits.to_owned() };
            output.note(&format!(
                "limits are now {}, and were {}: what was tried before stays as it is",
                or_none(&limits),
                or_none(before)
            ));
        }
        Ok(storage.set_study_attribute(id, true, LIMITS, &json!(limits))?)
    }

    /// What a network may cost at most, for people.
    fn limits_text(&self) -> String {
        let limits = [
            self.arguments.max_params.map(|max| format!("{} parameters", grouped(max))),
            self.arguments.max_macs.map(|max| format!("{} MACs", short(max))),
            self.arguments.max_latency.map(|max| format!("{max} ms")),
        ];
        limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Whether the study that is there is this search.
    fn join(&self, storage: &mut dyn Storage, id: i64, name: &str, description: &Value) -> Result<(), Failure> {
        let Some((_, study)) = storage.study(name)? else { return Ok(()) };
        let directions = |objectives: &[Objective]| objectives.iter().map(|one| one.direction).collect::<Vec<_>>();
        if directions(&study.objectives) != directions(&self.objectives) {
            return Err(Failure::usage(format!(
                "the study `{name}` makes {0} better, not {1}; go on with --objective {0}, or choose another name with \
                 --study",
                objectives_text(&study.objectives),
                objectives_text(&self.objectives),
            )));
        }
        // One that another program made is searched from now on.
        let Some(before) = study.system.get(SEARCHED) else {
            return Ok(storage.set_study_attribute(id, true, SEARCHED, description)?);
        };
        let found = differences(before, description);
        if found.is_empty() {
            return Ok(());
        }
        let wider = found.iter().all(|one| one.place.starts_with("space") && is_wider(one));
        if wider && self.arguments.extend {
            storage.set_study_attribute(id, true, EXTENDED, &json!(true))?;
            return Ok(storage.set_study_attribute(id, true, SEARCHED, description)?);
        }
        let lines: Vec<String> = found.iter().take(10).map(|one| format!("  {}", said(one))).collect();
        let advice = match wider {
            true => "--extend goes on with the wider space; what was tried stays".to_owned(),
            false => "--study NAME begins another study".to_owned(),
        };
        Err(Failure::usage(format!("the study `{name}` is another search:\n{}\n{advice}", lines.join("\n"))))
    }

    /// The specs of `--enqueue`, all read before the first of them is put into the queue.
    pub(super) fn queue(&self) -> Result<Vec<Queued<'a>>, Failure> {
        let read = |path: &'a PathBuf| {
            let source = SourceText::read(path)?;
            let spec = ModelSpec::parse(&source, self.space.blocks())?;
            Ok((path.as_path(), source, spec))
        };
        self.arguments.enqueue.iter().map(read).collect()
    }

    /// Puts specs into the queue, each once.
    pub(super) fn enqueue(&self, queue: &[Queued<'_>], opened: &Opened, output: &Output) -> Result<(), Failure> {
        if queue.is_empty() {
            return Ok(());
        }
        let mut storage = connect(&opened.url)?;
        for (path, source, spec) in queue {
            let mark = json!(hash(&source.text));
            if storage.trials(opened.id)?.iter().any(|trial| trial.user.get(ENQUEUED) == Some(&mark)) {
                output.note(&format!("{} was in the queue before", path.display()));
                continue;
            }
            let mut user = Attributes::from([(ENQUEUED.to_owned(), mark)]);
            let drawn = spec.sample.as_ref().filter(|sample| sample["space"] == json!(self.space.name));
            let draws = drawn.and_then(|sample| sample["draws"].as_object());
            let fixed = draws.map(|draws| draws.clone().into_iter().collect()).unwrap_or_default();
            if draws.is_none() {
                output.note(&format!(
                    "{} was not drawn from the space: it is ranked, and no sampler learns from it",
                    path.display()
                ));
                user.insert(attributes::CONFIG.to_owned(), json!(source.text));
                user.insert(attributes::GIVEN.to_owned(), json!(true));
            }
            storage.enqueue(opened.id, &fixed, &user)?;
        }
        Ok(())
    }

    pub(super) fn keep(&self) -> Keep {
        Keep { bytes: self.arguments.max_disk, ..self.arguments.keep }
    }

    pub(super) fn headline(&self, opened: &Opened) -> String {
        let limits = self.limits_text();
        let limits = if limits.is_empty() { limits } else { format!(", at most {limits}") };
        let scored = match (&self.arguments.evaluator, &self.config.settings) {
            (Some(command), _) => format!("`{command}`"),
            (None, _) if is_drawn(self.arguments, &self.space, "epochs") => {
                format!("as many epochs as are drawn on {}", self.config.data)
            }
            (None, settings) => format!("{} epochs on {}", settings.epochs, self.config.data),
        };
        format!(
            "study   {} in {}\nspace   {}{limits}\nscore   {} by {scored}\nsearch  {}, pruner {}, {} at a time, seed {}",
            opened.name,
            opened.url,
            self.space.name,
            objectives_text(&self.objectives),
            self.arguments.sampler,
            self.pruner_text,
            self.jobs,
            self.config.settings.seed,
        )
    }
}

/// User attribute of a trial that was put into the queue: a checksum of the file.
const ENQUEUED: &str = "enqueued";

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

/// The command as it was given, without the password of a database.
fn command_line() -> String {
    let word = |word: String| match word.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
        _ => quoted(&word),
    };
    let words = std::env::args_os().skip(1).map(|argument| word(argument.to_string_lossy().into_owned()));
    ["nasgen".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Whether the space, or `--tune`, draws this setting.
fn is_drawn(arguments: &Arguments, space: &Space, name: &str) -> bool {
    let tree = yaml::parse(&space.source().text).ok();
    let train = tree.as_ref().and_then(|tree| tree.get("train"));
    let in_space = train.and_then(|train| train.get(name)).and_then(|value| value.as_map());
    in_space.is_some_and(is_set) || arguments.tune.as_ref().is_some_and(|tuning| tuning.sets().contains_key(name))
}

/// `tpe:n_startup_trials=20,group=false`: a name and its settings.
fn named(text: &str) -> Result<(&str, Map<String, Value>), String> {
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    let setting = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("wanted NAME:KEY=VALUE,…, got `{text}`"))?;
        let value = value.trim();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok((key.trim().to_owned(), value))
    };
    let settings = settings.split(',').filter(|pair| !pair.trim().is_empty()).map(setting);
    Ok((name, settings.collect::<Result<_, String>>()?))
}

fn said(difference: &crate::search::Difference) -> String {
    match difference.place.as_str() {
        "images" => "images: other images, or another split of them".into(),
        _ => difference.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::search::trainer::metric_name;

    #[test]
    fn a_name_may_have_settings() {
        let (name, settings) = named("tpe:n_startup_trials=20, group=false,kind=x").unwrap();
        assert_eq!(
            (name, Value::Object(settings)),
            ("tpe", json!({"n_startup_trials": 20, "group": false, "kind": "x"}))
        );
        assert_eq!(named("auto").unwrap(), ("auto", Map::new()));
        assert!(named("tpe:20").unwrap_err().contains("KEY=VALUE"));
    }

    #[test]
    fn the_metrics_of_trainings_are_objectives() {
        for name in crate::search::METRICS {
            assert_eq!(metric_named(name).map(metric_name), Some(name));
        }
    }
}

//! The study of a search: made, or found to be the same search.

use super::{
    pictures::Pictures,
    setup::{Setup, is_drawn},
    workers::plural,
};
use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
        train::quoted,
    },
    numbers::{grouped, short},
    search::{attributes, differences, is_wider, objectives_text},
    spec::yaml,
    study,
};
use nasgen_search::{Attributes, Objective};
use nasgen_storage::{Storage, Study, connect};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// System attribute of a study: what it searches, to the last detail that its values depend on.
const SEARCHED: &str = "nasgen:search";
/// System attribute of a study: whether its space was widened.
const EXTENDED: &str = "nasgen:extended";
/// System attribute of a study: what chose its trials last.
const CHOSEN_BY: &str = "nasgen:sampler";

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

impl Setup<'_> {
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
            self.join(&mut *storage, id, &name, &description, output)?;
        }
        self.note_limits(&mut *storage, id, &name, output)?;
        let chosen_by = json!(format!("{}, pruner {}", self.sampler.text, self.pruner.text));
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
        let limits = limits_text(&self.limits());
        let mut pairs = vec![("space", self.space.name.clone())];
        match &arguments.evaluator {
            Some(command) => pairs.push(("evaluator", command.clone())),
            None => pairs.extend([("data", self.config.data.to_string()), ("epochs", self.epochs_text())]),
        }
        pairs.extend([
            ("objective", objectives_text(&self.objectives)),
            ("limits", if limits.is_empty() { "none".to_owned() } else { format!("at most {limits}") }),
            ("sampler", self.sampler.text.clone()),
            ("pruner", self.pruner.text.clone()),
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
        let limits = self.limits();
        let study = storage.study(name)?.map(|(_, study)| study);
        let before = study.as_ref().and_then(|study| study.system.get(attributes::LIMITS)).and_then(Value::as_object);
        if let Some(before) = before.filter(|before| **before != limits) {
            let or_none = |limits| Some(limits_text(limits)).filter(|text| !text.is_empty()).unwrap_or("none".into());
            output.note(&format!(
                "limits are now {}, and were {}: the best is among the trials that keep them",
                or_none(&limits),
                or_none(before)
            ));
        }
        Ok(storage.set_study_attribute(id, true, attributes::LIMITS, &json!(limits))?)
    }

    /// What a network may cost at most, by the cost's name.
    fn limits(&self) -> Map<String, Value> {
        let limits = [
            ("params", self.arguments.max_params.map(Value::from)),
            ("macs", self.arguments.max_macs.map(Value::from)),
            ("latency", self.arguments.max_latency.map(Value::from)),
        ];
        limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?))).collect()
    }

    /// Whether the study that is there is this search.
    fn join(
        &self,
        storage: &mut dyn Storage,
        id: i64,
        name: &str,
        description: &Value,
        output: &Output,
    ) -> Result<(), Failure> {
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
            output.note(&format!(
                "another program made the study `{name}`: its trials are learnt from where their params have the names and \
                 ranges of this space"
            ));
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

    pub(super) fn headline(&self, opened: &Opened) -> String {
        let limits = limits_text(&self.limits());
        let limits = if limits.is_empty() { limits } else { format!(", at most {limits}") };
        let scored = match (&self.arguments.evaluator, &self.config.settings) {
            (Some(command), _) => format!("`{command}`"),
            (None, _) if is_drawn(self.arguments, &self.space, "epochs") => {
                format!("as many epochs as are drawn on {}", self.config.data)
            }
            (None, settings) => {
                let epochs = plural(settings.epochs as u64, "epoch");
                format!("{} {epochs} on {}", settings.epochs, self.config.data)
            }
        };
        format!(
            "study   {} in {}\nspace   {}{limits}\nscore   {} by {scored}\nsearch  {}, pruner {}, {} at a time, seed {}",
            opened.name,
            opened.url,
            self.space.name,
            objectives_text(&self.objectives),
            self.sampler.text,
            self.pruner.text,
            self.jobs,
            self.config.settings.seed,
        )
    }
}

/// Limits for people.
fn limits_text(limits: &Map<String, Value>) -> String {
    let text = |name: &str, of: fn(u64) -> String, unit: &str| {
        limits.get(name).and_then(Value::as_u64).map(|limit| format!("{} {unit}", of(limit)))
    };
    let latency = limits.get("latency").and_then(Value::as_f64).map(|limit| format!("{limit} ms"));
    let texts = [text("params", grouped, "parameters"), text("macs", short, "MACs"), latency];
    texts.into_iter().flatten().collect::<Vec<_>>().join(", ")
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

fn said(difference: &crate::search::Difference) -> String {
    match difference.place.as_str() {
        "images" => "images: other images, or another split of them".into(),
        _ => difference.text(),
    }
}

//! `nasgen study`: what came of searches.

use super::{
    destination::Destination,
    failure::{Failure, Kind},
    output::Output,
};
use crate::{
    files,
    numbers::parse_count,
    report::{best_text, studies_text, study_text},
    search::attributes,
    study::{self, Wanted},
};
use nasgen_search::Trial;
use nasgen_storage::{Storage, Study, connect_existing};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where searches keep their studies unless they are told otherwise.
const FOLDER: &str = "studies";

/// Look into studies: what searches tried and found.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// The studies there are, and how far they have come. With --all also those in which searches trained their best
    /// again.
    List(List),
    /// What one study tried, and its best trials.
    Show(Show),
    /// The best network of a study, or the smallest that is good enough.
    Best(Best),
    /// All trials, as a CSV table or with --json as one JSON object.
    Export(Export),
    /// Delete a study with all its trials and their files.
    Delete(Delete),
}

#[derive(clap::Args)]
struct List {
    /// Where they are: a file of SQLite or an address [default: the files studies/*.db].
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Also the studies of last steps, in which searches train their best trials again.
    #[arg(long)]
    all: bool,
}

/// Which study.
#[derive(clap::Args)]
struct Which {
    /// Its name, as `nasgen study list` has it [default: the study that was written last].
    study: Option<String>,
    /// Where it is: a file of SQLite or an address, as for `nasgen search` [default: studies/NAME.db].
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    which: Which,
    /// How many of the best trials.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

#[derive(clap::Args)]
struct Best {
    #[command(flatten)]
    which: Which,
    /// Write its spec to this file. A spec that nasgen drew is replaced; another file only with --force.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace whatever stands there.
    #[arg(long, requires = "out")]
    force: bool,
    /// At most this many parameters, such as 300k.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_params: Option<u64>,
    /// At most this many multiply-adds for one image, such as 40M.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_macs: Option<u64>,
    /// At most so many milliseconds for one image.
    #[arg(long, value_name = "MS")]
    max_latency: Option<f64>,
    /// Good enough is: macro_f1=0.7.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_bound)]
    min: Vec<(String, f64)>,
    /// Good enough is: loss=0.9.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_bound)]
    max: Vec<(String, f64)>,
    /// The one with the least of this, such as params, in place of the one with the best value.
    #[arg(long, value_name = "NAME")]
    smallest: Option<String>,
}

#[derive(clap::Args)]
struct Export {
    #[command(flatten)]
    which: Which,
    /// A CSV table, which it is anyway without --json.
    #[arg(long)]
    csv: bool,
    /// Write to this file, as JSON if its name ends in .json. An export of before is replaced; another file only
    /// with --force.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace whatever stands there.
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(clap::Args)]
struct Delete {
    /// Its name.
    study: String,
    /// Where it is: a file of SQLite or an address, as for `nasgen search` [default: studies/NAME.db].
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Really delete it.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::List(arguments) => list(arguments, output),
        Action::Show(arguments) => show(arguments, output),
        Action::Best(arguments) => best(arguments, output),
        Action::Export(arguments) => export(arguments, output),
        Action::Delete(arguments) => delete(arguments, output),
    }
}

fn parse_bound(text: &str) -> Result<(String, f64), String> {
    let wanted = || format!("wanted NAME=NUMBER, as in macro_f1=0.7, got `{text}`");
    let (name, value) = text.split_once('=').ok_or_else(wanted)?;
    let value = value.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(wanted)?;
    if name.is_empty() { Err(wanted()) } else { Ok((name.to_owned(), value)) }
}

/// A study that was found, with its trials.
struct Opened {
    url: String,
    storage: Box<dyn Storage>,
    id: i64,
    study: Study,
    trials: Vec<Trial>,
}

impl Which {
    fn open(&self) -> Result<Opened, Failure> {
        let url = match (&self.storage, &self.study) {
            (Some(url), _) => url.clone(),
            (None, Some(name)) => file_of(name)?,
            (None, None) => newest()?,
        };
        let mut storage = connect(&url)?;
        let found = match &self.study {
            Some(name) => storage.study(name).map_err(failed)?,
            None => written_last(&mut *storage)?,
        };
        let Some((id, study)) = found else { return Err(self.none_in(&url, &mut *storage)?) };
        let trials = storage.trials(id).map_err(failed)?.to_vec();
        Ok(Opened { url, storage, id, study, trials })
    }

    /// Why nothing was found in a storage.
    fn none_in(&self, url: &str, storage: &mut dyn Storage) -> Result<Failure, Failure> {
        let Some(name) = &self.study else { return Ok(Failure::usage(format!("there is no study in {url}"))) };
        let known = storage.studies().map_err(failed)?.join(", ");
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are: {known}") };
        Ok(Failure::usage(format!("there is no study `{name}` in {url}; {known}")))
    }
}

/// Of the studies that users began the one in which something happened last; of equal ones the later.
fn written_last(storage: &mut dyn Storage) -> Result<Option<(i64, Study)>, Failure> {
    let mut last: Option<(Option<i64>, (i64, Study))> = None;
    for name in storage.studies().map_err(failed)? {
        let Some((id, study)) = storage.study(&name).map_err(failed)? else { continue };
        if study::last_step_of(&study).is_some() {
            continue;
        }
        let written = study::last_written(storage.trials(id).map_err(failed)?);
        if last.as_ref().is_none_or(|(before, _)| written >= *before) {
            last = Some((written, (id, study)));
        }
    }
    Ok(last.map(|(_, study)| study))
}

fn connect(url: &str) -> Result<Box<dyn Storage>, Failure> {
    Ok(connect_existing(url)?)
}

fn failed(error: nasgen_storage::Error) -> Failure {
    Failure::new(Kind::Failed, error.to_string())
}

/// The file of a study: the one of its name, else the first of the others that has it.
fn file_of(study: &str) -> Result<String, Failure> {
    let file = format!("{FOLDER}/{study}.db");
    if Path::new(&file).is_file() {
        return Ok(file);
    }
    for other in stored_files() {
        let url = other.display().to_string();
        // One that cannot be read is not the one that is looked for.
        let Ok(mut storage) = connect(&url) else { continue };
        if storage.study(study).is_ok_and(|found| found.is_some()) {
            return Ok(url);
        }
    }
    let known = stored_files().iter().map(|file| format!("\n  {}", file.display())).collect::<String>();
    let known = if known.is_empty() { String::new() } else { format!("; there are:{known}") };
    Err(Failure::usage(format!("there is no {file}: name its place with --storage{known}")))
}

/// The files of studies, by name.
fn stored_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "db")).collect();
    files.sort_unstable();
    files
}

fn newest() -> Result<String, Failure> {
    let written = |file: &PathBuf| fs::metadata(file).and_then(|file| file.modified()).ok();
    let newest = stored_files().into_iter().max_by_key(written);
    let none = || {
        Failure::usage(format!(
            "there are no studies in {FOLDER}/: start one with `nasgen search`, or name its place with --storage"
        ))
    };
    Ok(newest.ok_or_else(none)?.display().to_string())
}

fn list(arguments: &List, output: &Output) -> Result<(), Failure> {
    let urls = match &arguments.storage {
        Some(url) => vec![url.clone()],
        None => stored_files().iter().map(|file| file.display().to_string()).collect(),
    };
    let mut listed = Vec::new();
    for url in urls {
        let mut storage = match connect(&url) {
            Ok(storage) => storage,
            // One bad file in the folder does not hide the others.
            Err(failure) if arguments.storage.is_none() => {
                output.note(&failure.text());
                continue;
            }
            Err(failure) => return Err(failure),
        };
        for name in storage.studies().map_err(failed)? {
            let Some((id, study)) = storage.study(&name).map_err(failed)? else { continue };
            if study::last_step_of(&study).is_some() && !arguments.all {
                continue;
            }
            listed.push((url.clone(), study, storage.trials(id).map_err(failed)?.to_vec()));
        }
    }
    output.result(
        || studies_text(&listed),
        || {
            let studies = listed.iter().map(|(url, study, trials)| {
                let best = study::best(study, trials).map(|(trial, _)| trial.number);
                json!({
                    "study": study.name, "storage": url, "trials": trials.len(), "best": best,
                    "last_step_of": study::last_step_of(study),
                })
            });
            json!({"studies": studies.collect::<Vec<Value>>()})
        },
    )
}

fn show(arguments: &Show, output: &Output) -> Result<(), Failure> {
    let Opened { study, trials, .. } = arguments.which.open()?;
    output.result(|| study_text(&study, &trials, arguments.top), || study::to_json(&study, &trials))
}

fn best(arguments: &Best, output: &Output) -> Result<(), Failure> {
    let Opened { url, study, trials, .. } = arguments.which.open()?;
    let trial = arguments.wanted().choose(&study, &trials);
    let trial = trial.map_err(|error| Failure::new(Kind::NothingFits, error.to_string()))?;
    let config = attributes::config(trial);
    if let Some(path) = &arguments.out {
        let config = config.ok_or_else(|| {
            let number = trial.number;
            Failure::new(Kind::Failed, format!("trial {number} has no spec: it was not nasgen that drew it"))
        })?;
        if let Some(note) = Destination::File(path.clone()).check(arguments.force)? {
            output.note(&note);
        }
        write(path, config.as_bytes())?;
    }
    output.result(
        || best_text(&study, &url, &trials, trial, config, arguments.out.as_deref()),
        || {
            let values = study.objectives.iter().zip(study::values(&study, trial));
            let values = values.map(|(objective, value)| (objective.name.clone(), study::number(value)));
            json!({
                "study": study.name,
                "trial": trial.number,
                "values": values.collect::<serde_json::Map<_, _>>(),
                "user": trial.user,
                "params": trial.params.iter().map(|param| (param.name.clone(), param.value.clone()))
                    .collect::<serde_json::Map<_, _>>(),
                "out": arguments.out,
            })
        },
    )
}

impl Best {
    fn wanted(&self) -> Wanted {
        let counts = [("params", self.max_params), ("macs", self.max_macs)];
        let counts = counts.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit? as f64)));
        let latency = self.max_latency.map(|limit| ("latency".to_owned(), limit));
        Wanted {
            at_most: counts.chain(latency).chain(self.max.iter().cloned()).collect(),
            at_least: self.min.clone(),
            smallest: self.smallest.clone(),
        }
    }
}

fn export(arguments: &Export, output: &Output) -> Result<(), Failure> {
    let Opened { study, trials, .. } = arguments.which.open()?;
    let csv = || -> Result<String, Failure> {
        let bytes = study::to_csv(&study, &trials).map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let Some(path) = &arguments.out else {
        let table = csv()?;
        return output.result(|| table, || study::to_json(&study, &trials));
    };
    if path.is_file() && !arguments.force && !is_export(path) {
        let path = path.display();
        return Err(Failure::usage(format!(
            "{path} exists and is no export of nasgen; write to another file, or replace with --force"
        )));
    }
    let as_json = !arguments.csv && path.extension().is_some_and(|end| end == "json");
    let text = if as_json { format!("{:#}\n", study::to_json(&study, &trials)) } else { csv()? };
    write(path, text.as_bytes())?;
    let written = || format!("{} trials of `{}` in {}", trials.len(), study.name, path.display());
    output.result(written, || json!({"study": study.name, "trials": trials.len(), "out": path}))
}

/// Whether `nasgen study export` wrote the file.
fn is_export(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let is_json = || {
        let whole = serde_json::from_str::<Value>(&text).unwrap_or_default();
        whole["study"].is_string() && whole["trials"].is_array()
    };
    text.starts_with("number,state,started,finished,steps,") || is_json()
}

fn delete(arguments: &Delete, output: &Output) -> Result<(), Failure> {
    let which = Which { study: Some(arguments.study.clone()), storage: arguments.storage.clone() };
    let Opened { url, mut storage, id, study, trials } = which.open()?;
    if !arguments.yes {
        let (name, count) = (&study.name, trials.len());
        return Err(Failure::usage(format!("this deletes the study `{name}` with its {count} trials: say --yes")));
    }
    for name in storage.studies().map_err(failed)? {
        let Some((own, other)) = storage.study(&name).map_err(failed)? else { continue };
        if study::last_step_of(&other) == Some(study.name.as_str()) {
            storage.delete(own).map_err(failed)?;
        }
    }
    storage.delete(id).map_err(failed)?;
    // The file that a search made for this study alone goes with it.
    if url == format!("{FOLDER}/{}.db", study.name) && storage.studies().map_err(failed)?.is_empty() {
        drop(storage);
        ["", "-wal", "-shm"].into_iter().try_for_each(|ending| gone(format!("{url}{ending}").into()))?;
    }
    delete_files(&study::folder(&url, &study.name))?;
    output.result(
        || format!("deleted the study `{}` with its {} trials", study.name, trials.len()),
        || json!({"deleted": study.name, "trials": trials.len()}),
    )
}

/// Deletes a file, or a folder with all that is in it, if it is there.
fn gone(path: PathBuf) -> Result<(), Failure> {
    let deleted = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    match deleted {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Kind::Failed, format!("cannot delete {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// What searches write into a study's folder; what else stands there stays.
fn delete_files(folder: &Path) -> Result<(), Failure> {
    ["trials", "final", "best.yml", "report.html"].into_iter().try_for_each(|name| gone(folder.join(name)))?;
    // One that is not empty is somebody's.
    let _ = fs::remove_dir(folder);
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::write_whole(path, bytes)
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot write {}: {error}", path.display())))
}

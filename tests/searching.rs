//! `nasgen search` as a user meets it: what it gives, what it goes on with, what it survives.

use crate::program::nasgen;
use nasgen::spec::{ModelSpec, SourceText};
use nasgen_search::{History, Objective, State, Trial};
use nasgen_storage::connect;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Quick networks: a trial of two epochs takes a fraction of a second.
pub(crate) const SPACE: &str = "\
input_size: [8, 8]
backbone:
  - [1, Conv, [{int: [8, 32], step: 8, name: width}, 3, 2, null, 1, {choice: [ReLU, SiLU]}]]
  - [{int: [1, 2]}, Conv, [{int: [8, 32], step: 8}, 3]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
train: {lr: {float: [1e-3, 1e-1], log: true}}
";
const QUICK: &str = "--epochs 2 --subset 300 --batch 100 --sampler random --pruner none";

pub(crate) fn folder_with_space() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("space.yml"), SPACE).unwrap();
    folder
}

pub(crate) fn search(folder: &Path, arguments: &str) -> (i32, Value, String) {
    let (code, stdout, stderr) = nasgen(folder, &format!("search {arguments} --json"));
    let json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}"));
    (code, json, stderr)
}

pub(crate) fn trials(folder: &Path, study: &str) -> Vec<Trial> {
    let mut storage = connect(&folder.join(format!("studies/{study}.db")).display().to_string()).unwrap();
    // A search that has just begun may have made the file and not yet the study.
    let Some((id, _)) = storage.study(study).unwrap() else { return Vec::new() };
    storage.trials(id).unwrap().to_vec()
}

/// Number, state, values, reports, draws.
pub(crate) type Told = (u64, State, Vec<f64>, Vec<(u64, f64)>, String);

/// What a trial is, without what depends on time.
pub(crate) fn told(trials: &[Trial]) -> Vec<Told> {
    let draws = |trial: &Trial| {
        trial.params.iter().map(|param| format!("{}={}", param.name, param.value)).collect::<Vec<_>>().join(" ")
    };
    trials
        .iter()
        .map(|trial| (trial.number, trial.state, trial.values.clone(), trial.reports.clone(), draws(trial)))
        .collect()
}

#[test]
fn a_search_ends_with_the_best_spec_and_what_to_do_next() {
    let folder = folder_with_space();
    let arguments = format!("space.yml {QUICK} --trials 4 --jobs 2 --max-params 8k --finalists 2 --final-seeds 2");
    let (code, stdout, stderr) = nasgen(folder.path(), &format!("search {arguments}"));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("trial ")).count(), 4 + 4, "{stderr}");
    assert_eq!(stderr.matches(", seed 1 ").count() + stderr.matches(", seed 2 ").count(), 4, "{stderr}");
    for words in ["best    trial", "again   2 seeds each", "test    ", "next:   nasgen train studies/space/best.yml"] {
        assert!(stdout.contains(words), "no `{words}` in:\n{stdout}");
    }
    let (code, shown, _) = nasgen(folder.path(), "show studies/space/best.yml --json");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(code == 0 && shown["params"].as_u64().unwrap() <= 8000, "{shown}");

    // The same command finds its work done, and looks at no test image again.
    let (code, result, stderr) = search(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        result["trials"],
        serde_json::json!({"complete": 4, "pruned": 0, "failed": 0, "reused": 0, "paused": 0})
    );
    assert!(result["study"] == "space" && !result["front"].as_array().unwrap().is_empty());
    assert!(!stderr.lines().any(|line| line.starts_with("trial ")), "it trained again: {stderr}");
    let (_, stdout, _) = nasgen(folder.path(), &format!("search {}", arguments.replace("--trials 4", "--trials 2")));
    assert!(stdout.contains("all of --trials 2 were begun, which the study had before: 4"), "{stdout}");
    // One winner, whoever is asked; and all that was measured of a trial.
    let winner = result["best"]["number"].as_u64().unwrap();
    let (code, best, stderr) = nasgen(folder.path(), "study best --json");
    let best: Value = serde_json::from_str(&best).unwrap();
    assert_eq!((code, best["trial"].as_u64()), (0, Some(winner)), "{stderr}");
    let (_, shown, _) = nasgen(folder.path(), "study show");
    assert!(shown.contains(&format!("best     trial {winner}, the winner of the last step")), "{shown}");
    let (code, smallest, stderr) = nasgen(folder.path(), "study best --min macro_f1=0 --smallest params");
    assert!(code == 0 && smallest.contains("macro_f1") && smallest.contains("loss"), "{stderr}{smallest}");
    let last = &result["final"];
    assert_eq!(last["test"].as_array().unwrap().len(), 2, "{last}");
    assert_eq!(last["finalists"][0]["number"], result["best"]["number"]);
    let run = last["run"].as_str().unwrap();
    let (code, evaluated, stderr) = nasgen(folder.path(), &format!("eval {run} --json"));
    assert_eq!(code, 0, "{stderr}");
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(evaluated["split"], "test");
    let tests: Vec<f64> = last["test"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert!(tests.contains(&evaluated["accuracy"].as_f64().unwrap()), "{tests:?} {evaluated}");
    // Weights of the best five at most; every spec stays.
    for trial in trials(folder.path(), "space") {
        assert!(folder.path().join(format!("studies/space/trials/{:05}/model.yaml", trial.number)).is_file());
    }
}

/// The README's command for images of one's own: the default space, nothing but a folder and a budget named.
#[test]
fn a_folder_of_images_is_searched_with_the_default_space() {
    let folder = crate::splitting::folder();
    let arguments =
        "--data photos --max-params 100k --trials 2 --epochs 1 --batch 8 --subset 50% --finalists 1 --final-seeds 1";
    let (code, stdout, stderr) = nasgen(folder.path(), &format!("search {arguments}"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("their last layer is replaced by one for the 2 classes"), "{stderr}");
    assert!(stdout.contains("next:   nasgen train studies/cells/best.yml --data "), "{stdout}");
    assert!(stdout.contains("the data has no test images"), "{stdout}");
    let best = "studies/cells/best.yml";
    let (code, shown, stderr) = nasgen(folder.path(), &format!("show {best} --json"));
    assert_eq!(code, 0, "{stderr}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["params"].as_u64().unwrap() <= 100_000, "{shown}");
    let (code, _, stderr) = nasgen(folder.path(), &format!("train {best} --data photos --epochs 1 --batch 8"));
    assert_eq!(code, 0, "what comes next works: {stderr}");
}

/// Scripts that start a search elsewhere use flags that there are.
#[test]
fn files_for_clusters_give_flags_that_there_are() {
    let (_, help, _) = nasgen(Path::new("."), "search --help");
    for file in ["kubernetes.yaml", "slurm.sh", "docker-compose/compose.yaml"] {
        let text = fs::read_to_string(crate::repository("deploy").join(file)).unwrap();
        let (_, search) = text.split_once("search").unwrap();
        let (_, arguments) = search.split_once("--storage").unwrap_or_else(|| panic!("{file} names no storage"));
        let arguments = arguments.split("\n\n").next().unwrap();
        let flags = arguments.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        let flags: Vec<&str> = flags.filter_map(|flag| flag.split('=').next()).collect();
        assert!(flags.contains(&"study") && flags.contains(&"trials"), "{file}: {flags:?}");
        for flag in flags {
            assert!(help.contains(&format!("--{flag} <")), "{file}: --{flag}");
        }
    }
}

#[test]
fn one_worker_repeats_a_search_exactly() {
    let folder = folder_with_space();
    let tpe = "--epochs 1 --subset 200 --batch 100 --sampler tpe:n_startup_trials=3 --finalists 0";
    for study in ["a", "b"] {
        let (code, _, stderr) = search(folder.path(), &format!("space.yml {tpe} --trials 7 --jobs 1 --study {study}"));
        assert_eq!(code, 0, "{stderr}");
    }
    assert_eq!(told(&trials(folder.path(), "a")), told(&trials(folder.path(), "b")));
}

/// What each suggestion saw is written down, so that what two workers did side by side can be asked for again.
#[test]
fn what_two_workers_tried_can_be_replayed_with_every_sampler() {
    let folder = folder_with_space();
    let (space, settings) = replayed::space();
    let latency = |_: &nasgen::network::Network| -> Result<f64, String> { Err("nobody asks".into()) };
    let objectives =
        [Objective { name: "accuracy".into(), direction: nasgen_search::Direction::Maximize, known: false }];
    let model_space = nasgen::search::ModelSpace::new(&space, &objectives, &settings, &latency);
    let with_settings = |name: &str| match name {
        "tpe" | "auto" => serde_json::json!({"n_startup_trials": 3}),
        _ => serde_json::json!({}),
    };
    // A grid needs steps, which the learning rate of this space has none of.
    for kind in nasgen_search::samplers().iter().filter(|kind| kind.name != "grid") {
        let given = with_settings(kind.name);
        let text: Vec<String> =
            given.as_object().unwrap().iter().map(|(name, value)| format!(":{name}={value}")).collect();
        let sampler = format!("{}{}", kind.name, text.concat());
        let arguments = format!("space.yml --epochs 4 --subset 200 --batch 100 --sampler {sampler} --finalists 0");
        let arguments = format!("{arguments} --trials 10 --jobs 2 --study {}", kind.name);
        let (code, _, stderr) = search(folder.path(), &arguments);
        assert_eq!(code, 0, "{stderr}");
        let ended = trials(folder.path(), kind.name);
        assert_eq!(ended.len(), 10);
        let sampler = kind.sampler(0, given.as_object().unwrap()).unwrap();
        for trial in &ended {
            let saw = trial.system["nasgen:saw"].as_str().unwrap();
            let seen = nasgen::search::trials_seen(saw, &ended).unwrap();
            let history = History { study: kind.name, objectives: &objectives, trials: &seen };
            let again = sampler.suggest(history, trial.number, &model_space).unwrap();
            assert_eq!(again.params, trial.params, "{}: trial {} saw {saw}", kind.name, trial.number);
        }
    }
}

mod replayed {
    use nasgen::{
        space::Space,
        spec::{SourceText, TrainSettings},
    };
    use serde_json::{Map, Value};

    type Settings = Box<dyn Fn(&Map<String, Value>) -> Result<TrainSettings, String> + Sync>;

    pub(super) fn space() -> (Space, Settings) {
        let source = SourceText { name: "space.yml".into(), text: super::SPACE.into() };
        let space = Space::parse("space", &source, &nasgen_modules::Blocks::builtin()).unwrap();
        (space, Box::new(|train| TrainSettings::parse(train).map_err(|errors| errors[0].message.clone())))
    }
}

#[test]
fn another_search_under_the_same_name_is_refused_with_the_difference() {
    let folder = folder_with_space();
    let arguments = format!("space.yml {QUICK} --trials 2 --jobs 1 --finalists 0");
    assert_eq!(search(folder.path(), &arguments).0, 0);
    let (code, error, _) = search(folder.path(), &format!("{arguments} --seed 7"));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 2 && message.contains("settings.seed: the study has 0, now it is 7"), "{message}");
    let (code, error, _) = search(folder.path(), &format!("{arguments} --objective loss"));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 2 && message.contains("makes accuracy:max better, not loss:min"), "{message}");
    assert!(message.contains("go on with --objective accuracy:max"), "{message}");
    let (code, _, stderr) = search(folder.path(), &format!("{arguments} --max-params 50k"));
    assert!(code == 0 && stderr.contains("limits are now 50,000 parameters, and were none"), "{stderr}");

    fs::write(folder.path().join("space.yml"), SPACE.replace("[ReLU, SiLU]", "[ReLU, SiLU, Hardswish]")).unwrap();
    let (code, error, _) = search(folder.path(), &arguments);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 2 && message.contains("Hardswish") && message.contains("--extend"), "{message}");
    let (code, result, stderr) =
        search(folder.path(), &format!("space.yml {QUICK} --trials 4 --jobs 1 --finalists 0 --extend"));
    assert_eq!((code, &result["trials"]["complete"]), (0, &4.into()), "{stderr}");
    fs::write(folder.path().join("space.yml"), SPACE.replace("[ReLU, SiLU]", "[ReLU, GELU]")).unwrap();
    let (code, error, _) = search(folder.path(), &format!("{arguments} --extend"));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 2 && message.contains("--study NAME begins another study"), "{message}");
}

#[test]
fn queued_specs_come_first_whoever_wrote_them() {
    let folder = folder_with_space();
    let (code, _, stderr) = nasgen(folder.path(), "sample space.yml --seed 5 --out drawn.yml");
    assert_eq!(code, 0, "{stderr}");
    let own = "input_size: [8, 8]\nbackbone:\n  - [1, Conv, [40, 5, 2]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n";
    fs::write(folder.path().join("own.yml"), own).unwrap();
    let arguments =
        format!("space.yml {QUICK} --trials 3 --jobs 1 --finalists 0 --enqueue drawn.yml --enqueue own.yml");
    for _ in 0..2 {
        let (code, result, stderr) = search(folder.path(), &arguments);
        assert_eq!((code, &result["trials"]["complete"]), (0, &3.into()), "{stderr}");
    }
    let ended = trials(folder.path(), "space");
    let drawn = SourceText::read(&folder.path().join("drawn.yml")).unwrap();
    let drawn = ModelSpec::parse(&drawn, &nasgen_modules::Blocks::builtin()).unwrap().sample.unwrap();
    assert_eq!(ended.len(), 3);
    for param in &ended[0].params {
        assert_eq!(param.value, drawn["draws"][&param.name], "{}", param.name);
    }
    assert!(!ended[0].params.is_empty() && ended[1].params.is_empty());
    assert_eq!(ended[1].user["config"], own);
    // One that cannot be read keeps the others out of the queue.
    let (code, _, stderr) =
        search(folder.path(), &format!("{} --study other", arguments.replace("own.yml", "none.yml")));
    assert!(code != 0 && stderr.contains("none.yml"), "{stderr}");
    assert!(!folder.path().join("studies/other.db").exists());
}

/// Of four epochs the first one decides: a quarter of the trials goes on.
#[test]
fn beaten_trials_are_set_aside_by_default() {
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 4 --subset 500 --batch 100 --trials 9 --jobs 1 --finalists 0";
    let (code, result, stderr) = search(folder.path(), arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("search  auto, pruner asha, 1 at a time"), "{stderr}");
    let trials = trials(folder.path(), "space");
    let reports = |trial: &Trial| trial.reports.len();
    assert!(trials.iter().all(|trial| [1, 4].contains(&reports(trial))), "{:?}", told(&trials));
    let (whole, beaten): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|trial| reports(trial) == 4);
    // Later ones may be better than one that went on early, but none of those that wait is the best.
    let best = |trials: &[&Trial]| trials.iter().map(|trial| trial.reports[0].1).fold(0.0, f64::max);
    assert!((1..=4).contains(&whole.len()) && best(&beaten) <= best(&whole), "{:?}", told(&trials));
    assert_eq!(
        (&result["trials"]["complete"], &result["trials"]["pruned"]),
        (&whole.len().into(), &beaten.len().into())
    );
}

#[test]
fn nothing_that_was_trained_is_trained_again() {
    let folder = tempfile::tempdir().unwrap();
    let space = "\
input_size: [8, 8]
backbone:
  - [1, Conv, [{choice: [8, 16]}, 3, 2]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";
    fs::write(folder.path().join("space.yml"), space).unwrap();
    // A spec of the user's that is one of the space's two networks.
    let same = space.replace("{choice: [8, 16]}", "8");
    fs::write(folder.path().join("same.yml"), &same).unwrap();
    fs::write(folder.path().join("again.yml"), format!("# the same\n{same}")).unwrap();
    let arguments =
        format!("space.yml {QUICK} --jobs 1 --finalists 0 --trials 10 --enqueue same.yml --enqueue again.yml");
    let (code, result, stderr) = search(folder.path(), &arguments);
    assert_eq!(code, 0, "a space that is used up is no failure: {stderr}");
    assert_eq!(result["ended"], "exhausted");
    let (_, stdout, _) = nasgen(folder.path(), &format!("search {arguments}"));
    assert!(stdout.contains("there is nothing more") && !stdout.contains("with more of them"), "{stdout}");
    assert_eq!(
        result["trials"],
        serde_json::json!({"complete": 2, "pruned": 0, "failed": 0, "reused": 1, "paused": 0})
    );
    let ended = trials(folder.path(), "space");
    assert_eq!(ended[1].user["reused"], 0);
    assert_eq!((&ended[1].values, &ended[1].reports), (&ended[0].values, &ended[0].reports));
    // What was measured beside the objective is known of the repetition too; time it took none.
    assert!(ended[0].user["macro_f1"].is_number() && ended[1].user["macro_f1"] == ended[0].user["macro_f1"]);
    assert!(ended[0].user.contains_key("seconds") && !ended[1].user.contains_key("seconds"));
}

#[test]
fn wrong_command_lines_say_what_is_wanted() {
    let folder = folder_with_space();
    fs::write(folder.path().join("values.yml"), "params: {x: {float: [0, 1]}}\n").unwrap();
    for (arguments, code, words) in [
        ("space.yml --objective speed", 2, "--objective: wanted some of accuracy"),
        ("space.yml --sampler tpee", 2, "did you mean `tpe`?"),
        ("space.yml --pruner asha:eta=0", 2, "--pruner"),
        ("space.yml --lr 0.1", 2, "`lr` is drawn from the space"),
        ("space.yml --metric loss", 2, "the first --objective decides"),
        ("space.yml --until accuracy=1.5", 2, "accuracy lies between 0 and 1"),
        ("values.yml --evaluator true --max-params 3", 2, "--max-params is about networks"),
        ("values.yml --evaluator true --enqueue space.yml", 2, "--enqueue is about networks"),
        ("values.yml --evaluator true --finalists 2", 2, "--finalists"),
        ("values.yml --evaluator true --keep best:2", 2, "--keep"),
        ("space.yml --until params=3", 2, "--until: wanted accuracy=NUMBER"),
        ("values.yml", 2, "--evaluator COMMAND"),
        ("space.yml --max-params 10 --epochs 1 --trials 2", 5, "may be trained"),
        ("space.yml --storage redis://here", 2, "no storage at"),
        ("space.yml --study a/b", 2, "a name for a file"),
        ("values.yml --evaluator=", 2, "wanted a command"),
        ("values.yml --evaluator true --epochs 3", 2, "`epochs` is a setting of trainings"),
        ("space.yml --silence 5s", 2, "--evaluator"),
        ("space.yml --study=", 2, "wanted a name"),
        ("space.yml --storage space.yml", 2, "no database of SQLite"),
    ] {
        let (got, error, _) = search(folder.path(), arguments);
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(got == code && message.contains(words), "{arguments}: {got} {message}");
    }
    let (_, help, _) = nasgen(folder.path(), "search --help");
    assert!(help.contains("tpe:n_startup_trials=20") && help.contains("Epochs of a trial [default: 10]"), "{help}");
}

/// A random network fits in one of about a hundred thousand cases.
#[test]
fn a_tight_budget_is_searched_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let row = "  - [1, Conv, [{int: [8, 128], step: 8}, 3]]\n";
    let space = format!(
        "input_size: [8, 8]\nbackbone:\n{}  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n",
        row.repeat(6)
    );
    fs::write(folder.path().join("space.yml"), space).unwrap();
    let arguments = "space.yml --epochs 1 --subset 100 --batch 50 --jobs 2 --trials 4 --finalists 0 --max-params 14k";
    for sampler in ["auto", "random"] {
        let (code, result, stderr) =
            search(folder.path(), &format!("{arguments} --sampler {sampler} --study {sampler}"));
        assert_eq!((code, &result["trials"]["complete"]), (0, &4.into()), "{stderr}");
        assert_eq!(result["ended"], "trials");
    }
}

#[test]
fn what_the_time_cuts_off_is_set_aside() {
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 5000 --subset 300 --jobs 1 --time 2s --pruner none";
    for _ in 0..2 {
        let (code, error, _) = search(folder.path(), arguments);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(code == 1 && message.contains("before any trial ended") && message.contains("--time"), "{message}");
        let now = trials(folder.path(), "space");
        assert!(now.len() == 1 && now[0].paused && now[0].state == State::Running, "{now:?}");
        let has_farthest = message.contains("Farthest came trial 0, with accuracy 0.");
        assert_eq!(has_farthest, !now[0].reports.is_empty(), "{message}");
    }
}

/// Most trials are set aside, and yet it is known how long a training takes.
#[test]
fn a_search_that_time_ends_weighs_costs_and_has_a_last_step() {
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 8 --subset 300 --batch 100 --jobs 1 --finalists 2 --final-seeds 1 --time 16s";
    let (code, result, stderr) = search(folder.path(), arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("search  auto:cost_exponent=1, pruner asha"), "{stderr}");
    assert_eq!((&result["ended"], result["final"]["finalists"].as_array().map(Vec::len)), (&"time".into(), Some(2)));
    assert!(result["trials"]["paused"].as_u64() > Some(0), "{result}");
}

pub(crate) fn start(folder: &Path, arguments: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
    command.arg("search").args(arguments.split_whitespace()).current_dir(folder);
    let said = fs::OpenOptions::new().create(true).append(true).open(folder.join("workers.log")).unwrap();
    command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
}

pub(crate) fn wait_for(what: &str, seconds: f64, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed().as_secs_f64() < seconds, "waited {seconds} s for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// The files of a study that is being written are read beside its writers.
fn trials_now(folder: &Path, study: &str) -> Vec<Trial> {
    let path = folder.join(format!("studies/{study}.db"));
    if path.is_file() { trials(folder, study) } else { Vec::new() }
}

#[cfg(unix)]
#[test]
fn a_search_that_is_stopped_goes_on_with_the_same_command() {
    use nix::{sys::signal, unistd::Pid};
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 60 --subset 500 --sampler random --trials 2 --jobs 1 --finalists 0";
    let (code, whole, stderr) = search(folder.path(), &format!("{arguments} --study whole"));
    assert_eq!(code, 0, "{stderr}");
    let mut child = start(folder.path(), &format!("{arguments} --study stopped"));
    wait_for("a report", 60.0, || trials_now(folder.path(), "stopped").iter().any(|trial| !trial.reports.is_empty()));
    signal::kill(Pid::from_raw(child.id().try_into().unwrap()), signal::Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    if status.code() == Some(130) {
        let now = trials_now(folder.path(), "stopped");
        assert!(now.iter().any(|trial| trial.paused), "{now:?}");
    }
    let (code, resumed, stderr) = search(folder.path(), &format!("{arguments} --study stopped"));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(resumed["trials"], whole["trials"]);
    assert_eq!(told(&trials(folder.path(), "stopped")), told(&trials(folder.path(), "whole")));
}

#[cfg(unix)]
pub(crate) mod mishaps {
    use super::*;

    const VALUES: &str = "params: {x: {float: [0, 1]}, kind: {choice: [a, b]}}\n";

    pub(crate) fn folder_with(script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("values.yml"), VALUES).unwrap();
        fs::write(folder.path().join("train.sh"), script).unwrap();
        folder
    }

    pub(crate) fn evaluate(folder: &Path, more: &str) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
        command.args(["search", "values.yml", "--evaluator", "sh train.sh", "--json", "--sampler", "random"]);
        let output = command.args(more.split_whitespace()).current_dir(folder).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}"));
        (output.status.code().unwrap(), json, stderr)
    }

    #[test]
    fn the_study_goes_on_whatever_an_evaluator_does() {
        // Trials 1 to 5 hang, crash, are killed, talk rubbish and say NaN.
        let folder = folder_with(
            r#"while read -r line; do
echo "a line for people" >&2
number=${line#*:}; number=${number%%,*}
case $number in
1) sleep 30;; 2) exit 3;; 3) kill -9 $$;; 4) echo "Epoch 1/30";; 5) echo '{"value":NaN}';;
*) echo '{"step":1,"value":0.25}'; echo "{\"value\":0.$number}";;
esac
done"#,
        );
        let (code, result, stderr) = evaluate(folder.path(), "--trials 8 --silence 3s");
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(
            result["trials"],
            serde_json::json!({"complete": 3, "pruned": 0, "failed": 5, "reused": 0, "paused": 0})
        );
        assert_eq!((&result["best"]["number"], &result["best"]["values"]["value"]), (&7.into(), &0.7.into()));
        assert_eq!(result["best"]["config"].as_str().map(|path| path.ends_with("best.yml")), Some(true));
        let ended = trials(folder.path(), "values");
        let faults: Vec<&str> = ended[1..6].iter().map(|trial| trial.user["fault"].as_str().unwrap()).collect();
        assert_eq!(faults, ["hung", "crashed", "crashed", "rubbish", "diverged"]);
        for trial in &ended[1..6] {
            let lines = trial.user["last_lines"].as_array().unwrap();
            assert!(lines.contains(&"a line for people".into()), "{lines:?}");
        }
    }

    #[test]
    fn what_a_good_enough_trial_cuts_off_is_begun_again() {
        let folder = folder_with(
            r#"while read -r line; do
number=${line#*:}; number=${number%%,*}
if [ "$number" = 0 ]; then while [ ! -e go ]; do sleep 0.1; done; fi
echo "{\"value\":0.$((8 + number))}"
done"#,
        );
        let (code, result, stderr) = evaluate(folder.path(), "--trials 2 --jobs 2 --until value=0.5");
        assert_eq!((code, &result["ended"]), (0, &"until".into()), "{stderr}");
        assert_eq!(
            result["trials"],
            serde_json::json!({"complete": 1, "pruned": 0, "failed": 0, "reused": 0, "paused": 1})
        );
        assert!(trials(folder.path(), "values")[0].paused);
        let report = fs::read_to_string(folder.path().join("studies/values/report.html")).unwrap();
        assert!(report.contains("cut off by the end") && !report.contains("Stopped early"));
        fs::write(folder.path().join("go"), "").unwrap();
        let (code, result, stderr) = evaluate(folder.path(), "--trials 2 --jobs 2");
        assert_eq!(
            (code, &result["trials"]["complete"], &result["ended"]),
            (0, &2.into(), &"trials".into()),
            "{stderr}"
        );
    }

    #[test]
    fn time_ends_an_evaluator_that_never_stops_talking() {
        let folder = folder_with(
            r#"while read -r line; do
number=${line#*:}; number=${number%%,*}
if [ "$number" != 0 ]; then
for step in $(seq 2000); do echo "{\"step\":$step,\"value\":0.1}"; sleep 0.01; done
fi
echo '{"value":0.5}'
done"#,
        );
        let began = Instant::now();
        let (code, result, stderr) = evaluate(folder.path(), "--time 2s --jobs 1 --pruner none");
        assert_eq!((code, &result["ended"], &result["trials"]["complete"]), (0, &"time".into(), &1.into()), "{stderr}");
        assert!(began.elapsed().as_secs() < 15, "waited for the script's own end");
        assert!(trials(folder.path(), "values")[1].paused);
    }

    /// What a report says of a study of values: what was searched, what mattered, and nothing of networks.
    #[test]
    fn a_report_of_values_says_what_mattered() {
        let folder = folder_with(
            r#"while read -r line; do
x=${line#*\"x\":}; x=${x%%[,\}]*}
echo "{\"value\":$x}"
done"#,
        );
        let (code, result, stderr) = evaluate(folder.path(), "--trials 30");
        assert_eq!((code, &result["trials"]["complete"]), (0, &30.into()), "{stderr}");
        let report = fs::read_to_string(folder.path().join("studies/values/report.html")).unwrap();
        for words in ["PED-ANOVA", "What was searched", "sh train.sh", "--trials 30"] {
            assert!(report.contains(words), "no `{words}`");
        }
        for words in ["Too few trials", "draws were looked at", "Open a line for the spec"] {
            assert!(!report.contains(words), "`{words}`");
        }
    }

    /// Another program adds a better trial: it is the best then, with a spec made of its draws.
    #[test]
    fn a_trial_of_another_program_may_be_the_best() {
        use nasgen_storage::Work;
        let folder = folder_with(r#"while read -r line; do echo '{"value":0.5}'; done"#);
        assert_eq!(evaluate(folder.path(), "--trials 1").0, 0);
        let mut storage = connect(&folder.path().join("studies/values.db").display().to_string()).unwrap();
        let (id, _) = storage.study("values").unwrap().unwrap();
        let params = storage.trials(id).unwrap()[0].params.clone();
        let Some(Work::New(lease)) = storage.begin(id, "other", Duration::from_secs(100), None).unwrap() else {
            panic!()
        };
        storage.describe(&lease, &params, &Default::default(), &Default::default()).unwrap();
        storage.finish(&lease, State::Complete, &[0.9], &Default::default()).unwrap();
        drop(storage);
        let (code, best, _) = nasgen(folder.path(), "study best");
        assert!(code == 0 && best.contains(&format!("{}: ", params[0].name)), "{best}");
        let file = folder.path().join("studies/values/best.yml");
        fs::write(&file, "of before").unwrap();
        let (code, result, stderr) = evaluate(folder.path(), "--trials 1");
        assert_eq!((code, &result["best"]["number"]), (0, &1.into()), "{stderr}");
        let spec = fs::read_to_string(file).unwrap();
        assert!(spec.contains("kind") && !spec.contains("of before"), "{spec}");
    }

    #[test]
    fn an_evaluator_that_always_fails_ends_the_search() {
        let folder = folder_with("read line; echo 'no module named torch' >&2; exit 1");
        let (code, error, _) = evaluate(folder.path(), "--trials 50");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(code == 1 && message.contains("the first 5 trials failed"), "{message}");
        assert!(message.contains("no module named torch"), "the cause: {message}");
        let (_, shown, _) = nasgen(folder.path(), "study show");
        assert!(shown.contains("crashed: ") && shown.contains("no module named torch"), "{shown}");
        let (_, table, _) = nasgen(folder.path(), "study export --csv");
        assert!(table.lines().nth(1).is_some_and(|line| line.contains("no module named torch")), "{table}");
        assert_eq!(trials(folder.path(), "values").len(), 5);
    }

    #[test]
    fn an_evaluator_is_told_to_prune_and_gives_several_values() {
        let folder = folder_with(
            r#"while read -r line; do
number=${line#*:}; number=${number%%,*}
echo "{\"step\":1,\"value\":$((9 - number))}"
if [ "$number" -ge 2 ]; then read -r answer; echo "$answer" >> answers; fi
echo "{\"values\":{\"recall\":$((9 - number)),\"milliseconds\":$number}}"
done"#,
        );
        let pruned = "--trials 4 --pruner threshold:lower=7.5 --objective recall:max";
        let (code, result, stderr) = evaluate(folder.path(), pruned);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(
            result["trials"],
            serde_json::json!({"complete": 2, "pruned": 2, "failed": 0, "reused": 0, "paused": 0})
        );
        assert_eq!(trials(folder.path(), "values")[1].user["milliseconds"], 1.0, "what is measured beside is kept");
        let answers = fs::read_to_string(folder.path().join("answers")).unwrap();
        assert_eq!(answers, "{\"prune\":true}\n{\"prune\":true}\n");
    }

    #[test]
    fn trials_of_networks_are_given_as_specs_and_as_pytorch_modules() {
        let folder = folder_with(r#"while read -r line; do echo "$line" >> asked; echo '{"value":1}'; done"#);
        fs::write(folder.path().join("values.yml"), SPACE).unwrap();
        let (code, _, stderr) = evaluate(folder.path(), "--trials 2");
        assert_eq!(code, 0, "{stderr}");
        for line in fs::read_to_string(folder.path().join("asked")).unwrap().lines() {
            let asked: Value = serde_json::from_str(line).unwrap();
            let module = fs::read_to_string(asked["model_py"].as_str().unwrap()).unwrap();
            assert!(module.contains("class Network(nn.Module)"), "{module}");
            let spec = asked["config"].as_str().unwrap();
            let (code, _, stderr) = nasgen(folder.path(), &format!("show {spec}"));
            assert!(code == 0, "{stderr}");
            assert!(asked["params"]["width"].is_u64(), "{asked}");
        }
    }

    #[test]
    fn a_trial_that_needs_too_much_memory_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        // The wide network's activations take about 100 GB for a batch.
        let space = "\
input_size: [64, 64]
backbone:
  - [1, Conv, [{choice: [8, 50000]}, 1, 1]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [10]]
";
        fs::write(folder.path().join("space.yml"), space).unwrap();
        let (code, result, stderr) =
            search(folder.path(), "space.yml --epochs 1 --subset 100 --sampler grid --trials 2 --jobs 1 --finalists 0");
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(
            result["trials"],
            serde_json::json!({"complete": 1, "pruned": 0, "failed": 1, "reused": 0, "paused": 0})
        );
        let ended = trials(folder.path(), "space");
        let failed = ended.iter().find(|trial| trial.state == State::Fail).unwrap();
        assert_eq!(failed.user["fault"], "out of memory");
    }

    #[test]
    fn a_trial_that_diverges_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let space = "\
input_size: [8, 8]
backbone:
  - [1, Conv, [8, 3, 2, null, 1, null, false]]
  - [1, Flatten, []]
  - [1, Linear, [64]]
  - [1, Linear, [10]]
train: {warmup: 0, epochs: 3, batch: 200, lr: {choice: [0.01, 90]}}
";
        fs::write(folder.path().join("space.yml"), space).unwrap();
        let (code, result, stderr) =
            search(folder.path(), "space.yml --sampler grid --trials 2 --jobs 1 --finalists 0");
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(
            result["trials"],
            serde_json::json!({"complete": 1, "pruned": 0, "failed": 1, "reused": 0, "paused": 0})
        );
        assert!(stderr.contains("became"), "{stderr}");
    }

    /// A limit on the size of files stands for a full disk.
    #[test]
    fn a_full_disk_ends_the_search_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        // Weights of about a megabyte do not fit where the database does.
        let wide = SPACE.replace("[8, 32], step: 8", "[160, 192], step: 32");
        fs::write(folder.path().join("space.yml"), wide).unwrap();
        let arguments = format!("space.yml {QUICK} --jobs 1 --finalists 0 --lease 1s");
        assert_eq!(search(folder.path(), &format!("{arguments} --trials 1")).0, 0);
        let arguments = format!("{arguments} --trials 2");
        let script = format!("trap '' XFSZ; ulimit -f 700; exec '{}' search {arguments}", env!("CARGO_BIN_EXE_nasgen"));
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("last.safetensors"), "{stderr}");
        let (code, result, stderr) = search(folder.path(), &arguments);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(result["trials"]["complete"], 2, "{result} {stderr}");
    }
}

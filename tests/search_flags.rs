//! What `nasgen search` can be told: each sampler, pruner, objective and limit, through the program.

use crate::{
    program::nasgen,
    searching::{folder_with_space, search, trials},
};
use nasgen_search::{State, Trial};
use serde_json::{Value, json};
use std::{fs, path::Path};

const QUICK: &str = "space.yml --epochs 1 --subset 200 --batch 100 --jobs 1 --finalists 0";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn draws(trial: &Trial) -> String {
    trial.params.iter().map(|param| format!("{}={} ", param.name, param.value)).collect()
}

/// Files of weights of a trial.
fn weights(folder: &Path, trial: u64) -> u64 {
    let Ok(entries) = fs::read_dir(folder.join(format!("studies/space/trials/{trial:05}"))) else { return 0 };
    let files = entries.map(|entry| entry.unwrap().path());
    let weights = files.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    weights.map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[cfg(unix)]
mod evaluated {
    use super::*;
    use crate::searching::mishaps::folder_with;
    use std::process::Command;

    /// The first trials are the best from their first report on.
    const FALLING: &str = r#"while read -r line; do
case $line in *prune*) continue;; esac
number=${line#*:}; number=${number%%,*}
for step in 1 2 3 4 5 6 7 8 9; do echo "{\"step\":$step,\"value\":$((step * (100 - number)))}"; done
echo "{\"value\":$((1000 - 10 * number))}"
done"#;

    fn evaluate(sampler: &str, pruner: &str) -> Vec<Trial> {
        let folder = folder_with(FALLING);
        fs::write(folder.path().join("values.yml"), "params: {x: {int: [0, 4]}, kind: {choice: [a, b, c, d]}}\n")
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nasgen"));
        command.args(["search", "values.yml", "--evaluator", "sh train.sh", "--trials", "15"]);
        command.args(["--sampler", sampler, "--pruner", pruner]).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{sampler}, {pruner}: {}", String::from_utf8_lossy(&output.stderr));
        trials(folder.path(), "values")
    }

    #[test]
    fn every_sampler_can_be_named_and_repeats_nothing() {
        for kind in nasgen_search::samplers() {
            let trials = evaluate(kind.name, "none");
            let mut drawn: Vec<String> = trials.iter().map(draws).collect();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!((trials.len(), drawn.len()), (15, 15), "{}", kind.name);
            assert!(trials.iter().all(|trial| trial.state == State::Complete && trial.reports.len() == 9));
        }
    }

    #[test]
    fn every_pruner_can_be_named_and_stops_the_worse() {
        for kind in nasgen_search::pruners() {
            let pruner = match kind.name {
                "threshold" => "threshold:lower=95".to_owned(),
                // Patience lets whatever improves train on; these do.
                "patient" | "none" => format!("{}:", kind.name),
                // Rungs at the first, the third and the ninth step.
                "asha" | "hyperband" => format!("{}:min_resource=1,max_resource=9,reduction_factor=3", kind.name),
                other => other.to_owned(),
            };
            let trials = evaluate("random", pruner.trim_end_matches(':'));
            let whole = |trial: &&Trial| trial.state == State::Complete;
            let (complete, beaten): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(whole);
            assert_eq!(trials.len(), 15, "{pruner}");
            assert!(beaten.iter().all(|trial| trial.state == State::Pruned || trial.paused), "{pruner}");
            assert_eq!(beaten.is_empty(), pruner.ends_with(':'), "{pruner}: {} complete", complete.len());
            let first = |trials: &[&Trial]| trials.first().map_or(u64::MAX, |trial| trial.number);
            assert!(first(&complete) < first(&beaten), "{pruner}: the first trial is the best");
        }
    }

    #[test]
    fn an_evaluator_of_values_is_given_no_network() {
        let folder = folder_with(r#"while read -r line; do echo "$line" >> asked; echo '{"value":1}'; done"#);
        let (code, _, stderr) = crate::searching::mishaps::evaluate(folder.path(), "--trials 2");
        assert_eq!(code, 0, "{stderr}");
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        for (trial, line) in asked.lines().enumerate() {
            let asked: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&asked["trial"], &asked["config"]), (&json!(trial), &Value::Null));
            assert!(asked["params"]["x"].is_f64() && asked["params"]["kind"].is_string(), "{asked}");
        }
        assert_eq!(asked.lines().count(), 2);
    }
}

/// TPE with Hyperband.
#[test]
fn bohb_sets_the_worse_aside_and_trains_the_best_to_the_end() {
    let folder = folder_with_space();
    let arguments = "space.yml --epochs 9 --subset 200 --batch 100 --jobs 1 --finalists 0 --trials 12";
    let (code, result, stderr) =
        search(folder.path(), &format!("{arguments} --sampler tpe:n_startup_trials=4 --pruner hyperband"));
    assert_eq!(code, 0, "{stderr}");
    let trials = trials(folder.path(), "space");
    let whole: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Complete).collect();
    let beaten: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Pruned || trial.paused).collect();
    assert!(!whole.is_empty() && !beaten.is_empty() && whole.len() + beaten.len() == 12, "{result}");
    assert!(whole.iter().all(|trial| trial.reports.len() == 9));
    // The rungs of three brackets: after 1, 3 and 9 epochs.
    assert!(beaten.iter().all(|trial| [1, 3].contains(&trial.reports.len())), "{result}");
}

#[test]
fn costs_are_objectives_and_limits() {
    let folder = folder_with_space();
    let arguments = format!(
        "{QUICK} --trials 8 --objective macro_f1,params:min,latency:min --max-params 7k --max-macs 200k --max-latency 1000"
    );
    let (code, result, stderr) = search(folder.path(), &arguments);
    assert_eq!((code, &result["trials"]["complete"]), (0, &8.into()), "{stderr}");
    let trials = trials(folder.path(), "space");
    for trial in &trials {
        let spec = format!("studies/space/trials/{:05}/model.yaml", trial.number);
        let (_, shown, _) = nasgen(folder.path(), &format!("show {spec} --json"));
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let (params, macs) = (number(&shown["params"]), number(&shown["macs"]));
        assert!(params <= 7000.0 && macs <= 200_000.0, "{shown}");
        assert_eq!(trial.values.len(), 3);
        assert_eq!(trial.values[1], params);
        assert!(0.0 < trial.values[2] && trial.values[2] < 1000.0, "{:?}", trial.values);
    }
    let front = result["front"].as_array().unwrap();
    let losses = |values: &Value| [-number(&values["macro_f1"]), number(&values["params"]), number(&values["latency"])];
    let points: Vec<[f64; 3]> = front.iter().map(|one| losses(&one["values"])).collect();
    let numbers: Vec<u64> = front.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert!(!points.is_empty());
    for trial in &trials {
        let point = [-trial.values[0], trial.values[1], trial.values[2]];
        let beats =
            |one: &[f64; 3], other: &[f64; 3]| one != other && one.iter().zip(other).all(|(one, other)| one <= other);
        let beaten = trials.iter().any(|by| beats(&[-by.values[0], by.values[1], by.values[2]], &point));
        assert_eq!(numbers.contains(&trial.number), !beaten, "trial {}", trial.number);
    }
    // What is measured is what `bench` measures; machines are noisy.
    let (_, bench, stderr) =
        nasgen(folder.path(), "bench studies/space/trials/00000/model.yaml --batch 1 --threads 1 --seconds 0.2 --json");
    let bench: Value = serde_json::from_str(&bench).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let ratio = trials[0].values[2] / number(&bench["step_ms"]["p50"]);
    assert!((0.1..10.0).contains(&ratio), "{:?} {bench}", trials[0].values);

    let (code, error, _) = search(folder.path(), &format!("{QUICK} --trials 2 --study slow --max-latency 0.0000001"));
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 5 && message.contains("ms are allowed"), "{message}");
}

#[test]
fn the_least_loss_is_the_best() {
    let folder = folder_with_space();
    let (code, result, stderr) =
        search(folder.path(), &format!("{QUICK} --trials 5 --objective loss --sampler random --pruner none"));
    assert_eq!(code, 0, "{stderr}");
    let losses: Vec<f64> = trials(folder.path(), "space").iter().map(|trial| trial.values[0]).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(number(&result["best"]["values"]["loss"]), least, "{losses:?}");
}

/// What is too large is no trial of the space; a spec of the user's that is too large is a failed one.
#[test]
fn what_is_over_the_budget_is_not_trained() {
    let folder = folder_with_space();
    let own = "input_size: [8, 8]\nbackbone:\n  - [1, Conv, [64, 7, 1]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n";
    fs::write(folder.path().join("own.yml"), own).unwrap();
    let arguments = format!("{QUICK} --trials 4 --sampler random --pruner none --max-params 4k --enqueue own.yml");
    let (code, result, stderr) = search(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    let trials = trials(folder.path(), "space");
    assert_eq!((trials.len(), trials[0].state, trials[0].reports.len()), (4, State::Fail, 0), "{stderr}");
    assert!(stderr.contains("over the budget") && stderr.contains("4.00 k are allowed"), "{stderr}");
    assert_eq!(result["trials"]["complete"], 3);
    for trial in &trials[1..] {
        let params = trial.costs().find(|(name, _)| *name == "params").unwrap().1;
        assert!(params <= 4000.0, "{params}");
    }
}

/// Where nothing fits, samplers look for long: the time ends that too.
#[test]
fn looking_for_what_fits_ends_with_the_time() {
    let folder = folder_with_space();
    let began = std::time::Instant::now();
    let arguments = "--epochs 1 --subset 100 --jobs 1 --time 3s --max-latency 0.0000001";
    let (code, error, stderr) = search(folder.path(), arguments);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(code == 5 && message.contains("before any draw fitted the limits"), "{code} {message} {stderr}");
    assert!(began.elapsed().as_secs_f64() < 20.0, "{:?} for 3 s", began.elapsed());
}

#[test]
fn narrower_limits_have_a_best_that_keeps_them() {
    let folder = folder_with_space();
    let arguments = format!("{QUICK} --sampler random --pruner none").replace("--finalists 0", "--final-seeds 1");
    let (code, before, stderr) = search(folder.path(), &format!("{arguments} --trials 4 --finalists 1"));
    assert_eq!(code, 0, "{stderr}");
    let params = |found: &Value| number(&found["best"]["costs"]["params"]) as u64;
    let limit = params(&before) - 1;
    let narrower = format!("{arguments} --trials 7 --finalists 2 --max-params {limit}");
    let (code, after, stderr) = search(folder.path(), &narrower);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("the best is among the trials that keep them"), "{stderr}");
    assert!(params(&after) <= limit, "{after}");
    for finalist in after["final"]["finalists"].as_array().unwrap() {
        assert_ne!(finalist["number"], before["best"]["number"], "it costs too much");
    }
    let (_, best, _) = nasgen(folder.path(), "study best --json");
    let best: Value = serde_json::from_str(&best).unwrap();
    assert_eq!(best["trial"], after["best"]["number"]);
}

#[test]
fn settings_of_a_fixed_network_are_tuned() {
    let folder = folder_with_space();
    let fixed = "input_size: [8, 8]\nbackbone:\n  - [1, Conv, [8, 3, 2]]\n  - [1, GlobalAvgPool, []]\n  - [1, Flatten, []]\n  - [1, Linear, [10]]\n";
    fs::write(folder.path().join("fixed.yml"), fixed).unwrap();
    let arguments = "fixed.yml --tune lr=1e-3..1e-1:log,epochs=1..3 --subset 200 --batch 100 --jobs 1 --finalists 0";
    let (code, result, stderr) = search(folder.path(), &format!("{arguments} --trials 5 --pruner none"));
    assert_eq!(code, 0, "{stderr}");
    for trial in trials(folder.path(), result["study"].as_str().unwrap()) {
        let drawn = |name: &str| trial.params.iter().find(|param| param.name.ends_with(name)).unwrap().value.clone();
        assert_eq!(trial.params.len(), 2);
        assert!((0.001..=0.1).contains(&number(&drawn("lr"))), "{:?}", trial.params);
        assert_eq!(json!(trial.reports.len()), drawn("epochs"), "it trained for as long as it was told");
    }
}

#[test]
fn weights_are_kept_of_the_best_within_the_cap() {
    let folder = folder_with_space();
    let arguments = format!("{QUICK} --sampler random --pruner none");
    let (code, result, stderr) = search(folder.path(), &format!("{arguments} --trials 4 --keep best:2"));
    assert_eq!(code, 0, "{stderr}");
    let mut ranked = trials(folder.path(), "space");
    ranked.sort_by(|one, other| other.values[0].total_cmp(&one.values[0]));
    assert_eq!(result["best"]["number"], ranked[0].number);
    let kept: Vec<u64> = (0..4).filter(|trial| weights(folder.path(), *trial) > 0).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept.iter().all(|trial| ranked.iter().any(|one| one.number == *trial && one.values[0] >= ranked[1].values[0]))
    );

    let bytes: u64 = kept.iter().map(|trial| weights(folder.path(), *trial)).max().unwrap() + 1;
    let (code, _, stderr) = search(folder.path(), &format!("{arguments} --trials 8 --keep best:8 --max-disk {bytes}"));
    assert_eq!(code, 0, "{stderr}");
    let all: u64 = (0..8).map(|trial| weights(folder.path(), trial)).sum();
    assert!(0 < all && all <= bytes, "{all} of {bytes}");
}

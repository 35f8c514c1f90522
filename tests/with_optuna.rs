//! A study that Optuna made, gone on with by nasgen, and then by Optuna again.

use std::{fs, path::Path, process::Command};

use crate::searching::trials;
use nasgen_search::Trial;

/// The last of the interpreters that `NASGEN_OPTUNA` names (as `PATH` names folders), else `python3`, if it has Optuna.
fn python() -> Option<String> {
    let named = std::env::var("NASGEN_OPTUNA").unwrap_or_default();
    let python = named.rsplit(':').next().filter(|name| !name.is_empty()).unwrap_or("python3").to_owned();
    let imports = Command::new(&python).args(["-c", "import optuna"]).output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == "optuna"), "{python} has no optuna");
    println!("skipped: {python} has no optuna (NASGEN_OPTUNA names another)");
    None
}

/// What a user of Optuna has: an objective that is tuned, 20 trials at a time.
const TUNING: &str = "\
import optuna, sys
optuna.logging.set_verbosity(optuna.logging.ERROR)
def objective(trial):
    x, kind = trial.suggest_float('x', -10, 10), trial.suggest_categorical('kind', ['a', 'b'])
    return -(x - 2) ** 2 - (kind == 'b') - trial.suggest_int('n', 1, 8) / 10
sampler = optuna.samplers.RandomSampler(seed=3) if sys.argv[1] == 'random' else optuna.samplers.TPESampler(seed=3)
study = optuna.create_study(storage='sqlite:///studies/tuned.db', study_name='tuned', direction='maximize',
                            sampler=sampler, load_if_exists=True)
study.optimize(objective, n_trials=20)
";
const SPACE: &str = "params: {x: {float: [-10, 10]}, kind: {choice: [a, b]}, n: {int: [1, 8]}}\n";
const EVALUATOR: &str = "\
import json, sys
for line in sys.stdin:
    params = json.loads(line)['params']
    value = -(params['x'] - 2) ** 2 - (params['kind'] == 'b') - params['n'] / 10
    print(json.dumps({'value': value}), flush=True)
";

fn tune(python: &str, folder: &Path, sampler: &str) {
    let output =
        Command::new(python).args(["-W", "ignore", "-c", TUNING, sampler]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn mean(trials: &[Trial]) -> f64 {
    trials.iter().map(|trial| trial.values[0]).sum::<f64>() / trials.len() as f64
}

/// Each learns from the other's trials: what it asks for is better than chance.
#[test]
fn optuna_and_nasgen_take_turns_at_one_study() {
    let Some(python) = python() else { return };
    for sampler in ["tpe", "auto"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("studies")).unwrap();
        fs::write(folder.path().join("values.yml"), SPACE).unwrap();
        fs::write(folder.path().join("evaluate.py"), EVALUATOR).unwrap();
        tune(&python, folder.path(), "random");
        let output = Command::new(env!("CARGO_BIN_EXE_nasgen"))
            .args(["search", "values.yml", "--study", "tuned", "--trials", "40", "--sampler", sampler])
            .args(["--evaluator", &format!("{python} evaluate.py")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("another program made the study `tuned`"), "{said}");
        tune(&python, folder.path(), "tpe");

        let trials = trials(folder.path(), "tuned");
        assert_eq!(trials.len(), 60);
        let mut names: Vec<&str> =
            trials.iter().flat_map(|trial| &trial.params).map(|param| param.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, ["kind", "n", "x"]);
        let [chance, nasgens, optunas] = [0..20, 20..40, 40..60].map(|range| mean(&trials[range]));
        assert!(nasgens > chance / 2.0 && optunas > chance / 2.0, "{sampler}: {chance} {nasgens} {optunas}");
    }
}

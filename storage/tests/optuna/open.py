"""Opens a study that nasgen wrote, as a user of Optuna would: argv = URL, study, number of trials."""

import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
url, name, expected = sys.argv[1:]
study = optuna.load_study(study_name=name, storage=url)
trials = study.get_trials()
assert [trial.number for trial in trials] == list(range(int(expected))), len(trials)
for trial in trials:
    trial._validate()

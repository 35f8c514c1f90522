"""What Optuna pays for trials of 12 parameters and 10 reports on SQLite: argv = URL, trials. Prints seconds."""

import sys
import time

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage=sys.argv[1], sampler=optuna.samplers.RandomSampler(seed=0))
begun = time.perf_counter()
for number in range(int(sys.argv[2])):
    trial = study.ask()
    for index in range(12):
        trial.suggest_int(f"p{index}", 0, 100)
    for step in range(10):
        trial.report(step / 10, step)
    study.tell(trial, number)
print(time.perf_counter() - begun)

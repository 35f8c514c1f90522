"""Makes studies with Optuna that nasgen must read and continue: argv = URL."""

import sys
import warnings

import optuna

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = sys.argv[1]

one = optuna.create_study(study_name="one", storage=storage, direction="maximize")
one.set_user_attr("owner", {"name": "me", "odd": float("nan")})
# Texts that look like JSON are texts.
choices = ["Conv", "[3, 5]", None, True, 3, 0.5]
for index in range(6):
    trial = one.ask()
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.suggest_float("drop", 0.0, 0.5, step=0.1)
    trial.suggest_int("depth", 1, 8, step=1)
    trial.suggest_int("width", 8, 512, log=True)
    trial.suggest_categorical("block", choices)
    trial.set_user_attr("config", "backbone: []")
    for step in range(3):
        trial.report(float("nan") if step == 1 and index == 2 else index + step / 10, step)
    if index == 3:
        one.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif index == 4:
        one.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        one.tell(trial, float("inf") if index == 5 else index)
one.enqueue_trial({"depth": 7, "block": "[3, 5]"}, user_attrs={"why": "a guess"})

two = optuna.create_study(study_name="two", storage=storage, directions=["maximize", "minimize"])
two.set_metric_names(["accuracy", "macs"])
for index in range(3):
    trial = two.ask()
    trial.suggest_int("depth", 1, 8)
    two.tell(trial, [index, 1.5 * index])
# Nobody will ever tell what came of this one.
two.ask()

"""Prints everything that Optuna knows of a study as JSON: argv = URL, study."""

import json
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name=sys.argv[2], storage=sys.argv[1])


def number(value):
    """Numbers as texts where JSON has none for them."""
    return value if value == value and abs(value) != float("inf") else str(value)


trials = [
    {
        "number": trial.number,
        "state": trial.state.name,
        "params": list(trial.params.items()),
        "distributions": [json.loads(optuna.distributions.distribution_to_json(d)) for d in trial.distributions.values()],
        "values": None if trial.values is None else [number(value) for value in trial.values],
        "reports": [[step, number(value)] for step, value in sorted(trial.intermediate_values.items())],
        "user": trial.user_attrs,
        "started": trial.datetime_start is not None,
        "finished": trial.datetime_complete is not None,
    }
    for trial in study.get_trials()
]
print(
    json.dumps(
        {
            "directions": [direction.name for direction in study.directions],
            "names": study.metric_names,
            "user": study.user_attrs,
            "best": sorted(trial.number for trial in study.best_trials),
            "trials": trials,
        }
    )
)

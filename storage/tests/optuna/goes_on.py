"""Asks and tells three more trials of a study, with Optuna's defaults, and draws it: argv = URL, study."""

import sys
import warnings

import optuna

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name=sys.argv[2], storage=sys.argv[1])
several = len(study.directions) > 1
distributions = next(trial.distributions for trial in study.get_trials() if trial.state.name == "COMPLETE")

samplers = [None, optuna.samplers.TPESampler(n_startup_trials=1, multivariate=True, group=True)]
samplers.append(optuna.samplers.NSGAIISampler() if several else optuna.samplers.RandomSampler())
for sampler in samplers:
    if sampler is not None:
        study.sampler = sampler
    trial = study.ask(distributions)
    if not several:
        trial.report(0.5, step=1)
        trial.should_prune()
    trial.set_user_attr("asked by", "optuna")
    study.tell(trial, [0.5, 10.0] if several else 0.5)

draw = optuna.visualization
target = {"target": lambda trial: trial.values[0]} if several else {}
draw.plot_optimization_history(study, **target)
draw.plot_parallel_coordinate(study, **target)
draw.plot_slice(study, **target)
draw.plot_contour(study, params=list(distributions)[:2], **target)
draw.plot_edf(study, **target)
draw.plot_timeline(study)
draw.plot_param_importances(study, **target)
if several:
    draw.plot_pareto_front(study)
else:
    draw.plot_intermediate_values(study)

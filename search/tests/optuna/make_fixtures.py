"""Writes what Optuna 5.0 answers, for the tests of the samplers, the pruners and the importances.

Run by hand: python make_fixtures.py (needs optuna 5.0.0, numpy and scipy). The answers come from Optuna's own
functions, on studies that this script makes up; scipy gives the normal distribution's tails.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume
from optuna._hypervolume.hssp import _solve_hssp
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.pruners import (
    HyperbandPruner, MedianPruner, PatientPruner, PercentilePruner, SuccessiveHalvingPruner, ThresholdPruner,
)  # fmt: skip
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.sampler import _get_reference_point, _split_trials, default_gamma, default_gamma_multiobjective
from optuna.samplers.nsgaii._elite_population_selection_strategy import _calc_crowding_distance
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import TrialState, create_trial
from scipy import special

HERE = Path(__file__).parent
# Which of equal observations gets which bandwidth is left open by numpy's default sort, which differs between
# processors: the answers are those with a stable one.
_argsort = np.argsort
np.argsort = lambda values, *arguments, **options: _argsort(values, *arguments, **{"kind": "stable", **options})
FINISHED = [TrialState.COMPLETE, TrialState.PRUNED]


def number(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def numbers(values) -> list:
    return [number(value) for value in np.asarray(values, dtype=float).ravel()]


def write(name: str, content: object) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(content, indent=None, separators=(",", ":")).replace("},{", "},\n{") + "\n")


def normal() -> dict:
    """Tails from scipy, truncated ones from Optuna."""
    x = [-1e4, -300.0, -40.0, -20.5, -20.0, -19.5, -8.0, -6.0, -1.0, -1e-3, 0.0, 0.5, 3.0, 6.0, 6.5, 12.0, 30.0]
    ends = [-1e3, -50.0, -21.0, -7.0, -2.0, -0.3, 0.0, 1e-9, 0.4, 3.0, 9.0, 40.0]
    pairs = [(a, b) for a in ends for b in ends if a < b]
    quantiles = [1e-12, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-9]
    a, b, q = (np.array(column) for column in zip(*[(a, b, q) for a, b in pairs for q in quantiles]))
    lower, upper = (np.array(column) for column in zip(*pairs))
    return {
        "x": x, "log_mass_below": numbers(special.log_ndtr(np.array(x))),
        "between": [[a, b, number(mass)] for (a, b), mass in zip(pairs, _truncnorm._log_gauss_mass(lower, upper))],
        "quantiles": [[*map(float, row[:3]), number(row[3])] for row in zip(q, a, b, _truncnorm.ppf(q, a, b))],
    }  # fmt: skip


def pareto() -> list[dict]:
    """Ranks, volumes and choices among points of one to five objectives, on a grid so that there are ties."""
    cases = []
    for seed, (count, objectives, levels) in enumerate(
        [(30, 1, 9), (40, 2, 1000), (60, 2, 7), (40, 3, 1000), (50, 3, 5), (25, 4, 1000), (30, 4, 4), (14, 5, 1000)]
    ):
        rng = np.random.RandomState(seed)
        points = rng.randint(0, levels, (count, objectives)) / levels - 0.3
        ranks = _fast_non_domination_rank(points)
        front = points[ranks == 0]
        reference = _get_reference_point(front)
        sizes = [size for size in (1, 3, len(front) // 2, len(front) - 1) if 0 < size < len(front)]
        trials = [create_trial(values=list(map(float, point))) for point in front]
        for index, trial in enumerate(trials):
            trial.number = index
        crowding = _calc_crowding_distance(list(trials))
        cases.append({
            "points": points.tolist(), "ranks": ranks.tolist(),
            "first_ranks": _fast_non_domination_rank(points, n_below=count // 4).tolist(), "first": count // 4,
            "reference": reference.tolist(), "limit": [1.0] * objectives,
            "hypervolume": number(compute_hypervolume(points, np.ones(objectives))),
            "chosen": [_solve_hssp(front, np.arange(len(front)), size, reference).tolist() for size in sizes],
            "crowding": [number(crowding[index]) for index in range(len(front))],
        })  # fmt: skip
    return cases


def space(trial_rng: np.random.RandomState, conditional: bool) -> dict:
    """Draws of one trial: (distribution, value) by name."""
    def draw(distribution):
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[trial_rng.randint(len(distribution.choices))]
        low, high = distribution.low, distribution.high
        if isinstance(distribution, IntDistribution):
            if distribution.log:
                return int(np.clip(round(math.exp(trial_rng.uniform(math.log(low), math.log(high)))), low, high))
            return int(low + distribution.step * trial_rng.randint((high - low) // distribution.step + 1))
        if distribution.log:
            return float(np.clip(math.exp(trial_rng.uniform(math.log(low), math.log(high))), low, high))
        if distribution.step is not None:
            return float(min(high, low + distribution.step * trial_rng.randint(round((high - low) / distribution.step) + 1)))
        return float(trial_rng.uniform(low, high))

    distributions = {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "momentum": FloatDistribution(0.0, 0.99),
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "out": IntDistribution(16, 64, step=8),
        "batch": IntDistribution(1, 256, log=True),
        "block": CategoricalDistribution(("Conv", "DWConv", "MBConv")),
        "fixed": IntDistribution(3, 3),
    }
    drawn = {name: (distribution, draw(distribution)) for name, distribution in distributions.items()}
    if conditional:
        if drawn["block"][1] == "MBConv":
            for name, distribution in {"expansion": IntDistribution(1, 6), "se": CategoricalDistribution((False, True))}.items():
                drawn[name] = (distribution, draw(distribution))
        if drawn["block"][1] == "Conv":
            distribution = CategoricalDistribution((1, 3, 5))
            drawn["kernel"] = (distribution, draw(distribution))
    return drawn


def loss(drawn: dict) -> float:
    value = abs(math.log10(drawn["lr"][1]) + 2) + (drawn["momentum"][1] - 0.9) ** 2 + drawn["dropout"][1]
    return value + {"Conv": 0.3, "DWConv": 0.6, "MBConv": 0.0}[drawn["block"][1]] + 0.01 * abs(drawn["out"][1] - 40)


def study_of(seed: int, count: int, directions: list[str], conditional: bool, pruned: bool, running: bool, constrained: bool):
    """A study as if it had been run: its trials are drawn at random."""
    rng = np.random.RandomState(seed)
    study = optuna.create_study(directions=directions, study_name=f"study {seed}")
    for index in range(count):
        drawn = space(rng, conditional)
        base = loss(drawn)
        values = [base, drawn["out"][1] * 1.0 + drawn["batch"][1] / 100, abs(drawn["momentum"][1] - 0.2)][: len(directions)]
        values = [round(value, 2) for value in values]
        values = [-value if direction == "maximize" else value for value, direction in zip(values, directions)]
        state, reports, attributes = TrialState.COMPLETE, {}, {}
        if running and index >= count - 4:
            state = TrialState.RUNNING
        elif pruned and rng.rand() < (0.97 if pruned == "most" else 0.4):
            state = TrialState.PRUNED
            if len(directions) == 1 and rng.rand() < 0.9:
                steps = rng.randint(1, 5)
                reports = {step: round(values[0] + 1.0 / (step + 1), 2) for step in range(steps)}
                if rng.rand() < 0.2:
                    reports[steps - 1] = float("nan")
        elif rng.rand() < 0.05:
            state = TrialState.FAIL
        if constrained and state in FINISHED:
            attributes["constraints"] = [round(rng.uniform(-1, 0.5), 2), round(rng.uniform(-1, 0.3), 2)]
        study.add_trial(create_trial(
            state=state, values=values if state == TrialState.COMPLETE else None, intermediate_values=reports,
            params={name: value for name, (_, value) in drawn.items()},
            distributions={name: distribution for name, (distribution, _) in drawn.items()}, system_attrs=attributes,
        ))  # fmt: skip
    return study


def exported(study) -> dict:
    trials = study.get_trials(deepcopy=False)
    distributions = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    return {
        "name": study.study_name,
        "directions": [direction.name for direction in study.directions],
        "distributions": {name: json.loads(distribution_to_json(own)) for name, own in distributions.items()},
        "trials": [exported_trial(trial) for trial in trials],
    }


def exported_trial(trial) -> dict:
    content = {
        "state": trial.state.name,
        "params": trial.params,
    }
    if trial.values is not None:
        content["values"] = numbers(trial.values)
    if trial.intermediate_values:
        content["reports"] = [[step, number(value)] for step, value in sorted(trial.intermediate_values.items())]
    if trial.system_attrs:
        content["system"] = dict(trial.system_attrs)
    return content


def tpe() -> list[dict]:
    """Splits, groups, points of the good density with both log densities, and which of them Optuna takes."""
    cases = []
    for seed, settings in enumerate([
        dict(count=12, directions=["minimize"], conditional=False, pruned=False, running=False, constrained=False),
        dict(count=60, directions=["maximize"], conditional=True, pruned=True, running=True, constrained=False),
        dict(count=40, directions=["minimize"], conditional=True, pruned="most", running=False, constrained=False),
        dict(count=50, directions=["minimize"], conditional=True, pruned=True, running=True, constrained=True),
        dict(count=70, directions=["maximize", "minimize"], conditional=True, pruned=False, running=True, constrained=False),
        dict(count=60, directions=["minimize", "minimize"], conditional=False, pruned=True, running=False, constrained=True),
        dict(count=45, directions=["maximize", "minimize", "minimize"], conditional=True, pruned=False, running=False, constrained=False),
        dict(count=320, directions=["minimize"], conditional=True, pruned=False, running=True, constrained=False),
    ]):  # fmt: skip
        study = study_of(seed, **settings)
        sampler = TPESampler(seed=seed, multivariate=True, group=True)
        trials = study._get_trials(deepcopy=False, states=[*FINISHED, TrialState.RUNNING], use_cache=False)
        ended = sum(trial.state != TrialState.RUNNING for trial in trials)
        gamma = default_gamma if len(study.directions) == 1 else default_gamma_multiobjective
        below, above = _split_trials(study, trials, gamma(ended))
        groups = sampler._group_decomposed_search_space.calculate(study, False).search_spaces
        spaces = [{name: group[name] for name in sorted(group) if not group[name].single()} for group in groups]
        spaces = [group for group in spaces if group]
        spaces += [{name: distribution} for group in list(spaces) for name, distribution in group.items()]
        points = []
        for group in spaces:
            good = sampler._build_parzen_estimator(study, group, below, handle_below=True)
            bad = sampler._build_parzen_estimator(study, group, above, handle_below=False)
            count = 24 if len(group) > 1 else 5
            drawn = good.sample(np.random.RandomState(seed), count)
            points.append({
                "names": list(group), "points": [[float(drawn[name][row]) for name in group] for row in range(count)],
                "good": numbers(good.log_pdf(drawn)), "bad": numbers(bad.log_pdf(drawn)),
                "best": int(np.argmax(good.log_pdf(drawn) - bad.log_pdf(drawn))),
            })  # fmt: skip
        cases.append({
            "study": exported(study), "good": [trial.number for trial in below], "bad": [trial.number for trial in above],
            "groups": sorted(sorted(group) for group in groups), "densities": points,
        })  # fmt: skip
    return cases


def pruners() -> dict:
    """What each pruner says of each report of studies in which trials report in turn."""
    kinds = {
        "median": (lambda: MedianPruner(n_startup_trials=2), "median", {"n_startup_trials": 2}),
        "median warm": (
            lambda: MedianPruner(n_startup_trials=1, n_warmup_steps=2, interval_steps=2, n_min_trials=3), "median",
            {"n_startup_trials": 1, "n_warmup_steps": 2, "interval_steps": 2, "n_min_trials": 3},
        ),
        "percentile": (lambda: PercentilePruner(25.0, n_startup_trials=1), "median", {"percentile": 25.0, "n_startup_trials": 1}),
        "threshold": (lambda: ThresholdPruner(lower=0.15, upper=0.95, n_warmup_steps=1), "threshold", {"lower": 0.15, "upper": 0.95, "n_warmup_steps": 1}),
        "patient": (lambda: PatientPruner(None, patience=1, min_delta=0.02), "patient", {"patience": 1, "min_delta": 0.02}),
        "patient median": (
            lambda: PatientPruner(MedianPruner(n_startup_trials=1), patience=1), "patient",
            {"patience": 1, "wrapped": "median", "wrapped_settings": {"n_startup_trials": 1}},
        ),
        "halving": (lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2), "asha", {"min_resource": 1, "reduction_factor": 2, "promotion": False}),
        "halving late": (
            lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3, min_early_stopping_rate=1, bootstrap_count=2), "asha",
            {"min_resource": 1, "reduction_factor": 3, "min_early_stopping_rate": 1, "bootstrap_count": 2, "promotion": False},
        ),
        "hyperband": (
            lambda: HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3), "hyperband",
            {"min_resource": 1, "max_resource": 9, "reduction_factor": 3, "promotion": False},
        ),
    }  # fmt: skip
    cases = []
    for name, (make, kind, settings) in kinds.items():
        for seed, direction in enumerate(["maximize", "minimize"]):
            rng = np.random.RandomState(100 + seed)
            study = optuna.create_study(direction=direction, pruner=make(), study_name=f"pruned {seed}")
            judged = []
            for _ in range(40):
                trial = study.ask()
                height = rng.rand()
                for step in range(9):
                    value = round(float(np.clip(height * (1 - 0.5 ** (step + 1)) + 0.1 * rng.rand(), 0, 1)), 3)
                    value = float("nan") if rng.rand() < 0.02 else value
                    trial.report(value, step + 1)
                    stop = bool(trial.should_prune())
                    judged.append([trial.number, step + 1, number(value), stop])
                    if stop:
                        study.tell(trial, state=TrialState.PRUNED)
                        break
                else:
                    study.tell(trial, height)
            cases.append({"name": name, "pruner": kind, "settings": settings, "study": study.study_name, "direction": direction, "judged": judged})
    brackets = []
    for minimum, maximum, factor in [(1, 9, 3), (1, 27, 3), (2, 100, 4), (1, 81, 3), (3, 3, 3)]:
        study = optuna.create_study(study_name=f"brackets {maximum}", pruner=HyperbandPruner(minimum, maximum, factor))
        study.pruner._try_initialization(study)
        assigned = []
        for index in range(60):
            trial = create_trial(value=0.0)
            trial.number = index
            assigned.append(study.pruner._get_bracket_id(study, trial))
        brackets.append({"study": study.study_name, "min_resource": minimum, "max_resource": maximum, "reduction_factor": factor, "brackets": assigned})
    return {"cases": cases, "brackets": brackets}


def importances() -> list[dict]:
    cases = []
    for seed, settings in enumerate([
        dict(count=80, directions=["minimize"], conditional=False, pruned=False, running=False, constrained=False),
        dict(count=150, directions=["maximize"], conditional=True, pruned=True, running=False, constrained=False),
        dict(count=90, directions=["maximize", "minimize"], conditional=True, pruned=False, running=False, constrained=False),
        dict(count=1, directions=["minimize"], conditional=False, pruned=False, running=False, constrained=False),
    ]):  # fmt: skip
        study = study_of(50 + seed, **settings)
        cases.append({"study": exported(study), "importances": optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), normalize=False)})
    return cases


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    assert optuna.__version__ == "5.0.0", optuna.__version__
    write("normal", normal())
    write("pareto", pareto())
    write("tpe", tpe())
    write("pruners", pruners())
    write("importances", importances())

"""Runs Optuna's samplers on the table and notes, per run, which cells were tried in which order.

One JSON object a line: sampler, column, objectives, seed, the cells by row of the table, seconds. Runs that the
file already holds are not repeated, so that a long measurement can be cut off and taken up again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

# The runs share the cores; small matrices gain nothing from threads. Workers inherit this before they load a library.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import optuna  # noqa: E402
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler  # noqa: E402

from table import COLUMNS, EDGES, OPERATIONS, TRIALS, Table  # noqa: E402

SAMPLERS = {
    "optuna-random": lambda seed: RandomSampler(seed=seed),
    "optuna-tpe-default": lambda seed: TPESampler(seed=seed),
    "optuna-tpe-univariate": lambda seed: TPESampler(seed=seed, multivariate=False),
    "optuna-tpe-multivariate": lambda seed: TPESampler(seed=seed, multivariate=True),
    "optuna-nsga2-20": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "optuna-gp": lambda seed: GPSampler(seed=seed),
}
# The default for one objective is multivariate, for several it is univariate: these are the same runs.
SAME = {("accuracy", "optuna-tpe-multivariate"), ("accuracy,flops", "optuna-tpe-univariate")}


def load(path: Path) -> None:
    """Prepares a worker, whose runs all read one table."""
    global table
    table = Table(path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")


def run(sampler: str, column: str, objectives: str, seed: int) -> dict:
    """One study of as many trials as the yardstick asks for."""
    directions = ["maximize", "minimize"] if "," in objectives else ["maximize"]
    study = optuna.create_study(sampler=SAMPLERS[sampler](seed), directions=directions)
    cells: list[int] = []

    def objective(trial: optuna.Trial) -> float | tuple[float, float]:
        cell = table.row(tuple(trial.suggest_categorical(edge, OPERATIONS) for edge in EDGES))
        cells.append(cell)
        accuracy = table.accuracy[column][cell]
        return (accuracy, math.log(table.flops[cell])) if "," in objectives else accuracy

    start = time.perf_counter()
    study.optimize(objective, n_trials=TRIALS[objectives])
    return {
        "sampler": sampler, "column": column, "objectives": objectives, "seed": seed, "cells": cells,
        "seconds": round(time.perf_counter() - start, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="100:150", help="FROM:TO, the last not included")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many studies at a time")
    arguments = parser.parse_args()
    known = set()
    if arguments.out.exists():
        for line in arguments.out.read_text().splitlines():
            done = json.loads(line)
            known.add((done["sampler"], done["column"], done["objectives"], done["seed"]))
    first, last = map(int, arguments.seeds.split(":"))
    wanted = [
        (sampler, column, objectives, seed)
        for seed in range(first, last)
        for sampler in arguments.samplers.split(",")
        for column in COLUMNS
        for objectives in TRIALS
        if (objectives, sampler) not in SAME and (sampler, column, objectives, seed) not in known
    ]
    with ProcessPoolExecutor(arguments.jobs, initializer=load, initargs=(arguments.table,)) as workers:
        for done in as_completed([workers.submit(run, *what) for what in wanted]):
            with arguments.out.open("a") as file:
                file.write(json.dumps(done.result()) + "\n")


if __name__ == "__main__":
    main()

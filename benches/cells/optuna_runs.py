"""Runs Optuna's samplers on nasgen's space `cells`, with the formula of score.rs in place of trainings.

The program `cells_yardstick serve` asks for each draw as it comes up and answers what the network scores; what it
rejects (more parameters than allowed) is a pruned trial, as users of Optuna write it, that counts for no training: Optuna
is not charged for it, and its TPE learns that it is bad (of failed trials it learns nothing and may draw them for ever).
One JSON object a line: sampler, objectives, seed, accuracy and parameters of each network in turn, seconds. Runs that
the file already holds are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

# The runs share the cores; small matrices gain nothing from threads. Workers inherit this before they load a library.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import optuna  # noqa: E402
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler  # noqa: E402

TRIALS = {"accuracy": 150, "accuracy,params": 200}
SAMPLERS = {
    "optuna-random": lambda seed: RandomSampler(seed=seed),
    "optuna-tpe-default": lambda seed: TPESampler(seed=seed),
    "optuna-tpe-multivariate-group": lambda seed: TPESampler(seed=seed, multivariate=True, group=True),
    "optuna-tpe-univariate": lambda seed: TPESampler(seed=seed, multivariate=False),
    "optuna-nsga2-20": lambda seed: NSGAIISampler(seed=seed, population_size=20),
    "optuna-gp": lambda seed: GPSampler(seed=seed),
}


class Space:
    """The program that knows the space."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program.resolve(), "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def score(self, trial: optuna.Trial) -> tuple[float, float] | None:
        """Accuracy and parameters of the network that `trial` draws; None if it may not be trained."""
        while True:
            message = json.loads(self.process.stdout.readline())
            if "rejected" in message:
                return None
            if "accuracy" in message:
                return message["accuracy"], message["params"]
            values, name = message["values"], message["ask"]
            numbers = message["ordered"] and len(values) > 1
            if numbers and all(isinstance(value, int) for value in values):
                drawn = trial.suggest_int(name, values[0], values[-1], step=values[1] - values[0])
                index = values.index(drawn)
            else:
                index = trial.suggest_categorical(name, list(range(len(values))))
            self.process.stdin.write(f"{index}\n")
            self.process.stdin.flush()


def start(program: Path) -> None:
    """Prepares a worker, whose runs all ask one program."""
    global space
    space = Space(program)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")


def run(sampler: str, objectives: str, seed: int) -> dict:
    several = "," in objectives
    study = optuna.create_study(
        sampler=SAMPLERS[sampler](seed), directions=["maximize", "minimize"] if several else ["maximize"]
    )
    reached: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(reached) < TRIALS[objectives]:
        trial = study.ask()
        score = space.score(trial)
        if score is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        reached.append(score)
        study.tell(trial, list(score) if several else score[0])
    return {
        "sampler": sampler, "objectives": objectives, "seed": seed, "reached": reached,
        "seconds": round(time.perf_counter() - start, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path, help="cells_yardstick, as cargo built it")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="100:150", help="FROM:TO, the last not included")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--objectives", choices=TRIALS, action="append", help="of all that are compared only these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many studies at a time")
    arguments = parser.parse_args()
    known = set()
    if arguments.out.exists():
        runs = map(json.loads, arguments.out.read_text().splitlines())
        known = {(done["sampler"], done["objectives"], done["seed"]) for done in runs}
    first, last = map(int, arguments.seeds.split(":"))
    wanted = [
        (sampler, objectives, seed)
        for seed in range(first, last)
        for sampler in arguments.samplers.split(",")
        for objectives in arguments.objectives or TRIALS
        if (sampler, objectives, seed) not in known
    ]
    with ProcessPoolExecutor(arguments.jobs, initializer=start, initargs=(arguments.program,)) as workers:
        for done in as_completed([workers.submit(run, *what) for what in wanted]):
            with arguments.out.open("a") as file:
                file.write(json.dumps(done.result()) + "\n")


if __name__ == "__main__":
    main()

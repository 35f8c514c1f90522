"""Says from notes of runs on `cells` how good each sampler was: means over the seeds, with the error of the mean.

The hypervolume is that of accuracy above 0.5 against the logarithm of the parameters below 300 000, in parts of that
of the best that any of the given runs found.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

BEST_AT = [50, 100, 150]
VOLUME_AT = [50, 100, 200]
WORST_ACCURACY = 0.5
MOST = math.log(300_000) + 1e-9


def area(reached: list[list[float]]) -> float:
    total, best = 0.0, WORST_ACCURACY
    for params, accuracy in sorted((math.log(params), accuracy) for accuracy, params in reached):
        if accuracy > best:
            total += (accuracy - best) * (MOST - params)
            best = accuracy
    return total


def mean(values: list[float]) -> tuple[float, float]:
    middle = sum(values) / len(values)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / max(1, len(values) - 1))
    return middle, spread / math.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--seeds", help="FROM:TO, the last not included")
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split(":")) if arguments.seeds else (0, 1 << 60)
    runs = [json.loads(line) for path in arguments.runs for line in path.read_text().splitlines()]
    runs = [run for run in runs if first <= run["seed"] < last]
    whole = area([point for run in runs for point in run["reached"]])
    for objectives, checks in [("accuracy", BEST_AT), ("accuracy,params", VOLUME_AT)]:
        found: dict = defaultdict(list)
        seconds: dict = defaultdict(list)
        for run in (run for run in runs if run["objectives"] == objectives):
            reached = run["reached"]
            if objectives == "accuracy":
                measures = [100 * max(accuracy for accuracy, _ in reached[:at]) for at in checks]
            else:
                measures = [area(reached[:at]) / whole for at in checks]
            found[run["sampler"]].append(measures)
            seconds[run["sampler"]].append(run["seconds"] / len(reached))
        digits = 3 if objectives == "accuracy" else 4
        what = "best accuracy" if objectives == "accuracy" else "hypervolume in parts of that of all runs"
        print(f"\ncells: mean {what} (error of the mean)\n")
        print("| sampler | " + " | ".join(f"@{at}" for at in checks) + " | seeds | ms per trial |")
        print("|---" * (len(checks) + 3) + "|")
        for sampler, rows in sorted(found.items()):
            cells = [mean(list(column)) for column in zip(*rows)]
            texts = [f"{middle:.{digits}f} ({error:.{digits}f})" for middle, error in cells]
            print(f"| {sampler} | " + " | ".join(texts) + f" | {len(rows)} | {1000 * mean(seconds[sampler])[0]:.1f} |")


if __name__ == "__main__":
    main()

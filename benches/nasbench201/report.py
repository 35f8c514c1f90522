"""Says from notes of runs how good each sampler was: means over the seeds, with the error of the mean."""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

from table import COLUMNS, Table

# The accuracy from which on a network counts for the hypervolume, by column.
WORST_ACCURACY = {"val_c10": 80.0, "val_in16": 25.0}
BEST_AT = [50, 100, 150]
VOLUME_AT = [50, 100, 200]


def area(points: list[tuple[float, float]], worst: float, most: float) -> float:
    """What points of (accuracy, cost) dominate above `worst` and below `most`."""
    total, reached = 0.0, worst
    edge_points = sorted((cost, -accuracy) for accuracy, cost in points)
    for cost, negative in edge_points:
        if -negative > reached:
            total += (-negative - reached) * (most - cost)
            reached = -negative
    return total


def mean(values: list[float]) -> tuple[float, float]:
    middle = sum(values) / len(values)
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / max(1, len(values) - 1))
    return middle, spread / math.sqrt(len(values))


def measures(table: Table, run: dict, whole: dict[str, float]) -> dict[int, float]:
    accuracy, cells = table.accuracy[run["column"]], run["cells"]
    if run["objectives"] == "accuracy":
        return {at: max(accuracy[cell] for cell in cells[:at]) for at in BEST_AT}
    most = math.log(max(table.flops)) + 1e-9
    points = [(accuracy[cell], math.log(table.flops[cell])) for cell in cells]
    worst = WORST_ACCURACY[run["column"]]
    return {at: area(points[:at], worst, most) / whole[run["column"]] for at in VOLUME_AT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--seeds", help="FROM:TO, the last not included")
    arguments = parser.parse_args()
    table = Table(arguments.table)
    most = math.log(max(table.flops)) + 1e-9
    whole = {
        column: area(list(zip(table.accuracy[column], map(math.log, table.flops))), WORST_ACCURACY[column], most)
        for column in COLUMNS
    }
    first, last = map(int, arguments.seeds.split(":")) if arguments.seeds else (0, 1 << 60)
    found: dict = defaultdict(lambda: defaultdict(list))
    seconds: dict = defaultdict(list)
    for path in arguments.runs:
        for line in path.read_text().splitlines():
            run = json.loads(line)
            if not first <= run["seed"] < last:
                continue
            key = (run["objectives"], run["column"], run["sampler"])
            seconds[key].append(run["seconds"] / len(run["cells"]))
            for at, value in measures(table, run, whole).items():
                found[key][at].append(value)
    for objectives, checks, digits in [("accuracy", BEST_AT, 3), ("accuracy,flops", VOLUME_AT, 4)]:
        for column in COLUMNS:
            what = "best validation accuracy" if objectives == "accuracy" else "hypervolume of that of the table"
            print(f"\n{column}: mean {what} (error of the mean)\n")
            print("| sampler | " + " | ".join(f"@{at}" for at in checks) + " | seeds | ms per trial |")
            print("|---" * (len(checks) + 3) + "|")
            for key in sorted(found):
                if key[:2] != (objectives, column):
                    continue
                cells = []
                for at in checks:
                    middle, error = mean(found[key][at])
                    cells.append(f"{middle:.{digits}f} ({error:.{digits}f})")
                took = 1000 * mean(seconds[key])[0]
                print(f"| {key[2]} | " + " | ".join(cells) + f" | {len(seconds[key])} | {took:.1f} |")


if __name__ == "__main__":
    main()

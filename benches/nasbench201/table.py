"""The table of NAS-Bench-201 (Dong and Yang 2020): every cell, what it costs and how well it does."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

EDGES = ["e1", "e2", "e3", "e4", "e5", "e6"]
OPERATIONS = ["skip_connect", "none", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
COLUMNS = ["val_c10", "val_in16"]
TRIALS = {"accuracy": 150, "accuracy,flops": 200}


class Table:
    """Columns by row."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt") as file:
            rows = list(csv.DictReader(file))
        self.rows = {tuple(row[edge] for edge in EDGES): index for index, row in enumerate(rows)}
        self.flops = [float(row["flops_m"]) for row in rows]
        self.accuracy = {column: [float(row[column]) for row in rows] for column in COLUMNS}
        found = {row[edge] for row in rows for edge in EDGES}
        assert found == set(OPERATIONS), found

    def row(self, operations: tuple[str, ...]) -> int:
        """The row of a cell."""
        return self.rows[operations]

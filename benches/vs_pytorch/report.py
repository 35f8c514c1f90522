"""What the measurements say: ratios, what was wanted, and the tables."""

import statistics
from dataclasses import asdict, dataclass

GROUPS = {
    "inverted": "inverted-residual and MBConv networks",
    "sampled": "networks sampled from `cells`",
    "dense": "dense networks",
}
# Ratio of images per second that each network must reach, and the one to aim for.
TRAINING = {"inverted": (2.0, 3.0), "sampled": (2.0, 3.0), "dense": (1.0, 1.3)}
PAIRS = dict.fromkeys(GROUPS, (2.0, 3.0))
INFERENCE = dict.fromkeys(GROUPS, (1.0, 1.5))
# On a GPU, against eager PyTorch.
GPU_TRAINING = dict.fromkeys(GROUPS, (4.0, 8.0))
# nasgen's peak memory over PyTorch's: at most, and to aim for.
MEMORY = (1.0, 0.5)
# What other programs may take of the machine, in cores, before a measurement counts as disturbed.
CORES_OF_OTHERS = 0.1

# The compiled network is shown beside the others; the floors do not speak of it.
RIVALS = ("PyTorch NCHW", "PyTorch channels_last", "onnxruntime")
LAYOUTS = ("PyTorch NCHW", "PyTorch channels_last")


@dataclass(frozen=True)
class Settings:
    mode: str
    pairs: bool
    batch: int
    input: str
    threads: int
    seconds: float
    rounds: int
    device: str = "cpu"

    def wanted(self, group):
        """The least ratio and the aim for networks of `group`."""
        if self.mode == "infer":
            return INFERENCE[group]
        if self.device != "cpu":
            return GPU_TRAINING[group]
        return (PAIRS if self.pairs else TRAINING)[group]

    def title(self):
        what = "Training steps (AdamW)" if self.mode == "train" else "Class scores"
        threads = "two processes of one thread at once" if self.pairs else f"{self.threads} threads"
        if self.device != "cpu":
            threads = f"on {self.device}"
        return f"{what}, batch {self.batch} of {self.input.replace('x', '×')}, {threads}"


@dataclass(frozen=True)
class Comparison:
    """One network: for each rival its results, one a round, or why it has none."""

    name: str
    group: str
    rounds: dict
    failures: dict

    def median(self, rival, key):
        """Over the rounds; None where the rival failed."""
        results = self.rounds.get(rival, [])
        return statistics.median(result[key] for result in results) if results else None

    def ratio(self):
        """nasgen's images per second over the fastest rival's."""
        nasgen = self.median("nasgen", "images_per_second")
        rivals = [speed for rival in RIVALS if (speed := self.median(rival, "images_per_second"))]
        return nasgen / max(rivals) if nasgen and rivals else None

    def disturbances(self):
        """Of each rival that had to share the cores: what others took, in cores."""
        measured = {rival: results for rival, results in self.rounds.items() if results}
        known = [rival for rival, results in measured.items() if results[0]["cores_of_others"] is not None]
        taken = {rival: self.median(rival, "cores_of_others") for rival in known}
        return {rival: cores for rival, cores in taken.items() if cores > CORES_OF_OTHERS}

    def pytorch_memory(self, key="peak_bytes"):
        """The lesser of the two layouts'."""
        return min((bytes_ for layout in LAYOUTS if (bytes_ := self.median(layout, key))), default=None)

    def memory_ratio(self):
        nasgen, pytorch = self.median("nasgen", "peak_bytes"), self.pytorch_memory()
        return nasgen / pytorch if nasgen and pytorch else None


@dataclass(frozen=True)
class Table:
    settings: Settings
    comparisons: list

    def rivals(self):
        return list(self.comparisons[0].rounds)

    def misses(self):
        """A line for each way in which a network is not where it should be."""
        lines = []
        for one in self.comparisons:
            ratio, memory = one.ratio(), one.memory_ratio()
            least, _ = self.settings.wanted(one.group)
            if ratio is None:
                lines.append(f"{one.name} was not measured")
            elif ratio < 1:
                lines.append(f"{one.name} is slower than its fastest rival: {ratio:.2f}×, wanted {least:.1f}×")
            elif ratio < least:
                lines.append(f"{one.name} misses its floor: {ratio:.2f}×, wanted {least:.1f}×")
            lines += [f"{one.name} was not compared with {rival}" for rival in RIVALS if rival in one.failures]
            if memory is not None and memory > MEMORY[0]:
                lines.append(f"{one.name} needs more memory than PyTorch: {memory:.2f}×")
        return lines

    def disturbed(self):
        """A line for each network that was not alone on the machine."""
        lines = []
        for one in self.comparisons:
            taken = ", ".join(f"{rival} {cores:.1f}" for rival, cores in one.disturbances().items())
            lines += [f"{one.name}: {taken}"] if taken else []
        return lines

    def failures(self):
        return [f"{one.name}: {rival}: {why}" for one in self.comparisons for rival, why in one.failures.items()]


def geometric_mean(comparisons, ratio):
    """Over the networks that have one; None for none."""
    ratios = [value for one in comparisons if (value := ratio(one))]
    return statistics.geometric_mean(ratios) if ratios else None


# ---------------------------------------------------------------------------------------------
# Markdown
# ---------------------------------------------------------------------------------------------


def markdown(where, tables):
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    settings = tables[0].settings
    lines = [
        f"{where['processor']}, {where['cores']} cores, {where['system']}; {versions}; {where['date']}.",
        f"Median of {settings.rounds} rounds of {settings.seconds:g} s each, in turn; "
        f"load before the first: {where['load_before']}.",
    ]
    for table in tables:
        lines += ["", f"**{table.settings.title()}**", "", *networks_table(table), "", *groups_table(table)]
        lines += listed("Not where it should be:", table.misses())
        lines += listed("Failed:", table.failures())
        lines += listed("Disturbed, so not to be relied on (cores that other programs took):", table.disturbed())
        if not (table.misses() or table.disturbed()):
            lines += ["", "Every network is where it should be."]
    return "\n".join(lines)


def listed(title, lines):
    return ["", title, "", *(f"- {line}" for line in lines)] if lines else []


def networks_table(table):
    rivals = table.rivals()
    header = ["network", *(f"{rival}, images/s" for rival in rivals), "ratio", "nasgen, MB"]
    header += ["PyTorch, MB (its libraries)", "memory ratio"]
    rows = []
    for one in table.comparisons:
        speeds = [number(one.median(rival, "images_per_second"), "{:,.0f}") for rival in rivals]
        peak, libraries = one.pytorch_memory(), one.pytorch_memory("baseline_bytes")
        pytorch = f"{megabytes(peak)} ({megabytes(libraries)})" if peak else "failed"
        memory = [megabytes(one.median("nasgen", "peak_bytes")), pytorch, number(one.memory_ratio(), "{:.2f}")]
        rows.append([one.name, *speeds, number(one.ratio(), "{:.2f}×"), *memory])
    return aligned(header, rows)


def groups_table(table):
    header = ["group", "networks", "geometric mean", "worst", "at least", "aim", "memory ratio", "largest", "at most"]
    rows = []
    for group, title in GROUPS.items():
        members = [one for one in table.comparisons if one.group == group]
        measured = [one for one in members if one.ratio()]
        if not members:
            continue
        least, aim = table.settings.wanted(group)
        worst = min(measured, key=Comparison.ratio, default=None)
        largest = max((memory for one in members if (memory := one.memory_ratio())), default=None)
        rows.append([
            title,
            f"{len(measured)} of {len(members)}",
            number(geometric_mean(members, Comparison.ratio), "{:.2f}×"),
            f"{worst.ratio():.2f}× ({worst.name})" if worst else "failed",
            f"{least:.1f}×",
            f"{aim:.1f}×",
            number(geometric_mean(members, Comparison.memory_ratio), "{:.2f}"),
            number(largest, "{:.2f}"),
            f"{MEMORY[0]:.1f} (aim {MEMORY[1]:.1f})",
        ])
    return aligned(header, rows)


def number(value, form):
    return "failed" if value is None else form.format(value)


def megabytes(count):
    return number(count and count / 1e6, "{:,.0f}")


def aligned(header, rows):
    """A Markdown table that can be read unrendered: the first column to the left, numbers right."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells):
        numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(header), line(rule), *map(line, rows)]


# ---------------------------------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------------------------------


def as_json(where, tables):
    return {**where, "tables": [table_as_json(table) for table in tables]}


def table_as_json(table):
    networks = []
    for one in table.comparisons:
        least, aim = table.settings.wanted(one.group)
        networks.append({
            "name": one.name,
            "group": one.group,
            "ratio": one.ratio(),
            "at_least": least,
            "aim": aim,
            "memory_ratio": one.memory_ratio(),
            "rounds": one.rounds,
            "failures": one.failures,
        })
    return {**asdict(table.settings), "networks": networks, "misses": table.misses()}

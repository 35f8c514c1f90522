"""Compares nasgen with PyTorch: the same networks, on the same threads, in turn.

    python benches/vs_pytorch/compare.py [NETWORK.yml ...] [--infer] [--pairs] [--compile] ...

README.md beside this file says what is measured.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CONFIGS = (
    "mobilenetv2 mobilenetv3_large mobilenetv3_small efficientnet_b0 lenet squeezenet resnet_bottleneck".split()
)
# Blocks with a depthwise convolution; a network without any is a dense one.
DEPTHWISE_BLOCKS = {
    *("InvertedResidualv2", "InvertedResidualv3", "ECAInvertedResidualv2", "ECAInvertedResidualv3"),
    *("MBConv", "DWConv", "ShuffleNetV2"),
}
# A measurement that takes longer hangs; compiling takes about a minute.
LONGEST_SECONDS = 900


class Failure(Exception):
    """A measurement that gave no result."""


@dataclass
class Network:
    name: str
    path: Path
    sampled: bool = False
    layers: list = field(default_factory=list)

    @property
    def group(self):
        if self.sampled:
            return "sampled"
        has_depthwise = any(layer["module"] in DEPTHWISE_BLOCKS for layer in self.layers)
        return "inverted" if has_depthwise else "dense"


def read_arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", type=Path, metavar="NETWORK.yml", help="default: those of the table")
    parser.add_argument("--infer", action="store_true", help="time class scores instead of training steps")
    parser.add_argument("--pairs", action="store_true", help="two processes of one thread at once")
    parser.add_argument("--compile", action="store_true", help="torch.compile as a further rival")
    parser.add_argument("--batch", type=int, nargs="+", help="images in a batch (default 64; with --infer 1 and 64)")
    parser.add_argument("--input", default="3x32x32", metavar="CxHxW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:INDEX")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, help="networks drawn from `cells` (default 20; with NETWORK.yml 0)")
    parser.add_argument("--max-macs", default="20M", help="budget of the drawn networks (default 20M)")
    parser.add_argument("--nasgen", type=Path, default=REPOSITORY / "target/release/nasgen", metavar="PATH")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the printed report")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless all is as wanted")
    arguments = parser.parse_args(words)
    if arguments.pairs:
        arguments.threads = 1
    if arguments.infer and arguments.device != "cpu":
        parser.error("--infer compares on a CPU")
    if arguments.batch is None:
        arguments.batch = [1, 64] if arguments.infer else [64]
    if arguments.samples is None:
        arguments.samples = 0 if arguments.networks else 20
    if not arguments.nasgen.exists():
        parser.error(f"no program at {arguments.nasgen}: `cargo build --release` makes it, --nasgen names another")
    for path in arguments.networks:
        if not path.is_file():
            parser.error(f"there is no file {path}")
    return arguments


# ---------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------


def start(command):
    # The system counts what a process had before it became another program as that program's peak
    # memory. A shell in between has less than any program measured here; this one would not.
    through_shell = ["sh", "-c", '"$@"; exit $?', "sh", *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(through_shell, **pipes, start_new_session=True)


def stop(process):
    """Ends the shell and what it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def output_of(process):
    try:
        output, errors = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failure(f"no result after {LONGEST_SECONDS} s") from None
    finally:
        stop(process)
    if process.returncode != 0:
        lines = (errors or output).strip().splitlines() or ["no message"]
        raise Failure(f"exit code {process.returncode}: {lines[-1]}")
    return output


def run(*command):
    return output_of(start(command))


def measure(command, processes):
    """The result of `command`; of several at once the sum of images and the mean of the rest."""
    clock, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    running = [start(command) for _ in range(processes)]
    try:
        results = [json.loads(output_of(process).strip().splitlines()[-1]) for process in running]
    finally:
        for process in running:
            stop(process)
    elapsed = time.perf_counter() - clock
    others = None if busy is None else (busy_seconds() - busy - (own_seconds() - own)) / elapsed
    return {
        "images_per_second": sum(result["images_per_second"] for result in results),
        "step_ms": statistics.mean(result["step_ms"]["p50"] for result in results),
        "fastest_step_ms": min(result["step_ms"]["min"] for result in results),
        "peak_bytes": statistics.mean(result["peak_bytes"] for result in results),
        "baseline_bytes": statistics.mean(result.get("baseline_bytes", 0) for result in results),
        "cores_of_others": others,
    }


def busy_seconds():
    """What all programs have had of all cores since the start, also those of other machines on the
    same processor; None where the system does not say."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """What the measured programs have had of it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# ---------------------------------------------------------------------------------------------
# Networks
# ---------------------------------------------------------------------------------------------


def networks_of(arguments, directory):
    paths = arguments.networks or [REPOSITORY / f"model_configs/{name}.yml" for name in CONFIGS]
    return [Network(path.stem, path) for path in paths] + drawn_networks(arguments, directory)


def drawn_networks(arguments, directory):
    if arguments.samples == 0:
        return []
    folder = directory / "cells"
    folder.mkdir()
    out = folder if arguments.samples > 1 else folder / "0001.yml"
    options = ["--seed", 0, "--count", arguments.samples, "--max-macs", arguments.max_macs, "--out", out]
    run(arguments.nasgen, "sample", *options)
    return [Network(f"cells {path.stem}", path, sampled=True) for path in sorted(folder.glob("*.yml"))]


def describe(networks, arguments):
    """Fills in the layers, once nasgen and PyTorch have found the same ones."""
    paths = [network.path for network in networks]
    in_pytorch = run(sys.executable, HERE / "networks.py", *paths, "--input", arguments.input).splitlines()
    for network, line in zip(networks, in_pytorch, strict=True):
        theirs = json.loads(line)
        if "error" in theirs:
            raise Failure(f"{network.path}: PyTorch's side: {theirs['error']}")
        shown = json.loads(run(arguments.nasgen, "show", network.path, "--input", arguments.input, "--json"))
        compared = ("module", "params", "macs", "output")
        network.layers = [{key: layer[key] for key in compared} for layer in shown["layers"]]
        must_be_equal(network.path, network.layers, theirs["layers"])


def must_be_equal(path, nasgen, pytorch):
    if len(nasgen) != len(pytorch):
        raise Failure(f"{path}: {len(nasgen)} rows in nasgen, {len(pytorch)} in PyTorch")
    for index, (one, other) in enumerate(zip(nasgen, pytorch)):
        if one != other:
            raise Failure(f"{path}: row {index} is {one} in nasgen and {other} in PyTorch")


# ---------------------------------------------------------------------------------------------
# Measurements
# ---------------------------------------------------------------------------------------------


def commands(network, batch, arguments, directory):
    """What to run for each rival, in the order of a round."""
    shared = ["--batch", batch, "--threads", arguments.threads, "--input", arguments.input]
    shared += ["--seconds", arguments.seconds, "--device", arguments.device]
    train = [] if arguments.infer else ["--train"]
    optimizer = [] if arguments.infer else ["--optimizer", "adamw"]
    pytorch = [sys.executable, HERE / "pytorch_bench.py", network.path, *train, *shared]
    result = {
        "nasgen": [arguments.nasgen, "bench", network.path, *train, *optimizer, *shared, "--json"],
        "PyTorch NCHW": [*pytorch, "--layout", "nchw"],
        "PyTorch channels_last": [*pytorch, "--layout", "channels_last"],
    }
    if arguments.infer:
        exported = directory / f"{network.name}-{batch}.onnx"
        result["onnxruntime"] = [sys.executable, HERE / "onnxruntime_bench.py", exported, *shared[:-2]]
    if arguments.compile:
        result["torch.compile"] = [*pytorch, "--compile"]
    return result


def export(network, batch, arguments, directory):
    exported = directory / f"{network.name}-{batch}.onnx"
    shape = ["--batch", batch, "--input", arguments.input]
    run(sys.executable, HERE / "pytorch_bench.py", network.path, *shape, "--export", exported)


def compare(network, batch, arguments, directory):
    """All rounds of one network: for each rival its results, or why there are none."""
    todo = commands(network, batch, arguments, directory)
    rounds, failures = {rival: [] for rival in todo}, {}

    def attempt(rival, action):
        try:
            return action()
        except Failure as failure:
            rounds[rival], failures[rival] = [], str(failure)
            progress(f"{network.name}, batch {batch}: {rival} failed: {failure}")

    if "onnxruntime" in todo:
        attempt("onnxruntime", lambda: export(network, batch, arguments, directory))
    for number in range(arguments.rounds):
        for rival, command in todo.items():
            if rival in failures:
                continue
            result = attempt(rival, lambda: measure(command, processes=2 if arguments.pairs else 1))
            if result:
                rounds[rival].append(result)
                progress(f"{network.name}, batch {batch}, round {number + 1}: {rival} {result['step_ms']:.2f} ms")
    comparison = report.Comparison(network.name, network.group, rounds, failures)
    progress(f"{network.name}, batch {batch}: ratio {report.number(comparison.ratio(), '{:.2f}×')}")
    return comparison


def settings_of(arguments, batch):
    return report.Settings(
        mode="infer" if arguments.infer else "train",
        pairs=arguments.pairs,
        batch=batch,
        input=arguments.input,
        threads=arguments.threads,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        device=arguments.device,
    )


def progress(line):
    print(line, file=sys.stderr, flush=True)


def surroundings(arguments):
    """Where and with what the measurements are made."""
    packages = ["torch", "onnxruntime"] if arguments.infer else ["torch"]
    return {
        "processor": processor() + graphics(arguments.device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "nasgen": run(arguments.nasgen, "--version").split()[-1],
            **{package: installed_version(package) for package in packages},
            "python": platform.python_version(),
        },
        "date": datetime.date.today().isoformat(),
    }


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def graphics(device):
    """The GPU's name, where one is measured."""
    if device == "cpu":
        return ""
    name = f"import torch; print(torch.cuda.get_device_name({device!r}))"
    return " with " + run(sys.executable, "-c", name).strip()


def installed_version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main():
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        try:
            where = surroundings(arguments)
            networks = networks_of(arguments, directory)
            describe(networks, arguments)
        except (Failure, OSError) as failure:
            sys.exit(f"error: {failure}")
        tables = []
        for batch in arguments.batch:
            comparisons = [compare(network, batch, arguments, directory) for network in networks]
            tables.append(report.Table(settings_of(arguments, batch), comparisons))

    text = report.markdown(where, tables)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(where, tables), indent=1) + "\n")
    if arguments.check and any(table.misses() or table.disturbed() for table in tables):
        sys.exit(1)


if __name__ == "__main__":
    main()

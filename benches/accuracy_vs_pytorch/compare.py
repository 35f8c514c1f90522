"""Compares the test accuracy that nasgen and PyTorch reach with the same networks, recipe, images and splits.

    cargo build --release
    pip install -r benches/vs_pytorch/requirements.txt
    python benches/accuracy_vs_pytorch/compare.py --data CIFAR_FOLDER

For each network and seed: `nasgen train`, `nasgen eval` on the test images, and pytorch_train.py with the split of
that run. Prints a table of mean ± deviation over the seeds. Results that --out has already are not measured again,
so a comparison that was stopped goes on.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Of different kinds: plain convolutions, mobile blocks with gates, cells of a search space.
NETWORKS = ["lenet", "mobilenetv3_small", "sampled_small"]


def run(*command):
    """The one JSON object that a program prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return json.loads(done.stdout)


def nasgen_result(arguments, network, seed, folder):
    program = ROOT / "target" / "release" / "nasgen"
    config = ROOT / "model_configs" / f"{network}.yml"
    settings = ["--epochs", arguments.epochs, "--seed", seed, "--classes", 10, "--input", "3x32x32"]
    done = run(program, "train", config, "--data", arguments.data, *settings, "--run", folder, "--json")
    test = run(program, "eval", folder, "--split", "test", "--json")
    return {
        "params": done["params"],
        "epoch": done["best"]["epoch"],
        "val_accuracy": done["best"]["accuracy"],
        "test_accuracy": test["accuracy"],
        "test_loss": test["loss"],
        "seconds": done["seconds"],
    }


def pytorch_result(arguments, seed, folder):
    settings = ["--epochs", arguments.epochs, "--seed", seed, "--data", arguments.data]
    program = Path(__file__).with_name("pytorch_train.py")
    return run(sys.executable, program, folder / "model.yaml", *settings, "--split", folder / "split.csv")


def measure(arguments):
    """Writes one result for each network, seed and program."""
    for network in arguments.networks:
        for seed in arguments.seeds:
            folder = arguments.out / f"{network}-{seed}"
            for name, result in [
                ("nasgen", lambda: nasgen_result(arguments, network, seed, folder)),
                ("pytorch", lambda: pytorch_result(arguments, seed, folder)),
            ]:
                path = arguments.out / f"{network}-{seed}-{name}.json"
                if not path.exists():
                    found = result()
                    path.write_text(json.dumps(found) + "\n")
                    print(f"{path.stem}: test accuracy {found['test_accuracy']:.4f}", file=sys.stderr, flush=True)


def results(arguments, network, name):
    found = [json.loads((arguments.out / f"{network}-{seed}-{name}.json").read_text()) for seed in arguments.seeds]
    if len({result["params"] for result in found}) != 1:
        sys.exit(f"{network}: the runs have networks of different sizes")
    return found


def spread(values):
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def table(arguments):
    rows = ["| network | parameters | nasgen, test % | PyTorch, test % | difference | within the spread |", "|---|---|---|---|---|---|"]
    for network in arguments.networks:
        ours, theirs = (results(arguments, network, name) for name in ("nasgen", "pytorch"))
        if ours[0]["params"] != theirs[0]["params"]:
            sys.exit(f"{network}: {ours[0]['params']} parameters in nasgen, {theirs[0]['params']} in PyTorch")
        (mean, deviation), (other, other_deviation) = (
            spread([100 * result["test_accuracy"] for result in found]) for found in (ours, theirs)
        )
        # Two standard errors of the difference of two means.
        allowed = 2 * ((deviation**2 + other_deviation**2) / len(arguments.seeds)) ** 0.5
        rows.append(
            f"| {network} | {ours[0]['params']:,} | {mean:.2f} ± {deviation:.2f} | {other:.2f} ± {other_deviation:.2f} "
            f"| {mean - other:+.2f} | {'yes' if mean - other >= -allowed else 'no'} (±{allowed:.2f}) |"
        )
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a folder of CIFAR-10 binary files with test_batch.bin")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="names of files in model_configs/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("accuracy"), help="folder for runs and results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    measure(arguments)
    print(table(arguments))


if __name__ == "__main__":
    main()

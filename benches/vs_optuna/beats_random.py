"""Whether `nasgen search` with its default sampler beats random search, given the same time.

    cargo build --release
    python benches/vs_optuna/beats_random.py --data DIR_OF_CIFAR_BINARIES --minutes 30 --seeds 3 --out runs.jsonl

For each seed both search the default space under a budget of parameters for that long, the last step included; random
search trains every network to its end, as it is commonly understood. Each chooses its winner on the validation images.
Compared are the winners' scores on the test images, which each search looks at once. They run one after the other,
never at the same time, in an order that changes from seed to seed. Cut off, it goes on after the last search that is
in `--out`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-params", default="300k")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sampler", default="auto", help="what is compared with random")
    parser.add_argument("--more", default="", help="further arguments of the sampler's search, such as '--pruner asha'")
    parser.add_argument("--random-more", default="--pruner none", help="further arguments of the random search")
    parser.add_argument("--nasgen", type=Path, default=REPOSITORY / "target/release/nasgen")
    parser.add_argument("--out", type=Path, required=True, help="a file that gets one line of JSON for each search")
    return parser.parse_args()


def search(args, side, sampler, more, seed):
    command = [args.nasgen, "search", "--data", args.data.resolve(), "--max-params", args.max_params]
    command += ["--time", f"{args.minutes * 60}s", "--jobs", args.jobs, "--seed", seed, "--sampler", sampler, "--json"]
    with tempfile.TemporaryDirectory() as folder:
        words = [str(word) for word in command] + more.split()
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed: {done.stderr}")
        result = json.loads(done.stdout)
    if not result["final"]:
        sys.exit(f"{' '.join(words)} had no time for its last step, which alone measures on the test images")
    test = statistics.mean(result["final"]["test"])
    winner = result["final"]["finalists"][0]
    print(f"seed {seed} {sampler:>7}: {result['trials']}, validation {winner['mean']:.4f}, test {test:.4f}", flush=True)
    return {"seed": seed, "side": side, "trials": result["trials"], "validation": winner["mean"], "test": test}


def main():
    args = arguments()
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    runs = {(run["side"], run["seed"]): run for run in map(json.loads, lines)}
    for seed in range(args.seeds):
        turns = [("sampler", args.sampler, args.more), ("random", "random", args.random_more)]
        for side, sampler, more in turns if seed % 2 == 0 else turns[::-1]:
            if (side, seed) not in runs:
                runs[side, seed] = search(args, side, sampler, more, seed)
                with args.out.open("a") as file:
                    file.write(json.dumps(runs[side, seed]) + "\n")
    means = {
        side: statistics.mean(runs[side, seed]["test"] for seed in range(args.seeds)) for side in ("sampler", "random")
    }
    print(f"test, mean of {args.seeds} seeds: {args.sampler} {means['sampler']:.4f}, random {means['random']:.4f}")
    sys.exit(means["sampler"] <= means["random"])


if __name__ == "__main__":
    main()

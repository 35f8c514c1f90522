"""Trials per hour: `nasgen search` against Optuna with PyTorch, doing the same search on the same cores.

    cargo build --release
    pip install -r benches/vs_optuna/requirements.txt
    python benches/vs_optuna/search_rate.py --data DIR_OF_CIFAR_BINARIES --seconds 600

The searches run in turns of some seconds, the others stopped meanwhile (SIGSTOP), until each has run for that long:
on a shared machine none gets the quieter hour. Optuna trains the networks that nasgen has drawn and trained, in the
same order, which are read from nasgen's study. All train for the same epochs with the same recipe (SGD with Nesterov
momentum, cosine after a warm-up, label smoothing, mirroring and shifted crops), batch, images and budget, and
measure on the same validation images after each epoch. PyTorch is given its better layout and, of one process with
all threads and one process for each core, the better one. Clocks start with the first trial: what programs take to
start is in no rate. README.md says more.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "vs_pytorch"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with CIFAR-10 binary files")
    parser.add_argument("--seconds", type=float, default=600, help="for each side")
    parser.add_argument("--turn", type=float, default=15, help="seconds that a side runs while the others are stopped")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--subset", type=int, default=5000, help="training images")
    parser.add_argument("--max-params", type=int, default=300_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nasgen", type=Path, default=REPOSITORY / "target/release/nasgen")
    parser.add_argument("--json", type=Path)
    # What the script starts of itself: a worker of Optuna's on this storage, with --threads.
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


class Side:
    """A search that runs in turns with the others: stopped while these run, so that none has the quieter hour."""

    def __init__(self, name, workers, commands, folder, study=None):
        self.name, self.workers, self.study = name, workers, study
        self.turns = []
        self.log = (folder / f"{name}.log").open("w+")
        self.processes = [
            subprocess.Popen(list(map(str, command)), cwd=folder, stdout=self.log, stderr=self.log) for command in commands
        ]
        self.signal(signal.SIGSTOP)

    def signal(self, number):
        for process in self.processes:
            process.send_signal(number)

    def take_turn(self, seconds, meanwhile=lambda: None):
        began = time.time()
        self.signal(signal.SIGCONT)
        meanwhile()
        time.sleep(max(0.0, began + seconds - time.time()))
        if any(process.poll() is not None for process in self.processes):
            self.log.seek(0)
            sys.exit(f"{self.name} ended by itself: {self.log.read()}")
        self.signal(signal.SIGSTOP)
        self.turns.append((began, time.time()))

    def ran(self, moment=math.inf):
        """Seconds that it has run, until `moment`."""
        return sum(max(0.0, min(end, moment) - began) for began, end in self.turns)

    def complete(self):
        """Seconds that each complete trial ran, by its network; in the order in which they ended."""
        complete = [trial for trial in self.study.trials if trial.state.name == "COMPLETE"]
        complete.sort(key=lambda trial: trial.datetime_complete)

        def seconds(trial):
            return self.ran(trial.datetime_complete.timestamp()) - self.ran(trial.datetime_start.timestamp())

        return {json.dumps(trial.params, sort_keys=True): seconds(trial) for trial in complete}

    def per_hour(self):
        """Trials per hour since the first one began."""
        starts = [trial.datetime_start.timestamp() for trial in self.study.trials if trial.datetime_start]
        return len(self.complete()) / (self.ran() - self.ran(min(starts))) * 3600 if starts else 0.0

    def end(self):
        self.signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.log.close()


def nasgen_side(args, folder):
    import optuna

    command = [args.nasgen.resolve(), "search", HERE / "space.yml", "--data", args.data.resolve(), "--sampler", "random"]
    # Whole trainings are counted, here and there.
    command += ["--pruner", "none", "--trials", 1_000_000, "--lease", "10m"]
    command += ["--epochs", args.epochs, "--subset", args.subset, "--max-params", args.max_params]
    command += ["--jobs", args.threads, "--finalists", 0, "--study", "rate"]
    side = Side("nasgen", args.threads, [command], folder)
    while not side.study:
        side.take_turn(1)
        try:
            side.study = optuna.load_study(study_name="rate", storage=f"sqlite:///{folder}/studies/rate.db")
        except (KeyError, RuntimeError, optuna.exceptions.OptunaError):
            # It is not there yet.
            pass
    return side


def read_images(folder, subset):
    """Training images (as many of each class), validation images: a tenth of each class."""
    import numpy
    import torch

    records = [numpy.fromfile(path, dtype=numpy.uint8).reshape(-1, 3073) for path in sorted(folder.glob("data_batch_*.bin"))]
    records = numpy.concatenate(records)
    labels, pixels = torch.from_numpy(records[:, 0].copy()).long(), torch.from_numpy(records[:, 1:].copy())
    pixels = pixels.view(-1, 3, 32, 32)
    train, validation = [], []
    for label in range(10):
        own = (labels == label).nonzero().flatten()
        held_out = round(len(own) * 0.1)
        validation.append(own[:held_out])
        train.append(own[held_out:][: subset // 10])
    train, validation = torch.cat(train), torch.cat(validation)
    return pixels[train], labels[train], pixels[validation], labels[validation]


def augmented(images):
    """Each image mirrored or not, and shifted by up to 4 pixels over black."""
    import torch
    from torch.nn import functional as F

    count = len(images)
    mirrored = torch.where(torch.rand(count, 1, 1, 1) < 0.5, images.flip(3), images)
    padded = F.pad(mirrored, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (count,)), torch.randint(0, 9, (count,))
    rows = (top[:, None] + torch.arange(32))[:, None, :, None]
    columns = (left[:, None] + torch.arange(32))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]


def train(network, images, epochs, report):
    import torch
    from torch.nn import functional as F

    pixels, labels, validation, validation_labels = images
    floats = pixels.float().div_(255)
    mean, deviation = floats.mean((0, 2, 3), keepdim=True), floats.std((0, 2, 3), keepdim=True)
    weights = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, foreach=True)
    steps = len(labels) // 64
    total, warmup = steps * epochs, max(1, round(steps * epochs * 0.05))

    def factor(step):
        return (step + 1) / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    network = network.to(memory_format=torch.channels_last)
    best = 0.0
    for epoch in range(epochs):
        network.train()
        for indices in torch.randperm(len(labels))[: steps * 64].split(64):
            batch = (augmented(floats[indices]) - mean) / deviation
            loss = F.cross_entropy(network(batch.contiguous(memory_format=torch.channels_last)), labels[indices], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        network.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, len(validation), 256):
                batch = (validation[start : start + 256].float() / 255 - mean) / deviation
                right += (network(batch).argmax(1) == validation_labels[start : start + 256]).sum().item()
        best = max(best, right / len(validation))
        report(best, epoch)
    return best


def network_of(params):
    """The network of the space's draws, in PyTorch, by the builder that benches/vs_pytorch checks."""
    import yaml
    from networks import build

    p = params
    rows = [[1, "Conv", [p["stem"], 3, 1, None, 1, "ReLU"]]]
    rows += [[p[f"n{i}"], "InvertedResidualv2", [p[f"c{i}"], p[f"t{i}"], 2]] for i in (1, 2, 3)]
    rows += [[1, "GlobalAvgPool", []], [1, "Flatten", []], [1, "Linear", [10]]]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"input_channel": 3, "backbone": rows}, file)
        file.flush()
        return build(file.name, (3, 32, 32))


def optuna_worker(args):
    import optuna
    import torch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(args.threads)
    images = read_images(args.data, args.subset)

    def objective(trial):
        params = {"stem": trial.suggest_int("stem", 16, 32, step=8)}
        for i, low, high in [(1, 16, 48), (2, 24, 64), (3, 32, 96)]:
            params[f"n{i}"] = trial.suggest_int(f"n{i}", 1, 3)
            params[f"c{i}"] = trial.suggest_int(f"c{i}", low, high, step=8)
            params[f"t{i}"] = trial.suggest_int(f"t{i}", 1, 4)
        network = network_of(params)
        if sum(value.numel() for value in network.parameters()) > args.max_params:
            raise optuna.TrialPruned
        return train(network, images, args.epochs, lambda value, epoch: trial.report(value, epoch))

    study = optuna.load_study(study_name="rate", storage=args.worker, sampler=optuna.samplers.RandomSampler())
    study.optimize(objective)


def optuna_side(args, folder, processes):
    import optuna

    storage = f"sqlite:///{folder}/optuna{processes}.db"
    study = optuna.create_study(study_name="rate", storage=storage, direction="maximize")
    command = [sys.executable, Path(__file__).resolve(), "--worker", storage, "--data", args.data.resolve()]
    command += ["--epochs", args.epochs, "--subset", args.subset, "--max-params", args.max_params]
    command += ["--threads", max(1, args.threads // processes)]
    return Side(f"optuna, {processes} processes", processes, [command] * processes, folder, study)


def hand_over(networks, side, known):
    """Lets Optuna train the networks that nasgen has drawn and trained."""
    for network in networks:
        if network not in known:
            known.add(network)
            side.study.enqueue_trial(json.loads(network))


def main():
    args = arguments()
    if args.worker:
        return optuna_worker(args)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = nasgen_side(args, folder)
        rivals = [optuna_side(args, folder, count) for count in sorted({1, min(args.threads, os.cpu_count() or 1)})]
        known = {rival.name: set() for rival in rivals}
        try:
            # It is ahead of the others by some networks from the first turn on.
            while len(ours.complete()) < 2 * args.threads:
                ours.take_turn(args.turn)
            while rivals[-1].ran() < args.seconds:
                for rival in rivals:
                    # Stopped it may hold the lock of its database.
                    rival.take_turn(args.turn, lambda: hand_over(ours.complete(), rival, known[rival.name]))
                if ours.ran() < args.seconds:
                    ours.take_turn(args.turn)
            report(args, ours, rivals)
        finally:
            for side in [ours, *rivals]:
                side.end()


def report(args, ours, rivals):
    trained = ours.complete()
    rates, same = {}, {}
    for side in [ours, *rivals]:
        rates[side.name] = side.per_hour()
        count = len(side.complete())
        print(f"{side.name}: {count} trials in {side.ran():.0f} s, {rates[side.name]:.0f} per hour", flush=True)
    for rival in rivals:
        # Networks differ in size, the trials that time cut off are in no rate, and neither side may gain by that.
        theirs = rival.complete()
        both = [network for network in theirs if network in trained]
        if both:
            their_seconds = sum(theirs[network] for network in both) / rival.workers
            our_seconds = sum(trained[network] for network in both) / ours.workers
            same[rival.name] = their_seconds / our_seconds
            print(f"  {rival.name}: on the {len(both)} networks that both finished nasgen is {same[rival.name]:.2f} times as fast")
    best = max(rates[rival.name] for rival in rivals)
    print(f"ratio to the better of them: {rates[ours.name] / best:.2f}" if best else "Optuna finished no trial")
    if same:
        print(f"on the same networks: {min(same.values()):.2f}")
    if args.json:
        args.json.write_text(json.dumps({"per hour": rates, "on the same networks": same}, indent=2))


if __name__ == "__main__":
    main()

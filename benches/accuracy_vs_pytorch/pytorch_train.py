"""Trains a spec's network in PyTorch with nasgen's default recipe, on the images and the split of a nasgen run.

The recipe: SGD with Nesterov momentum 0.9, learning rate 0.05 with a linear warm-up over 5 % of the steps and a
cosine to 0, weight decay 5e-4 on weights but not on norms and biases, label smoothing 0.1, batches of 64 without
the partial last one, mirroring, a crop with 4 black pixels around, mean and deviation of the training images.
Convolutions begin Kaiming normal by fan-out with biases 0, linear layers as PyTorch has them, as in nasgen. The
weights of the epoch with the highest validation accuracy (the lower loss decides between equals) are tested.
"""

import argparse
import copy
import csv
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "vs_pytorch"))
import networks  # noqa: E402

PADDING = 4


def read_cifar(folder):
    """All images of a folder of CIFAR-10 binary files by nasgen's names: `data_batch_1.bin:17`."""
    images = {}
    for path in sorted(Path(folder).glob("*.bin")):
        records = np.fromfile(path, dtype=np.uint8).reshape(-1, 3073)
        for number, record in enumerate(records, 1):
            images[f"{path.name}:{number}"] = (record[1:].reshape(3, 32, 32), int(record[0]))
    return images


def read_split(folder, table):
    """Pixels and labels of each split."""
    images, parts = read_cifar(folder), {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            parts.setdefault(row["split"], []).append(images[row["image"]])
    return {
        split: (torch.from_numpy(np.stack([pixels for pixels, _ in part])), torch.tensor([label for _, label in part]))
        for split, part in parts.items()
    }


class Normalise:
    """To mean 0 and deviation 1 of the training images, per channel."""

    def __init__(self, train):
        channels = train.float().div(255).transpose(0, 1).flatten(1)
        self.mean = channels.mean(1)[None, :, None, None]
        self.deviation = channels.std(1, correction=0)[None, :, None, None]

    def __call__(self, pixels):
        return (pixels.float().div(255) - self.mean) / self.deviation


def augmented(pixels, generator):
    """Mirrors every second image at random and cuts a window out of the image with black around."""
    count, _, height, width = pixels.shape
    flip = torch.rand(count, generator=generator) < 0.5
    pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
    padded = F.pad(pixels, (PADDING,) * 4)
    down, right = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def initialise(model):
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def learning_rate(step, steps, peak, warmup):
    warm = round(steps * warmup)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


@torch.no_grad()
def measure(model, pixels, labels, normalise):
    """Accuracy and mean cross-entropy."""
    model.eval()
    scores = torch.cat([model(normalise(part)) for part in pixels.split(250)])
    model.train()
    return (scores.argmax(1) == labels).double().mean().item(), F.cross_entropy(scores, labels).item()


def train(arguments):
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    parts = read_split(arguments.data, arguments.split)
    (pixels, labels), normalise = parts["train"], Normalise(parts["train"][0])
    model = networks.build(arguments.config, (3, 32, 32))
    initialise(model)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 5e-4},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=arguments.lr,
        momentum=0.9,
        nesterov=True,
    )
    per_epoch = max(len(labels) // arguments.batch, 1)
    steps, best, began = per_epoch * arguments.epochs, None, time.monotonic()
    for epoch in range(arguments.epochs):
        order = torch.randperm(len(labels), generator=generator)
        for step in range(per_epoch):
            indices = order[step * arguments.batch : (step + 1) * arguments.batch]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * per_epoch + step, steps, arguments.lr, 0.05)
            scores = model(normalise(augmented(pixels[indices], generator)))
            loss = F.cross_entropy(scores, labels[indices], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        accuracy, loss = measure(model, *parts["val"], normalise)
        if best is None or (accuracy, -loss) > best[:2]:
            best = (accuracy, -loss, epoch + 1, copy.deepcopy(model.state_dict()))
        print(f"epoch {epoch + 1}: validation accuracy {accuracy:.4f}", file=sys.stderr, flush=True)
    model.load_state_dict(best[3])
    accuracy, loss = measure(model, *parts["test"], normalise)
    return {
        "seed": arguments.seed,
        "params": sum(p.numel() for p in parameters),
        "epoch": best[2],
        "val_accuracy": best[0],
        "test_accuracy": accuracy,
        "test_loss": loss,
        "seconds": time.monotonic() - began,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a model spec for 3x32x32 and ten classes")
    parser.add_argument("--data", required=True, help="a folder of CIFAR-10 binary files")
    parser.add_argument("--split", required=True, help="the split.csv of a nasgen run on that folder")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 is PyTorch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(json.dumps(train(arguments)))


if __name__ == "__main__":
    main()

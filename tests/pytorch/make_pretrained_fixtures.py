"""What torchvision's and timm's networks answer, for the test of foreign weights.

Weights are a function of their names, so that a fixture holds names, shapes and answers alone: both sides fill the
tensors by `values`. Beside these, small files as `torch.save` writes them, in all its ways.
"""

import argparse
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

CLASSES = 10
INPUT = (2, 3, 64, 64)
# Library, network, spec in model_configs/, what its norms add to the variance if not what the spec says.
NETWORKS = [
    ("torchvision", "mobilenet_v2", "mobilenetv2", None),
    ("torchvision", "mobilenet_v3_large", "mobilenetv3_large", None),
    ("torchvision", "mobilenet_v3_small", "mobilenetv3_small", None),
    ("torchvision", "efficientnet_b0", "efficientnet_b0", None),
    ("torchvision", "squeezenet1_1", "squeezenet", None),
    ("torchvision", "shufflenet_v2_x1_0", "shufflenetv2", None),
    ("torchvision", "mnasnet1_0", "mnasnet", None),
    ("timm", "mobilenetv2_100", "mobilenetv2", None),
    ("timm", "mobilenetv3_large_100", "mobilenetv3_large", 1e-5),
    ("timm", "mobilenetv3_small_100", "mobilenetv3_small", 1e-5),
    ("timm", "efficientnet_b0", "efficientnet_b0", None),
    ("timm", "mnasnet_100", "mnasnet", None),
]


def fnv1a(name):
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value


def uniform(name, count):
    """`count` numbers in -1..1 that depend on the name and their position alone."""
    word = (np.arange(count, dtype=np.uint64) * 2654435761 + fnv1a(name)) % 2**32
    for shift, factor in [(15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)]:
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor) % 2**32
    return word.astype(np.float64) / 2**31 - 1


def values(name, shape, gain):
    """A tensor: weights are scaled by their inputs, norms lie around 1, statistics are not the initial ones."""
    draw = uniform(name, int(np.prod(shape)))
    end = name.rsplit(".", 1)[-1]
    if len(shape) > 1:
        draw = draw * np.sqrt(3 * gain / np.prod(shape[1:]))
    elif end == "weight":
        draw = 1 + 0.2 * draw
    elif end == "running_var":
        draw = 1 + 0.5 * draw
    else:
        draw = 0.1 * draw
    return torch.from_numpy(draw.astype(np.float32).reshape(shape))


def fill(model, gain):
    """The names and shapes of the tensors, which are filled."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name, tensor in state.items():
        tensor.copy_(values(name, list(tensor.shape), gain))
    return {name: list(tensor.shape) for name, tensor in state.items()}


def make_answers(library, network, spec, eps):
    """One network's answers, with the gain that makes them neither vanish nor explode."""
    if library == "timm":
        model = timm.create_model(network, num_classes=CLASSES)
    else:
        model = getattr(torchvision.models, network)(num_classes=CLASSES)
    model.eval()
    images = values("images.weight", INPUT, np.prod(INPUT[1:]))
    low, high = 0.1, 10.0
    for _ in range(8):
        gain = float(np.float32(np.sqrt(low * high)))
        shapes = fill(model, gain)
        with torch.no_grad():
            logits = model(images)
        low, high = (gain, high) if logits.std() < 1 else (low, gain)
    return {
        "library": library,
        "network": network,
        "spec": spec,
        "norm_eps": eps,
        "input": INPUT,
        "gain": gain,
        "tensors": shapes,
        "logits": logits.flatten().tolist(),
    }


def make_files(folder):
    """Files of torch.save: the same tensors in every way."""
    tensors = OrderedDict()
    tensors["a.weight"] = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    tensors["a.transposed"] = torch.arange(6, dtype=torch.float32).reshape(2, 3).t()
    tensors["b.half"] = torch.tensor([0.5, -2.0], dtype=torch.float16)
    tensors["b.bfloat"] = torch.tensor([0.5, -2.0], dtype=torch.bfloat16)
    tensors["b.double"] = torch.tensor([0.1], dtype=torch.float64)
    tensors["b.part"] = torch.arange(10, dtype=torch.float32)[4:7]
    tensors["b.num_batches_tracked"] = torch.tensor(77)
    tensors["c.parameter"] = torch.nn.Parameter(torch.ones(1, 2))
    save = lambda name, value, **how: torch.save(value, folder / f"{name}.pth", **how)
    save("zip", tensors)
    save("legacy", tensors, _use_new_zipfile_serialization=False)
    save("nested", {"epoch": 3, "lr": 0.1, "optimizer": {"state": {}}, "state_dict": tensors})
    save("protocol4", {"model": dict(tensors)}, pickle_protocol=4)
    save("no_tensors", {"epoch": 3, "arch": "resnet18"})
    save("whole_model", torch.nn.Sequential(torch.nn.Linear(2, 1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "fixtures" / "pretrained")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    make_files(folder)
    for network in NETWORKS:
        answers = make_answers(*network)
        path = folder / f"{answers['library']}_{answers['network']}.json"
        path.write_text(json.dumps(answers, separators=(",", ":")) + "\n")
        print(path, answers["gain"], np.std(answers["logits"]))


if __name__ == "__main__":
    main()

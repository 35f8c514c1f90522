"""Runs PyTorch modules that nasgen wrote, and compares what they say with what nasgen says.

    python tests/pytorch/check_export.py DIR

For each NAME.py in DIR there is NAME.safetensors with the network's tensors (`weight/…`), its inputs (`input`, or
`input.0`, …) and what it must give in evaluation mode (`output_eval`). Prints one line for each module that differs by
more than 1e-4 of its largest value, or whose tensors have other names; ends with 1 if there is one.
"""

import importlib.util
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def network(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_").replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Network().eval()


def problem(path):
    tensors = load_file(path.with_name(path.name.removesuffix(".py") + ".safetensors"))
    weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    model = network(path)
    # PyTorch counts batches, which changes nothing that a network says.
    names = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    if names != set(weights):
        return f"tensors: missing {sorted(set(weights) - names)}, surplus {sorted(names - set(weights))}"
    model.load_state_dict(weights)
    inputs = [tensors["input"]] if "input" in tensors else []
    while f"input.{len(inputs)}" in tensors:
        inputs.append(tensors[f"input.{len(inputs)}"])
    with torch.no_grad():
        output = model(*inputs)
    expected = tensors["output_eval"]
    if output.shape != expected.shape:
        return f"wanted shape {tuple(expected.shape)}, got {tuple(output.shape)}"
    scale = max(1.0, expected.abs().max().item())
    difference = (output - expected).abs().max().item() / scale
    return None if difference <= 1e-4 else f"differs by {difference:.1e}"


def main():
    paths = sorted(Path(sys.argv[1]).glob("*.py"))
    problems = [(path.name, problem(path)) for path in paths]
    for name, text in problems:
        if text:
            print(f"{name}: {text}")
    print(f"{len(paths)} modules")
    sys.exit(any(text for _, text in problems))


if __name__ == "__main__":
    main()

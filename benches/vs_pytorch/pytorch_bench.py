"""Times one network in PyTorch, in a process of its own, and prints one JSON object.

    python pytorch_bench.py CONFIG [--train] [--batch N] [--threads N] [--layout channels_last] ...

On a GPU images and labels lie there before the first step, and each step is waited for.
With --train a step is forward, cross-entropy, backward and AdamW, else class scores in evaluation
mode. `--export FILE` writes the network as ONNX instead of timing it.
"""

import argparse

import torch
from torch import nn

import timing
from networks import build, parse_shape


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--input", type=parse_shape, default=(3, 32, 32), metavar="CxHxW")
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="nchw")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--export", metavar="FILE")
    return parser.parse_args()


def training_step(network, forward, images, labels, optimizer):
    loss_of = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(forward(images).flatten(1), labels).backward()
        optimizer.step()

    network.train()
    return step


def adamw(network):
    """Decay on weights alone, as nasgen has it: not on biases and norms. On a CPU `fused` takes a
    third of the time of `foreach`."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-4, fused=True)


def inference_step(network, forward, images):
    network.eval()

    @torch.inference_mode()
    def step():
        forward(images)

    return step


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    baseline_bytes = timing.peak_bytes()

    network = build(args.config, args.input)
    device = torch.device(args.device)
    images = torch.randn(args.batch, *args.input)
    if args.export:
        torch.onnx.export(network.eval(), (images,), args.export, input_names=["images"], dynamo=False)
        return
    if args.layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    network, images = network.to(device), images.to(device)
    # What PyTorch calls `reduce-overhead` are CUDA graphs.
    mode = None if device.type == "cpu" else "reduce-overhead"
    forward = torch.compile(network, mode=mode) if args.compile else network
    if args.train:
        classes = torch.tensor(network.output_shape).prod().item()
        labels = torch.arange(args.batch, device=device) % classes
        step = training_step(network, forward, images, labels, adamw(network))
    else:
        step = inference_step(network, forward, images)

    def whole_step():
        step()
        if device.type != "cpu":
            torch.cuda.synchronize(device)

    timing.report(
        timing.measure(whole_step, args.seconds),
        mode="train" if args.train else "infer",
        batch=args.batch,
        threads=args.threads,
        layout=args.layout + (" compiled" if args.compile else ""),
        baseline_bytes=baseline_bytes,
    )


if __name__ == "__main__":
    main()

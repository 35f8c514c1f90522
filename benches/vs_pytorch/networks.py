"""Builds the network of a nasgen spec in PyTorch.

    python networks.py CONFIG... [--input CxHxW]

prints for each spec one line of JSON: its rows with their parameters, multiply-adds and output
shapes, under the keys of `nasgen show --json`.

Everything here follows the definitions of the blocks, not nasgen's program, so that two programs
that agree on a network have found it independently. A tensor has the name that it has in nasgen's
files: `backbone.{row}.{copy}.{label}.{tensor}`. Activations work in place, as in torchvision.
"""

import argparse
import inspect
import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn import functional as F


class SpecError(Exception):
    """A spec that this builder cannot follow."""


# ---------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------

ACTIVATIONS = "ReLU ReLU6 Hardswish SiLU Sigmoid Hardsigmoid GELU LeakyReLU ELU Mish Tanh Softmax".split()
SPELLINGS = {"HardSwish": "Hardswish", "Swish": "SiLU", "HardSigmoid": "Hardsigmoid"}


def activation_of(name):
    name = SPELLINGS.get(name, name)
    if name is None:
        return nn.Identity()
    if name not in ACTIVATIONS:
        raise SpecError(f"unknown activation {name}; there are {', '.join(ACTIVATIONS)}")
    if name == "Softmax":
        return nn.Softmax(dim=1)
    kind = getattr(nn, name)
    return kind(inplace=True) if "inplace" in inspect.signature(kind).parameters else kind()


class Convolution(nn.Conv2d):
    """A convolution with the norm and the activation that follow it; without norm it has a bias."""

    def __init__(self, channels, out, kernel=1, stride=1, padding=None, groups=1, norm=None, activation=None):
        """`padding` is None (kernel // 2), pixels on each side, or (before, after)."""
        before, after = padding if isinstance(padding, tuple) else 2 * [kernel // 2 if padding is None else padding]
        symmetric = before if before == after else 0
        super().__init__(channels, out, kernel, stride, symmetric, groups=groups, bias=norm is None)
        self.border = None if before == after else (before, after, before, after)
        self.norm = nn.Identity() if norm is None else nn.BatchNorm2d(out, **norm)
        self.activation = activation_of(activation)

    def reset_parameters(self):
        """He et al. 2015 by fan-out, as nasgen and torchvision initialise."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x):
        if self.border:
            x = F.pad(x, self.border)
        return self.activation(self.norm(super().forward(x)))


class Block(nn.Sequential):
    """Named layers one after the other; with `residual`, plus the input."""

    def __init__(self, layers, residual=False, drop=0.0):
        super().__init__(OrderedDict(layers))
        self.residual, self.drop = residual, drop

    def forward(self, x):
        y = super().forward(x)
        if not self.residual:
            return y
        if self.training and self.drop > 0:
            y = y * torch.empty((len(y), 1, 1, 1)).bernoulli_(1 - self.drop).div_(1 - self.drop)
        return x + y


class Gate(nn.Module):
    """Squeeze and excite (Hu et al. 2018)."""

    def __init__(self, channels, squeeze, inner, outer):
        super().__init__()
        self.squeeze = Convolution(channels, squeeze, activation=inner)
        self.excite = Convolution(squeeze, channels, activation=outer)

    def forward(self, x):
        return x * self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1)))


class ChannelAttention(nn.Module):
    """Efficient channel attention (Wang et al. 2020)."""

    def __init__(self, kernel, outer):
        super().__init__()
        self.convolution = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.activation = activation_of(outer)

    def forward(self, x):
        mean = F.adaptive_avg_pool2d(x, 1).flatten(2).transpose(1, 2)
        return x * self.activation(self.convolution(mean)).transpose(1, 2).unsqueeze(-1)


class FireUnit(nn.Module):
    def __init__(self, channels, squeeze, expand_1x1, expand_3x3):
        super().__init__()
        self.squeeze = Convolution(channels, squeeze, activation="ReLU")
        self.expand_1x1 = Convolution(squeeze, expand_1x1, activation="ReLU")
        self.expand_3x3 = Convolution(squeeze, expand_3x3, 3, activation="ReLU")

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([self.expand_1x1(x), self.expand_3x3(x)], dim=1)


class ShuffleUnit(nn.Module):
    """Ma et al. 2018, figure 3 (c) at stride 1 and (d) at stride 2."""

    def __init__(self, channels, out, stride, norm):
        super().__init__()
        half = out // 2
        entering = channels if stride == 2 else half
        self.left = None
        if stride == 2:
            depthwise = Convolution(channels, channels, 3, 2, groups=channels, norm=norm)
            project = Convolution(channels, half, norm=norm, activation="ReLU")
            self.left = Block({"depthwise": depthwise, "project": project})
        self.right = Block({
            "expand": Convolution(entering, half, norm=norm, activation="ReLU"),
            "depthwise": Convolution(half, half, 3, stride, groups=half, norm=norm),
            "project": Convolution(half, half, norm=norm, activation="ReLU"),
        })

    def forward(self, x):
        left, right = x.chunk(2, dim=1) if self.left is None else (self.left(x), x)
        both = torch.cat([left, self.right(right)], dim=1)
        # The shuffle as in torchvision: ONNX does not know torch's operator for it.
        return both.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class Add(nn.Module):
    def forward(self, first, *others):
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    def forward(self, *inputs):
        return torch.cat(inputs, dim=1)


# ---------------------------------------------------------------------------------------------
# Blocks: one function each, with the arguments of the spec in their order
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where a copy of a block stands."""

    channels: int
    first: bool
    last: bool
    width: float
    divisor: int
    round_up: bool
    norm: dict
    legacy_padding: bool

    def rounded(self, channels):
        channels *= self.width
        if self.round_up:
            return max(self.divisor, math.ceil(channels / self.divisor) * self.divisor)
        return nearest_multiple(channels, self.divisor)

    def padding(self, padding):
        return None if self.legacy_padding and padding == 0 else padding

    def convolution(self, channels, out, *args, norm=True, **named):
        """A convolution that has a norm with the network's settings unless told otherwise."""
        return Convolution(channels, out, *args, norm=self.norm if norm else None, **named)

    def depthwise(self, channels, *args, **named):
        return self.convolution(channels, channels, *args, groups=channels, **named)


def nearest_multiple(channels, divisor=8):
    """MobileNet's rule: the nearest multiple, but at least 0.9 of what was asked for."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def conv(site, out, kernel, stride=1, padding=None, groups=1, activation="ReLU", norm=True):
    return fixed_conv(site, site.rounded(out), kernel, stride, padding, groups, activation, norm)


def fixed_conv(site, out, kernel, stride=1, padding=None, groups=1, activation="ReLU", norm=True):
    stride, padding = stride if site.last else 1, site.padding(padding)
    layer = site.convolution(site.channels, out, kernel, stride, padding, groups, norm=norm, activation=activation)
    return Block({"conv": layer})


def dw_conv(site, out, kernel, stride=1, padding=None, activation="ReLU"):
    groups = math.gcd(site.channels, site.rounded(out))
    return conv(site, out, kernel, stride, padding, groups, activation)


def bottleneck(site, out, shortcut=True, groups=1, expansion=0.5, activation="ReLU"):
    out = site.rounded(out) if site.last else site.channels
    hidden = int(out * expansion)
    layers = {
        "reduce": site.convolution(site.channels, hidden, activation=activation),
        "filter": site.convolution(hidden, out, 3, groups=groups, activation="ReLU"),
    }
    return Block(layers, residual=shortcut and site.channels == out)


def res_bottleneck(site, out, shortcut=True, groups=1, expansion=0.5, activation="ReLU"):
    out = site.rounded(out) if site.last else site.channels
    hidden = int(out * expansion)
    layers = {
        "reduce": site.convolution(site.channels, hidden, activation=activation),
        "filter": site.convolution(hidden, hidden, 3, groups=groups, activation="ReLU"),
        "expand": site.convolution(hidden, out, activation=activation),
    }
    return Block(layers, residual=shortcut and site.channels == out)


def inverted_residual_v2(site, out, expansion, stride, attention=None):
    channels, out = site.channels, site.rounded(out)
    hidden, stride = round(channels * expansion), stride if site.first else 1
    layers = {}
    if expansion != 1:
        layers["expand"] = site.convolution(channels, hidden, activation="ReLU6")
    layers["depthwise"] = site.depthwise(hidden, 3, stride, activation="ReLU6")
    layers["project"] = site.convolution(hidden, out)
    if attention:
        layers["attention"] = attention
    return Block(layers, residual=stride == 1 and channels == out)


def eca_inverted_residual_v2(site, out, expansion, stride, attention_kernel):
    return inverted_residual_v2(site, out, expansion, stride, ChannelAttention(attention_kernel, "Sigmoid"))


def inverted_residual_v3(
    site, kernel, expansion, out, squeeze_excite, hard_swish, stride, gate_after_activation=False
):
    def gate(hidden):
        return {"gate": Gate(hidden, nearest_multiple(hidden // 4), "ReLU", "Hardsigmoid")} if squeeze_excite else {}

    return v3_body(site, kernel, expansion, out, gate, hard_swish, stride, gate_after_activation)


def eca_inverted_residual_v3(site, kernel, expansion, out, attention_kernel, hard_swish, stride):
    def attention(_):
        return {"attention": ChannelAttention(attention_kernel, "Hardsigmoid")}

    return v3_body(site, kernel, expansion, out, attention, hard_swish, stride, False)


def v3_body(site, kernel, expansion, out, gate, hard_swish, stride, gate_after_activation):
    channels, out = site.channels, site.rounded(out)
    hidden, stride = nearest_multiple(channels * expansion), stride if site.first else 1
    expands, activation = hidden != channels, "Hardswish" if hard_swish else "ReLU"
    gate_first = expands and not gate_after_activation
    layers = {}
    if expands:
        layers["expand"] = site.convolution(channels, hidden, activation=activation)
    layers["depthwise"] = site.depthwise(hidden, kernel, stride, activation=None if gate_first else activation)
    layers |= gate(hidden)
    if gate_first:
        layers["activation"] = activation_of(activation)
    layers["project"] = site.convolution(hidden, out)
    return Block(layers, residual=stride == 1 and channels == out)


def mbconv(site, expansion, out, stride, kernel, drop=0.0, padding="symmetric"):
    channels, hidden, stride = site.channels, int(site.channels * expansion), stride if site.first else 1
    layers = {}
    if hidden != channels:
        layers["expand"] = site.convolution(channels, hidden, activation="SiLU")
    sides = padding_of(padding, kernel, stride)
    layers["depthwise"] = site.depthwise(hidden, kernel, stride, sides, activation="SiLU")
    layers["gate"] = Gate(hidden, max(1, channels // 4), "SiLU", "Sigmoid")
    layers["project"] = site.convolution(hidden, site.rounded(out))
    return Block(layers, stride == 1 and channels == site.rounded(out), drop)


def fused_mbconv(site, expansion, out, stride, kernel, drop=0.0, padding="symmetric"):
    channels, hidden, stride = site.channels, int(site.channels * expansion), stride if site.first else 1
    sides = padding_of(padding, kernel, stride)
    layers = {
        "expand": site.convolution(channels, hidden, kernel, stride, sides, activation="SiLU"),
        "project": site.convolution(hidden, site.rounded(out)),
    }
    return Block(layers, stride == 1 and channels == site.rounded(out), drop)


def padding_of(rule, kernel, stride):
    if rule == "symmetric":
        return None
    if rule != "same":
        raise SpecError(f"padding is symmetric or same, got {rule}")
    total = max(kernel - stride, 0)
    return total // 2, total - total // 2


def fire(site, squeeze, expand_1x1, expand_3x3):
    return FireUnit(site.channels, squeeze, expand_1x1, expand_3x3)


def shuffle_net_v2(site, stride, out=None):
    own = site.channels if stride == 1 else 2 * site.channels
    return ShuffleUnit(site.channels, out or own, stride, site.norm)


def max_pool(_, kernel, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
    return nn.MaxPool2d(kernel, stride, padding, dilation, return_indices, ceil_mode)


def avg_pool(_, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad)


def linear(site, out, activation=None):
    return Block({"linear": nn.Linear(site.channels, out), "activation": activation_of(activation)})


def up_sample(_, size=None, scale_factor=None, mode="nearest"):
    return nn.Upsample(size, scale_factor or 2, mode)


BLOCKS = {
    "Add": lambda _: Add(),
    "AvgPool": avg_pool,
    "Bottleneck": bottleneck,
    "Concat": lambda _, dimension=1: Concat(),
    "Conv": conv,
    "DWConv": dw_conv,
    "Dropout": lambda _, probability: nn.Dropout(probability),
    "ECAInvertedResidualv2": eca_inverted_residual_v2,
    "ECAInvertedResidualv3": eca_inverted_residual_v3,
    "Fire": fire,
    "FixedConv": fixed_conv,
    "Flatten": lambda _: nn.Flatten(),
    "FusedMBConv": fused_mbconv,
    "GlobalAvgPool": lambda _, output=1: nn.AdaptiveAvgPool2d(output),
    "GlobalMaxPool": lambda _, output=1: nn.AdaptiveMaxPool2d(output),
    "Identity": lambda _: nn.Identity(),
    "InvertedResidualv2": inverted_residual_v2,
    "InvertedResidualv3": inverted_residual_v3,
    "Linear": linear,
    "MBConv": mbconv,
    "MaxPool": max_pool,
    "ResBottleneck": res_bottleneck,
    "ShuffleNetV2": shuffle_net_v2,
    "UpSample": up_sample,
}


# ---------------------------------------------------------------------------------------------
# Specs
# ---------------------------------------------------------------------------------------------

NETWORK_KEYS = {
    *("input_channel", "input_size", "depth_multiply", "depth_multiple", "width_multiply", "width_multiple"),
    *("channel_divisor", "norm", "legacy_padding", "backbone", "head"),
}
# What a spec may say beside its network; settings of the older Python project are in capitals.
OTHER_KEYS = {"train", "sample", "optimizer", "scheduler", "n_select"}


@dataclass(frozen=True)
class Row:
    sources: list
    repeat: int
    block: str
    positional: list
    named: dict
    in_head: bool

    @classmethod
    def read(cls, columns, in_head):
        if not isinstance(columns, list) or not 3 <= len(columns) <= 5:
            raise SpecError(f"a row is [repeat, module, args] or [from, repeat, module, args, named], got {columns}")
        sources = columns[0] if len(columns) > 3 else -1
        repeat, block, *arguments = columns[1:] if len(columns) > 3 else columns
        positional, named = [], {}
        for values in arguments:
            if isinstance(values, dict):
                named |= values
            elif values is not None:
                positional = [value[0] if isinstance(value, list) else value for value in values]
        return cls(sources if isinstance(sources, list) else [sources], repeat, block, positional, named, in_head)


class Copies(nn.Sequential):
    """The copies of a row; only the first one can have several inputs."""

    def forward(self, *inputs):
        first, *others = self
        value = first(*inputs)
        for copy in others:
            value = copy(value)
        return value


class Network(nn.Module):
    """The network of a spec (the parsed YAML) for images of `input_shape` = (C, H, W)."""

    def __init__(self, spec, input_shape):
        super().__init__()
        unknown = [key for key in spec if key not in NETWORK_KEYS | OTHER_KEYS and not key.isupper()]
        if unknown:
            raise SpecError(f"unknown keys: {', '.join(unknown)}")
        sections = [(key, spec.get(key) or []) for key in ("backbone", "head")]
        rows = [Row.read(columns, key == "head") for key, section in sections for columns in section]
        kindle = any(len(columns) > 3 for _, section in sections for columns in section)

        self.sources = [[index + s if s < 0 else s for s in row.sources] for index, row in enumerate(rows)]
        last_reader = {source: index for index, sources in enumerate(self.sources) for source in sources}
        # What no later row reads; kept, it would hold memory that PyTorch's users would have free.
        self.done_after = [[s for s, at in last_reader.items() if at == index] for index in range(len(rows))]
        self.backbone = nn.ModuleList()
        self.rows = []
        # One image through the rows so far tells the next one the shape that it reads.
        values = {-1: torch.zeros(1, *input_shape)}
        if not rows:
            raise SpecError("no rows under `backbone`")
        for index, row in enumerate(rows):
            unknown = [source for source in self.sources[index] if source not in values]
            if unknown:
                raise SpecError(f"row {index} {row.block}: `from` {unknown[0]} is no earlier row")
            inputs = [values[source] for source in self.sources[index]]
            try:
                copies = copies_of(row, spec, kindle and row.in_head, kindle, inputs)
            except (SpecError, TypeError, ValueError, RuntimeError) as error:
                raise SpecError(f"row {index} {row.block}: {error}") from error
            values[index], costs = run_and_count(copies, inputs)
            self.backbone.append(copies)
            self.rows.append({"module": row.block, **costs, "output": list(values[index].shape[1:])})
        self.output_shape = list(values[len(rows) - 1].shape[1:])
        self.train()

    def forward(self, image):
        values = {-1: image}
        for index, row in enumerate(self.backbone):
            value = row(*[values[source] for source in self.sources[index]])
            for source in self.done_after[index]:
                del values[source]
            values[index] = value
        return value


def copies_of(row, spec, without_multiples, kindle, inputs):
    """The copies of `row`; no multiple applies to the head of a spec in kindle's form."""

    def multiple(name):
        return 1.0 if without_multiples else spec.get(f"{name}_multiply", spec.get(f"{name}_multiple", 1.0))

    if row.block not in BLOCKS:
        raise SpecError(f"unknown block; there are {', '.join(BLOCKS)}")
    generator = BLOCKS[row.block]
    count = max(round(row.repeat * multiple("depth")), 1) if row.repeat > 1 else 1
    copies = Copies()
    for index in range(count):
        site = Site(
            channels=inputs[0].shape[1],
            first=index == 0,
            last=index == count - 1,
            width=multiple("width"),
            divisor=1 if without_multiples else spec.get("channel_divisor", 8),
            round_up=kindle,
            norm=spec.get("norm") or {},
            legacy_padding=spec.get("legacy_padding", False),
        )
        copies.append(generator(site, *row.positional, **row.named))
        with torch.no_grad():
            inputs = [copies[index].eval()(*inputs)]
    return copies


def run_and_count(row, inputs):
    """What `row` makes of the inputs, and its parameters and multiply-adds for one image."""
    macs = 0

    def count(layer, _, result):
        nonlocal macs
        macs += result.numel() * layer.weight[0].numel()

    counted = [layer for layer in row.modules() if isinstance(layer, (nn.Conv2d, nn.Conv1d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in counted]
    with torch.no_grad():
        output = row.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return output, {"params": sum(parameter.numel() for parameter in row.parameters()), "macs": macs}


def build(config, input_shape):
    """The network of the spec in the file `config`, in training mode."""
    spec = yaml.safe_load(Path(config).read_text())
    if not isinstance(spec, dict):
        raise SpecError(f"{config}: a spec is a map with `backbone`")
    return Network(spec, input_shape)


def parse_shape(text):
    """`3x32x32` as a tuple."""
    channels, height, width = map(int, text.split("x"))
    return channels, height, width


def main():
    parser = argparse.ArgumentParser(description="Prints the rows of each spec's network in PyTorch as JSON.")
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--input", type=parse_shape, default=(3, 32, 32), metavar="CxHxW")
    arguments = parser.parse_args()
    for config in arguments.configs:
        try:
            print(json.dumps({"layers": build(config, arguments.input).rows}))
        except SpecError as error:
            print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()

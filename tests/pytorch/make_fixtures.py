"""Writes the reference values that the tests compare nasgen with.

    pip install torch torchvision timm kindle safetensors
    python tests/pytorch/make_fixtures.py [--published DIR]

Nothing here defines a block: every module comes from a library that others wrote and use.

* torchvision: the inverted residuals, MBConv, FusedMBConv, Fire, the ShuffleNetV2 unit, and the
  convolution with explicit padding or without norm.
* timm: padding `same` on images of even size, and FusedMBConv with expansion 1.
* kindle: Conv, DWConv, Linear, pools, Add, Concat, UpSample, Flatten, Identity.
* torch.nn: pools with an output size, single activations.
* `--published DIR`: the Python project that the published configs were written for. DIR holds its
  `src/modules` and `src/utils`. Its generators build a whole row (repeats, strides, rounding), so
  they decide Bottleneck, ResBottleneck, FixedConv, the ECA blocks, the InvertedResidualv3 with its
  gate before the activation, and MBConv with padding `same` on images of odd size. To get DIR,
  take `src` of github.com/boostcampaitech2/model-optimization-level3-cv-04 and put into its
  `modules` the files eca.py, eca_invertedresidualv2.py and eca_invertedresidualv3.py of
  github.com/boostcampaitech2/model-optimization-level3-nlp-02. Without `--published` the files of
  the cases that only it decides stay as they are.

Where a case lists several sources, the first one that is at hand writes the file and the others
must agree with it in every output and gradient, to 1e-7 (torch's own hard-sigmoid has its 1/6 as a
float32).

All is computed in float64 from values that float32 represents, and stored as float32. The same
torch version gives the same bytes again.

A file `fixtures/blocks/<Block>-<case>.safetensors` holds, with the layouts of PyTorch:
`input` (several: `input.0`, ...), `output_eval`, `output_train`, `grad_output` (the cotangent of
output_train), `grad_input`, `weight/<name>` before the step, `grad/<name>` of every parameter,
`after/<name>` of the running statistics after one forward pass in training mode, where <name> is
`<copy>.<label>.<tensor>`; and the metadata `block`, `args` (JSON), `repeat`, `width_multiply`,
`source`.
"""

import argparse
import copy
import importlib
import json
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import kindle.generator
import safetensors.torch
import torch
from timm.models import _efficientnet_blocks as timm_blocks
from torch import nn
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3, shufflenetv2, squeezenet
from torchvision.models._utils import _make_divisible
from torchvision.ops import Conv2dNormActivation

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LARGEST_TOTAL = 2_000_000


# ---------------------------------------------------------------------------------------------
# Cases
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One row of a network over one input (or, for Add and Concat, several)."""

    block: str
    name: str
    args: list
    shapes: list
    sources: tuple
    repeat: int = 1
    width: float = 1.0
    values: str = "normal"

    @property
    def file(self):
        return FIXTURES / "blocks" / f"{self.block}-{self.name}.safetensors"

    @property
    def channels(self):
        return self.shapes[0][1]

    def rounded(self, channels):
        """Output channels under the width multiple, by torchvision's copy of MobileNet's rule."""
        return _make_divisible(channels * self.width, 8)

    def argument(self, index, default):
        return self.args[index] if len(self.args) > index else default


# ---------------------------------------------------------------------------------------------
# Sources: each takes a case and returns (module, where it is from), or None if it is not at hand
# ---------------------------------------------------------------------------------------------


class Published:
    """The Python project's generators, once `--published` has named their directory."""

    modules = None

    @classmethod
    def open(cls, directory):
        sys.path.insert(0, str(directory))
        cls.modules = importlib.import_module("src.modules")
        # The generators look their blocks up in src.modules; some copies do not list all of them.
        for path in sorted((directory / "src/modules").glob("*.py")):
            module = importlib.import_module(f"src.modules.{path.stem}")
            for name, value in vars(module).items():
                if isinstance(value, type) and value.__module__ == module.__name__:
                    if not hasattr(cls.modules, name):
                        setattr(cls.modules, name, value)

    @classmethod
    def build(cls, case, arguments):
        if cls.modules is None:
            return None
        generator = getattr(cls.modules, f"{case.block}Generator")
        module = generator(case.channels, *case.args[:arguments], width_multiply=case.width)(case.repeat)
        file = sys.modules[generator.__module__].__name__.replace(".", "/")
        return module, f"the Python project's {file}.py"


def published(case):
    return Published.build(case, None)


def published_first(arguments):
    """The published generator, which knows fewer arguments than nasgen."""
    return lambda case: Published.build(case, arguments)


def from_kindle(case):
    generator = getattr(kindle.generator, f"{case.block}Generator")
    several = len(case.shapes) > 1
    built = generator(
        *case.args,
        from_idx=list(range(len(case.shapes))) if several else 0,
        in_channels=tuple(shape[1] for shape in case.shapes),
        width_multiply=case.width,
    )
    return built(case.repeat), f"kindle.generator.{case.block}Generator"


def repeated(case, source, unit, out, stride):
    """Copies of a unit as torchvision's networks repeat them: the stride on the first only."""
    units, channels = [], case.channels
    for index in range(case.repeat):
        units.append(unit(channels, out, stride if index == 0 else 1))
        channels = out
    return (units[0] if case.repeat == 1 else nn.Sequential(*units)), source


def torchvision_conv(case):
    """Only one copy, without null padding (which is another number there for even kernels)."""
    out, kernel, stride, padding, groups, activation, norm = (*case.args, True)[:7]
    assert case.repeat == 1 and (padding is not None or kernel % 2 == 1)
    module = Conv2dNormActivation(
        case.channels,
        case.rounded(out) if case.block == "Conv" else out,
        kernel,
        stride,
        padding,
        groups,
        norm_layer=nn.BatchNorm2d if norm else None,
        activation_layer=None if activation is None else getattr(nn, activation),
        inplace=None,
    )
    return module, "torchvision.ops.Conv2dNormActivation"


def torchvision_v2(case):
    out, expansion, stride = case.args

    def unit(channels, out, stride):
        return mobilenetv2.InvertedResidual(channels, out, stride, expansion, nn.BatchNorm2d)

    source = "torchvision.models.mobilenetv2.InvertedResidual"
    return repeated(case, source, unit, case.rounded(out), stride)


def torchvision_v3(case):
    kernel, expansion, out, gate, hard_swish, stride = case.args[:6]
    gate_after_activation = case.argument(6, False)

    def unit(channels, out, stride):
        config = mobilenetv3.InvertedResidualConfig(
            channels, kernel, channels * expansion, out, bool(gate), "HS" if hard_swish else "RE", stride, 1, 1.0
        )
        same_hidden = config.expanded_channels == config.input_channels
        assert not gate or same_hidden or gate_after_activation, "torchvision's gate follows the activation"
        return mobilenetv3.InvertedResidual(config, nn.BatchNorm2d)

    source = "torchvision.models.mobilenetv3.InvertedResidual"
    return repeated(case, source, unit, case.rounded(out), stride)


def torchvision_mbconv(case):
    expansion, out, stride, kernel = case.args[:4]

    def unit(channels, out, stride):
        config = efficientnet.MBConvConfig(expansion, kernel, stride, channels, out, 1)
        assert config.input_channels == channels
        return efficientnet.MBConv(config, 0.0, nn.BatchNorm2d)

    assert case.argument(5, "symmetric") == "symmetric" or stride == 1
    return repeated(case, "torchvision.models.efficientnet.MBConv", unit, case.rounded(out), stride)


def torchvision_fused(case):
    expansion, out, stride, kernel = case.args[:4]

    def unit(channels, out, stride):
        config = efficientnet.FusedMBConvConfig(expansion, kernel, stride, channels, out, 1)
        return efficientnet.FusedMBConv(config, 0.0, nn.BatchNorm2d)

    assert expansion != 1, "at 1 torchvision leaves the second convolution out"
    return repeated(case, "torchvision.models.efficientnet.FusedMBConv", unit, case.rounded(out), stride)


def timm_padding(case, stride):
    """timm's `same` follows TensorFlow, which on even images is kernel - stride in all."""
    if case.argument(5, "symmetric") == "symmetric":
        return ""
    assert all(size % stride == 0 for size in case.shapes[0][2:])
    return "same"


def timm_mbconv(case):
    expansion, out, stride, kernel = case.args[:4]

    def unit(channels, out, stride):
        return timm_blocks.InvertedResidual(
            channels,
            out,
            kernel,
            stride,
            pad_type=timm_padding(case, stride),
            exp_ratio=expansion,
            act_layer=nn.SiLU,
            norm_layer=nn.BatchNorm2d,
            se_layer=partial(timm_blocks.SqueezeExcite, rd_channels=channels // 4),
        )

    assert expansion != 1, "at 1 timm has an expanding convolution"
    return repeated(case, "timm.models._efficientnet_blocks.InvertedResidual", unit, case.rounded(out), stride)


def timm_fused(case):
    expansion, out, stride, kernel = case.args[:4]

    def unit(channels, out, stride):
        return timm_blocks.EdgeResidual(
            channels,
            out,
            kernel,
            stride,
            pad_type=timm_padding(case, stride),
            exp_ratio=expansion,
            act_layer=nn.SiLU,
            norm_layer=nn.BatchNorm2d,
        )

    return repeated(case, "timm.models._efficientnet_blocks.EdgeResidual", unit, case.rounded(out), stride)


def torchvision_fire(case):
    squeeze, one, three = case.args

    def unit(channels, _out, _stride):
        return squeezenet.Fire(channels, squeeze, one, three)

    return repeated(case, "torchvision.models.squeezenet.Fire", unit, one + three, 1)


def torchvision_shuffle(case):
    stride, out = case.args[0], case.argument(1, None)
    units, channels = [], case.channels
    for _ in range(case.repeat):
        after = out or (channels if stride == 1 else 2 * channels)
        units.append(shufflenetv2.InvertedResidual(channels, after, stride))
        channels = after
    module = units[0] if case.repeat == 1 else nn.Sequential(*units)
    return module, "torchvision.models.shufflenetv2.InvertedResidual"


def torch_nn(name):
    """A class of torch.nn with the arguments of the row."""
    return lambda case: (getattr(nn, name)(*(case.args or [1])), f"torch.nn.{name}")


# ---------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------


def conv_cases():
    def conv(name, args, shape, sources=(from_kindle, published), **more):
        return Case("Conv", name, args, [shape], sources, **more)

    yield conv("k3", [8, 3, 1], (2, 4, 5, 4))
    yield conv("defaults", [8, 3], (2, 3, 5, 6))
    yield conv("k3-s2", [8, 3, 2], (2, 4, 7, 4))
    yield conv("k5-s2-repeat2", [8, 5, 2], (2, 3, 5, 6), repeat=2)
    yield conv("k3-s2-repeat3", [8, 3, 2], (2, 3, 5, 4), repeat=3)
    yield conv("repeat2-defaults", [8, 3], (2, 3, 4, 3), (from_kindle,), repeat=2)
    yield conv("k5-padding1", [8, 5, 1, 1], (2, 3, 6, 5))
    yield conv("k5-s2-padding3", [8, 5, 2, 3], (2, 3, 7, 6))
    yield conv("k3-padding0", [8, 3, 1, 0, 1, "ReLU"], (2, 4, 7, 6), (torchvision_conv,))
    yield conv("k3-s2-padding0", [8, 3, 2, 0, 1, "ReLU"], (2, 4, 8, 7), (torchvision_conv,))
    yield conv("k3-padding-list0", [8, 3, 1, [0]], (2, 3, 6, 5), (published,))
    yield conv("k3-padding-list2", [8, 3, 1, [2]], (2, 3, 4, 3), (published,))
    yield conv("k2", [8, 2, 1], (2, 4, 5, 6))
    yield conv("k4-s2", [8, 4, 2], (2, 4, 7, 6))
    yield conv("k3-groups2", [16, 3, 1, None, 2], (2, 6, 4, 3))
    yield conv("k3-groups4-s2-repeat2", [8, 3, 2, None, 4], (2, 8, 7, 5), repeat=2)
    # 17 / 2 = 8.5 is nearer to 8; 19 / 2 = 9.5 is too, but that is below 0.9 of it.
    yield conv("width-half-17", [17, 3, 1], (2, 3, 4, 3), (published,), width=0.5)
    yield conv("width-half-19", [19, 3, 1], (2, 3, 4, 3), (published,), width=0.5)
    yield conv("width-half-4", [4, 3, 1], (2, 3, 4, 3), width=0.5)

    for name in ["ReLU6", "Hardswish", "SiLU", "Sigmoid", "Hardsigmoid", "GELU", "LeakyReLU", "ELU", "Mish", "Tanh"]:
        yield conv(f"activation-{name}", [8, 1, 1, None, 1, name], (2, 3, 4, 3))
    yield conv("activation-Softmax", [8, 1, 1, None, 1, "Softmax"], (2, 3, 5, 4))
    yield conv("activation-null", [8, 3, 1, None, 1, None], (2, 3, 5, 4))
    for name in ["HardSwish", "Swish", "HardSigmoid"]:
        yield conv(f"spelling-{name}", [8, 1, 1, None, 1, name], (2, 3, 4, 3), (published,))

    yield conv("no-norm", [8, 3, 1, None, 1, "ReLU", False], (2, 4, 5, 6), (torchvision_conv,))
    yield conv("no-norm-s2-groups2-null", [8, 5, 2, None, 2, None, False], (2, 4, 7, 6), (torchvision_conv,))

    def fixed(name, args, shape, sources=(published,), **more):
        return Case("FixedConv", name, args, [shape], sources, **more)

    yield fixed("k1-null", [5, 1, 1, None, 1, None], (6, 8, 1, 1))
    yield fixed("width-half", [10, 3, 1], (2, 4, 5, 6), width=0.5)
    yield fixed("s2-repeat2", [6, 3, 2], (2, 4, 7, 6), repeat=2)
    yield fixed("groups-padding", [6, 3, 1, 2, 2, "SiLU"], (2, 4, 4, 5))
    yield fixed("no-norm", [10, 1, 1, None, 1, "ReLU", False], (2, 8, 4, 3), (torchvision_conv,))

    def depthwise(name, args, shape, sources=(from_kindle, published), **more):
        return Case("DWConv", name, args, [shape], sources, **more)

    yield depthwise("same-channels", [8, 3, 1], (2, 8, 5, 4))
    yield depthwise("defaults", [8, 3], (2, 8, 5, 5))
    yield depthwise("gcd", [8, 3, 1], (2, 12, 4, 5))
    yield depthwise("gcd-1", [8, 3, 1], (2, 3, 5, 6))
    yield depthwise("s2-repeat2", [8, 3, 2], (2, 12, 5, 6), repeat=2)
    yield depthwise("k5-s2-padding1-Hardswish", [8, 5, 2, 1, "Hardswish"], (2, 8, 7, 6))
    yield depthwise("null", [8, 3, 1, None, None], (2, 8, 5, 5))
    yield depthwise("width-half", [17, 3, 1], (2, 8, 4, 3), (published,), width=0.5)


def bottleneck_cases():
    for block in ["Bottleneck", "ResBottleneck"]:

        def row(name, args, shape, sources=(published,), **more):
            return Case(block, name, args, [shape], sources, **more)

        # kindle gives the 3x3 the activation too; that of ReLU is the same.
        agreeing = (from_kindle, published) if block == "Bottleneck" else (published,)
        yield row("defaults", [8], (2, 8, 4, 3), agreeing)
        yield row("no-shortcut", [8, False], (2, 8, 4, 3), agreeing)
        yield row("other-channels", [8, True], (2, 4, 4, 3), agreeing)
        yield row("groups2", [8, True, 2], (2, 8, 4, 3), agreeing)
        yield row("expansion1", [8, True, 1, 1.0], (2, 8, 4, 3), agreeing)
        # int(8 * 0.7) is 5, the nearest would be 6.
        yield row("expansion-fraction", [8, True, 1, 0.7], (2, 8, 4, 3), agreeing)
        yield row("Hardswish", [8, True, 1, 0.5, "Hardswish"], (2, 8, 4, 3))
        yield row("null", [8, True, 1, 0.5, None], (2, 8, 4, 3))
        # The copies before the last have int(5 * 0.5) hidden channels and a shortcut.
        yield row("repeat2", [8, True, 1, 0.5], (2, 5, 4, 3), repeat=2)
        yield row("repeat3-no-shortcut", [8, False, 1, 0.5], (2, 6, 4, 3), repeat=3)
        yield row("repeat2-width-half", [17, True, 2, 1.0, "SiLU"], (2, 4, 4, 3), repeat=2, width=0.5)


def inverted_residual_v2_cases():
    def row(name, args, shape, sources=(torchvision_v2, published), **more):
        return Case("InvertedResidualv2", name, args, [shape], sources, **more)

    yield row("t1-residual", [8, 1, 1], (2, 8, 5, 4))
    yield row("t1-s2", [16, 1, 2], (2, 8, 7, 5))
    yield row("t1-other-channels", [16, 1, 1], (2, 8, 4, 3))
    yield row("t6-residual", [8, 6, 1], (2, 8, 3, 3))
    yield row("t6-other-channels", [8, 6, 1], (2, 4, 5, 4))
    yield row("t3-s2-same-channels", [8, 3, 2], (2, 8, 6, 3))
    yield row("t3-s2-repeat2", [8, 3, 2], (2, 4, 5, 6), repeat=2)
    yield row("t2-s1-repeat2", [8, 2, 1], (2, 4, 5, 4), repeat=2)
    yield row("t1.5", [8, 1.5, 1], (2, 8, 4, 5))
    # round(4.5) is 4 and round(2.5) is 2: half to even.
    yield row("t1.5-half-to-even", [8, 1.5, 1], (2, 3, 5, 6))
    yield row("t0.5-half-to-even", [8, 0.5, 2], (2, 5, 7, 6))
    yield row("width-half", [17, 2, 1], (2, 8, 4, 3), width=0.5)

    def eca(name, args, shape, **more):
        return Case("ECAInvertedResidualv2", name, args, [shape], (published,), **more)

    yield eca("t1-residual-k3", [8, 1, 1, 3], (2, 8, 5, 4))
    yield eca("t3-residual-k5", [8, 3, 1, 5], (2, 8, 4, 3))
    yield eca("t2-other-channels-k1", [16, 2, 1, 1], (2, 8, 4, 3))
    yield eca("t3-s2-repeat2-k3", [8, 3, 2, 3], (2, 4, 5, 4), repeat=2)
    yield eca("t1.5-width-half-k5", [17, 1.5, 1, 5], (2, 3, 5, 4), width=0.5)


def inverted_residual_v3_cases():
    def row(name, args, shape, sources, **more):
        return Case("InvertedResidualv3", name, args, [shape], sources, **more)

    before, after = published_first(6), torchvision_v3
    for expansion, gate, hard_swish, stride in product((1, 2), (0, 1), (0, 1), (1, 2)):
        name = f"t{expansion}-{'gate' if gate else 'plain'}-{'hswish' if hard_swish else 'relu'}-s{stride}"
        shape, args = (2, 8, 4, 3), [3, expansion, 8, gate, hard_swish, stride]
        yield row(name, args, shape, (before,) if gate and expansion > 1 else (after, before))
        if gate and expansion > 1:
            yield row(f"{name}-gate-after", [*args, True], shape, (after,))

    yield row("t1-gate-after", [3, 1, 8, 1, 1, 1, True], (2, 8, 5, 4), (after, before))
    yield row("k5-other-channels", [5, 3, 8, 1, 1, 1], (2, 5, 5, 4), (before,))
    yield row("k7-s2", [7, 2, 8, 0, 1, 2], (2, 8, 5, 3), (after, before))
    # 8.8 is rounded to the 8 of the input, so that nothing expands; 18.4 to 24, as 16 is too small.
    yield row("t1.1-not-expanded", [3, 1.1, 8, 1, 0, 1], (2, 8, 5, 4), (after, before))
    yield row("t2.3", [3, 2.3, 8, 0, 0, 1], (2, 8, 4, 3), (after, before))
    # 40 / 4 = 10 is squeezed to 16, as 8 is below 0.9 of it.
    yield row("t10-squeeze16", [3, 10, 8, 1, 0, 1], (2, 4, 3, 3), (before,))
    yield row("t1.5-of-3", [3, 1.5, 8, 1, 0, 1], (2, 3, 5, 6), (before,))
    yield row("s2-repeat2", [3, 2, 8, 1, 1, 2], (2, 4, 5, 6), (before,), repeat=2)
    yield row("s2-repeat2-gate-after", [3, 2, 8, 1, 1, 2, True], (2, 8, 5, 4), (after,), repeat=2)
    yield row("width-half", [3, 2, 17, 0, 1, 1], (2, 8, 5, 4), (after, before), width=0.5)

    def eca(name, args, shape, **more):
        return Case("ECAInvertedResidualv3", name, args, [shape], (published,), **more)

    yield eca("t1-relu-s1", [3, 1, 8, 3, 0, 1], (2, 8, 5, 4))
    yield eca("t1-hswish-s2", [3, 1, 8, 3, 1, 2], (2, 8, 5, 6))
    yield eca("t2-relu-s2", [3, 2, 8, 3, 0, 2], (2, 8, 5, 6))
    yield eca("t2-hswish-s1", [3, 2, 8, 3, 1, 1], (2, 8, 5, 4))
    yield eca("k5-attention5-s2-repeat2-width-half", [5, 2.3, 17, 5, 1, 2], (2, 4, 5, 6), repeat=2, width=0.5)


def mbconv_cases():
    def row(name, args, shape, sources, **more):
        return Case("MBConv", name, args, [shape], sources, **more)

    symmetric, project = (torchvision_mbconv,), published_first(4)
    yield row("t1-residual", [1, 8, 1, 3], (2, 8, 5, 4), (torchvision_mbconv, project))
    yield row("t4-residual", [4, 8, 1, 3], (2, 8, 4, 3), (torchvision_mbconv, timm_mbconv, project))
    yield row("t2-other-channels-k5", [2, 16, 1, 5], (2, 8, 3, 4), (torchvision_mbconv, project))
    yield row("t1-s2-k3", [1, 16, 2, 3], (2, 8, 7, 4), symmetric)
    yield row("t3-s2-k3", [3, 8, 2, 3], (2, 8, 6, 4), (torchvision_mbconv, timm_mbconv))
    yield row("t2-s2-k5", [2, 8, 2, 5], (2, 8, 7, 5), symmetric)
    yield row("t2-s2-k3-repeat2", [2, 8, 2, 3], (2, 8, 5, 4), symmetric, repeat=2)
    yield row("t2-width-half", [2, 17, 1, 3, 0, "symmetric"], (2, 8, 4, 3), (torchvision_mbconv, project), width=0.5)
    # The gate squeezes 3 // 4 = 0 channels to one.
    yield row("t4-of-3", [4, 8, 1, 3], (2, 3, 5, 4), (project,))
    yield row("same-t1-residual", [1, 8, 1, 5, 0, "same"], (2, 8, 4, 3), (torchvision_mbconv, project))
    yield row("same-t3-s2-k3", [3, 8, 2, 3, 0, "same"], (2, 8, 6, 4), (timm_mbconv, project))
    yield row("same-t3-s2-k5", [3, 8, 2, 5, 0, "same"], (2, 8, 6, 4), (timm_mbconv, project))
    yield row("same-t2-s2-k3-odd", [2, 8, 2, 3, 0, "same"], (2, 6, 9, 5), (project,))
    yield row("same-t2-s2-k5-odd", [2, 8, 2, 5, 0, "same"], (2, 6, 5, 7), (project,))
    yield row("same-t2-s2-k3-repeat2", [2, 8, 2, 3, 0, "same"], (2, 4, 7, 5), (project,), repeat=2)

    def fused(name, args, shape, sources=(torchvision_fused, timm_fused), **more):
        return Case("FusedMBConv", name, args, [shape], sources, **more)

    yield fused("t2-residual", [2, 8, 1, 3], (2, 8, 4, 3))
    yield fused("t2-other-channels-k5", [2, 8, 1, 5], (2, 4, 4, 5), (timm_fused,))
    yield fused("t2-s2-k3", [2, 8, 2, 3], (2, 8, 5, 4))
    yield fused("t2-s2-k3-repeat2", [2, 8, 2, 3], (2, 4, 7, 6), (timm_fused,), repeat=2)
    yield fused("t1-residual", [1, 8, 1, 3], (2, 8, 4, 5), (timm_fused,))
    yield fused("same-t2-s2-k3", [2, 8, 2, 3, 0, "same"], (2, 4, 8, 6), (timm_fused,))
    yield fused("same-t2-s2-k5", [2, 8, 2, 5, 0, "same"], (2, 4, 6, 4), (timm_fused,))
    yield fused("width-half", [2, 17, 1, 3], (2, 8, 4, 3), width=0.5)


def other_cases():
    def fire(name, args, shape, sources=(torchvision_fire,), **more):
        return Case("Fire", name, args, [shape], sources, **more)

    yield fire("plain", [4, 6, 8], (2, 5, 5, 4))
    yield fire("repeat2", [4, 8, 4], (2, 6, 4, 5), repeat=2)
    yield fire("width-half", [4, 6, 5], (2, 3, 5, 6), width=0.5)

    def shuffle(name, args, shape, sources=(torchvision_shuffle, published), **more):
        return Case("ShuffleNetV2", name, args, [shape], sources, **more)

    yield shuffle("s1", [1], (2, 8, 5, 4))
    yield shuffle("s1-repeat2", [1], (2, 8, 4, 5), repeat=2)
    yield shuffle("s2", [2], (2, 6, 9, 6))
    yield shuffle("s2-repeat2", [2], (2, 4, 7, 5), repeat=2)
    yield shuffle("s2-out", [2, 10], (2, 6, 5, 4), (torchvision_shuffle,))
    yield shuffle("s2-out-repeat2", [2, 6], (2, 4, 7, 8), (torchvision_shuffle,), repeat=2)

    def pool(block, name, args, shape, sources=(from_kindle, published), values="ties", **more):
        return Case(block, name, args, [shape], sources, values=values, **more)

    yield pool("MaxPool", "k2", [2], (2, 3, 7, 6))
    yield pool("MaxPool", "k2-s1", [2, 1], (2, 3, 5, 6))
    yield pool("MaxPool", "k3-s2-p1", [3, 2, 1], (2, 3, 8, 7))
    yield pool("MaxPool", "k3-s2-p1-negative", [3, 2, 1], (2, 3, 7, 6), values="negative ties")
    yield pool("MaxPool", "k3-s2-ceil", [3, 2, 0, 1, False, True], (2, 3, 8, 6))
    yield pool("MaxPool", "k3-s2-p1-ceil", [3, 2, 1, 1, False, True], (2, 3, 8, 7), values="negative ties")
    # By ceil alone a third window would begin in the padding after the image; it is left out.
    yield pool("MaxPool", "k2-s3-p1-ceil", [2, 3, 1, 1, False, True], (2, 3, 5, 5))
    yield pool("MaxPool", "k3-s1-p1-dilation2", [3, 1, 1, 2], (2, 3, 7, 6))
    yield pool("MaxPool", "k3-s2-p1-dilation2-ceil", [3, 2, 1, 2, False, True], (2, 3, 8, 9))
    yield pool("MaxPool", "k3-s2-p1-repeat2", [3, 2, 1], (2, 3, 9, 8), repeat=2)

    yield pool("AvgPool", "k2", [2], (2, 3, 7, 6), values="normal")
    yield pool("AvgPool", "k3-s2-p1", [3, 2, 1], (2, 3, 8, 7), values="normal")
    yield pool("AvgPool", "k3-s2-p1-exclude", [3, 2, 1, False, False], (2, 3, 8, 7), values="normal")
    yield pool("AvgPool", "k3-s2-p1-ceil", [3, 2, 1, True, True], (2, 3, 8, 6), values="normal")
    yield pool("AvgPool", "k3-s2-p1-ceil-exclude", [3, 2, 1, True, False], (2, 3, 8, 6), values="normal")
    yield pool("AvgPool", "k3-s2-ceil", [3, 2, 0, True], (2, 3, 8, 6), values="normal")
    yield pool("AvgPool", "k2-s3-p1-ceil", [2, 3, 1, True, True], (2, 3, 5, 5), values="normal")
    yield pool("AvgPool", "k3-s1-p1-repeat2", [3, 1, 1], (2, 3, 5, 6), values="normal", repeat=2)

    average, largest = torch_nn("AdaptiveAvgPool2d"), torch_nn("AdaptiveMaxPool2d")
    yield pool("GlobalAvgPool", "default", [], (2, 5, 7, 6), (from_kindle, average, published), "normal")
    yield pool("GlobalAvgPool", "2", [2], (2, 4, 7, 5), (average, published), "normal")
    yield pool("GlobalAvgPool", "3", [3], (2, 4, 7, 8), (average, published), "normal")
    yield pool("GlobalMaxPool", "default", [], (2, 8, 5, 6), (largest,))
    yield pool("GlobalMaxPool", "2", [2], (2, 4, 5, 7), (largest,))

    def joining(block, name, args, shapes, sources=(from_kindle,), **more):
        return Case(block, name, args, shapes, sources, **more)

    shape = (2, 3, 4, 5)
    yield joining("Linear", "plain", [10], [(3, 12)], (from_kindle, published))
    yield joining("Linear", "ReLU", [10, "ReLU"], [(3, 12)], (from_kindle, published))
    yield joining("Linear", "Softmax", [6, "Softmax"], [(3, 12)], (from_kindle, published))
    yield joining("Linear", "width-half", [10, None], [(3, 7)], (from_kindle, published), width=0.5)
    yield joining("Add", "2", [], [shape] * 2)
    yield joining("Add", "3", [], [shape] * 3)
    yield joining("Concat", "2", [], [shape, (2, 5, 4, 5)])
    yield joining("Concat", "3", [1], [shape, (2, 1, 4, 5), (2, 2, 4, 5)])
    yield joining("Identity", "plain", [], [shape])
    yield joining("UpSample", "default", [], [shape])
    yield joining("UpSample", "3", [None, 3, "nearest"], [(2, 3, 2, 3)])
    yield joining("Flatten", "plain", [], [shape], (from_kindle, published))


def cases():
    yield from conv_cases()
    yield from bottleneck_cases()
    yield from inverted_residual_v2_cases()
    yield from inverted_residual_v3_cases()
    yield from mbconv_cases()
    yield from other_cases()


# ---------------------------------------------------------------------------------------------
# Names of the tensors
# ---------------------------------------------------------------------------------------------

V2 = ["expand", "expand.norm", "depthwise", "depthwise.norm", "project", "project.norm"]
GATE = ["gate.squeeze", "gate.excite"]
ATTENTION = ["attention.convolution"]
RIGHT = [f"right.{label}" for label in V2]

# The layers with weights, in the order in which all sources define them. A block whose layers
# depend on its arguments has several lists; number and kind of the layers tell which one it is.
LABELS = {
    "Conv": [["conv", "conv.norm"], ["conv"]],
    "FixedConv": [["conv", "conv.norm"], ["conv"]],
    "DWConv": [["conv", "conv.norm"]],
    "Bottleneck": [["reduce", "reduce.norm", "filter", "filter.norm"]],
    "ResBottleneck": [["reduce", "reduce.norm", "filter", "filter.norm", "expand", "expand.norm"]],
    "InvertedResidualv2": [V2, V2[2:]],
    "ECAInvertedResidualv2": [V2 + ATTENTION, V2[2:] + ATTENTION],
    "InvertedResidualv3": [V2, V2[2:], V2[:4] + GATE + V2[4:], V2[2:4] + GATE + V2[4:]],
    "ECAInvertedResidualv3": [V2[:4] + ATTENTION + V2[4:], V2[2:4] + ATTENTION + V2[4:]],
    "MBConv": [V2[:4] + GATE + V2[4:], V2[2:4] + GATE + V2[4:]],
    "FusedMBConv": [["expand", "expand.norm", "project", "project.norm"]],
    "Fire": [["squeeze", "expand_1x1", "expand_3x3"]],
    "ShuffleNetV2": [RIGHT, [f"left.{label}" for label in V2[2:]] + RIGHT],
    "Linear": [["linear"]],
}


def kind(label, layer):
    """Whether the layer can be what the label says."""
    if label.endswith(".norm"):
        return isinstance(layer, nn.BatchNorm2d)
    if label in ATTENTION:
        return isinstance(layer, nn.Conv1d)
    if label == "linear":
        return isinstance(layer, nn.Linear)
    if not isinstance(layer, nn.Conv2d):
        return False
    if label.endswith("depthwise"):
        return layer.groups == layer.in_channels > 1
    return layer.bias is not None if label.startswith("gate") else True


def labelled(case, module):
    """The layers with weights as (`copy.label`, layer)."""
    parts = [module] if case.repeat == 1 else list(module.children())
    assert len(parts) == case.repeat
    result = []
    for index, part in enumerate(parts):
        layers = [m for m in part.modules() if list(m.parameters(recurse=False))]
        if not layers:
            continue
        fitting = [
            labels
            for labels in LABELS[case.block]
            if len(labels) == len(layers) and all(map(kind, labels, layers))
        ]
        assert len(fitting) == 1, (case.file.name, layers)
        result += [(f"{index}.{label}", layer) for label, layer in zip(fitting[0], layers)]
    return result


# ---------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------

# Where an activation has another formula on each side; ReLU at 6, where it leaves ReLU6.
KINKS = {"ReLU": [0, 6], "ReLU6": [0, 6], "LeakyReLU": [0], "ELU": [0]}
KINKS |= dict.fromkeys(["Hardswish", "HardSwish", "Hardsigmoid", "HardSigmoid"], [-3, 3])


def exact(tensor):
    """The nearest values that float32 represents, as float64."""
    return tensor.float().double()


def normal(shape, generator, mean=0.0, deviation=1.0):
    return exact(mean + deviation * torch.randn(shape, generator=generator, dtype=torch.float64))


def inputs_of(case, generator):
    if case.values == "normal":
        return [normal(shape, generator) for shape in case.shapes]
    # Small whole numbers, many equal in every window; positive ones as a ReLU leaves them.
    values = [torch.randint(-2, 4, shape, generator=generator).double() for shape in case.shapes]
    sign = -1 if case.values == "negative ties" else 1
    return [sign * (value.clamp(min=0) + (sign < 0)) for value in values]


def randomize(layers, generator):
    """Gives every weight and statistic a value that nothing can hide behind."""
    # Wide, so that the activations see values beyond all their kinks.
    width = 3.0
    normless = not any(isinstance(layer, nn.BatchNorm2d) for _, layer in layers)
    deviations = {"gate.squeeze": 2.0, "gate.excite": 1.0, "attention.convolution": 3.0}
    with torch.no_grad():
        for name, layer in layers:
            if isinstance(layer, nn.BatchNorm2d):
                shape = layer.weight.shape
                layer.weight.copy_(exact(width * normal(shape, generator, 1.0, 0.3)))
                layer.bias.copy_(exact(width * normal(shape, generator, 0.0, 0.3)))
                layer.running_mean.copy_(normal(shape, generator, 0.0, 0.5))
                uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
                layer.running_var.copy_(exact(0.5 + uniform))
                assert (layer.eps, layer.momentum) == (1e-5, 0.1)
            else:
                deviation = deviations.get(name.split(".", 1)[1], 1.0 if normless else 0.3)
                layer.weight.copy_(normal(layer.weight.shape, generator, 0.0, deviation))
                if layer.bias is not None:
                    layer.bias.copy_(normal(layer.bias.shape, generator, 0.0, 0.3))


def tensors_of(layers):
    for name, layer in layers:
        for kind_of, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if kind_of != "num_batches_tracked":
                yield f"{name}.{kind_of}", tensor


def copy_weights(source, target):
    source, target = dict(tensors_of(source)), dict(tensors_of(target))
    assert {k: v.shape for k, v in source.items()} == {k: v.shape for k, v in target.items()}
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def watch_kinks(module):
    """Collects, for every kinked activation, the values that it sees."""
    seen = []

    def look(activation, arguments):
        seen.append((activation, arguments[0].detach().clone()))

    for part in module.modules():
        if type(part).__name__ in KINKS:
            part.register_forward_pre_hook(look)
    return seen


def crosses_all_kinks(seen):
    for activation, values in seen:
        kinks = KINKS[type(activation).__name__]
        bounds = [float("-inf"), *kinks, float("inf")]
        for low, high in zip(bounds, bounds[1:]):
            if not ((values > low) & (values < high)).any():
                return False
    return True


def measure(case, module, inputs, generator, grad_output=None):
    """One pass in evaluation and one in training mode, forward and backward."""
    layers = labelled(case, module)
    seen = watch_kinks(module)
    dtype = inputs[0].dtype
    result = {f"weight/{name}": tensor.detach().clone() for name, tensor in tensors_of(layers)}
    several = len(inputs) > 1

    module.eval()
    with torch.no_grad():
        copies = [value.clone() for value in inputs]
        result["output_eval"] = module(copies if several else copies[0]).clone()

    seen.clear()
    module.train()
    leaves = [value.clone().requires_grad_() for value in inputs]
    output = module(leaves if several else leaves[0])
    if grad_output is None:
        grad_output = normal(output.shape, generator)
    (output * grad_output.to(dtype)).sum().backward()

    for index, (value, leaf) in enumerate(zip(inputs, leaves)):
        suffix = f".{index}" if several else ""
        result[f"input{suffix}"] = value
        result[f"grad_input{suffix}"] = leaf.grad
    result["output_train"] = output.detach()
    result["grad_output"] = grad_output.to(dtype)
    for name, tensor in tensors_of(layers):
        if isinstance(tensor, nn.Parameter):
            result[f"grad/{name}"] = tensor.grad
        else:
            result[f"after/{name}"] = tensor.detach().clone()
    return result, crosses_all_kinks(seen)


def distance(one, other):
    """The largest difference of two results, relative to the largest value of its tensor or 1.

    Some gradients are zero but for rounding: a shift that a later norm takes out again.
    """
    assert one.keys() == other.keys()
    worst = 0.0
    for name, expected in one.items():
        assert expected.shape == other[name].shape, name
        scale = max(expected.abs().max().item(), 1.0)
        worst = max(worst, (expected - other[name].double()).abs().max().item() / scale)
    return worst


def make(case):
    """The tensors of a case and where they are from; None if none of its sources is at hand."""
    torch.manual_seed(0)
    built = [found for source in case.sources if (found := source(case))]
    if not built:
        return None
    (module, source), *others = [(module.double(), source) for module, source in built]

    # Other values until every kinked activation has some on each side, and none so near to a kink
    # that float32 takes another side there.
    for attempt in range(200):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{case.file.stem} {attempt}".encode()))
        inputs = inputs_of(case, generator)
        randomize(labelled(case, module), generator)
        single = copy.deepcopy(module).float()
        result, crosses = measure(case, copy.deepcopy(module), inputs, generator)
        in_float32, _ = measure(case, single, [x.float() for x in inputs], None, result["grad_output"])
        rounding = distance(result, in_float32)
        if crosses and rounding < 1e-5:
            break
    else:
        raise RuntimeError(f"{case.file.name}: no good values")

    for other, other_source in others:
        copy_weights(labelled(case, module), labelled(case, other))
        theirs, _ = measure(case, other, inputs, None, result["grad_output"])
        difference = distance(result, theirs)
        assert difference < 1e-7, f"{case.file.name}: {source} and {other_source} differ by {difference:.1e}"

    metadata = {
        "block": case.block,
        "args": json.dumps(case.args),
        "repeat": str(case.repeat),
        "width_multiply": str(case.width),
        "source": source,
    }
    return result, metadata, [source for _, source in others], rounding


# ---------------------------------------------------------------------------------------------
# Activations
# ---------------------------------------------------------------------------------------------

ACTIVATIONS = "ReLU ReLU6 Hardswish SiLU Sigmoid Hardsigmoid GELU LeakyReLU ELU Mish Tanh Softmax".split()


def make_activation(name):
    """An activation over values that include its kinks and large ones."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    values = normal((2, 5, 4, 3), generator, 0.0, 3.0)
    for position, special in enumerate([0.0, 3.0, -3.0, 6.0, -6.0, 1.0, -1.0, 30.0, -30.0]):
        values.view(-1)[7 * position] = special
    values[1, 2, 3, 2] = 0.0
    activation = getattr(nn, name)(*([1] if name == "Softmax" else []))
    grad_output = normal(values.shape, generator)

    def run(dtype):
        leaf = values.clone().to(dtype).requires_grad_()
        output = activation(leaf)
        (output * grad_output.to(dtype)).sum().backward()
        return {"input": leaf, "output": output, "grad_output": grad_output.to(dtype), "grad_input": leaf.grad}

    result = {name: tensor.detach() for name, tensor in run(torch.float64).items()}
    rounding = distance(result, run(torch.float32))
    assert rounding < 1e-6, f"{name} in float32 differs by {rounding:.1e}"
    return result, {"activation": name, "source": f"torch.nn.{name}"}


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def write(path, tensors, metadata):
    """A safetensors file; the library's own writer shuffles the metadata."""
    header, data = {"__metadata__": dict(sorted(metadata.items()))}, b""
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        tensor = tensor.float() if tensor.is_floating_point() else tensor.long()
        blob = tensor.numpy().tobytes()
        dtype = "F32" if tensor.is_floating_point() else "I64"
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    loaded = safetensors.torch.load_file(path)
    assert all(torch.equal(loaded[name].double(), tensors[name].float().double()) for name in tensors)


def main():
    parser = argparse.ArgumentParser(description="Writes tests/fixtures.")
    parser.add_argument("--published", type=Path, help="directory with the Python project's src")
    published_directory = parser.parse_args().published
    if published_directory:
        Published.open(published_directory)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.filterwarnings("ignore", message=".*saved_variables.*")

    names = set()
    for case in cases():
        assert case.file not in names, case.file
        names.add(case.file)
        made = make(case)
        if made is None:
            print(f"{case.file.stem}: kept, needs --published")
            continue
        result, metadata, confirmed, rounding = made
        write(case.file, result, metadata)
        and_also = f"; confirmed by {', '.join(confirmed)}" if confirmed else ""
        print(f"{case.file.stem} {metadata['args']}: {metadata['source']}{and_also}; float32 within {rounding:.0e}")

    for name in ACTIVATIONS:
        write(FIXTURES / "activations" / f"{name}.safetensors", *make_activation(name))

    left_over = set((FIXTURES / "blocks").glob("*.safetensors")) - names
    total = sum(path.stat().st_size for path in FIXTURES.rglob("*.safetensors"))
    print(f"{len(names)} cases, {total} bytes, torch {torch.__version__}")
    if left_over:
        print("not of any case:", *sorted(path.name for path in left_over))
    assert total < LARGEST_TOTAL


if __name__ == "__main__":
    main()

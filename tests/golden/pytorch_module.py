"""cfg.yml: 6,212 parameters, 166 k MACs.

Written by nasgen 0.1.0. Images of 3×16×16 go in as a batch, 10 comes out.
Weights that nasgen trained: `Network().load_state_dict(safetensors.torch.load_file("best.safetensors"))`.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Network(nn.Module):
    def __init__(self):
        super().__init__()

        def add(name, layer):
            """Makes `layer` the submodule `name`, whose parts are divided by dots."""
            place = self
            *parents, last = name.split(".")
            for parent in parents:
                if parent not in place._modules:
                    place.add_module(parent, nn.Module())
                place = getattr(place, parent)
            place.add_module(last, layer)

        # 0: Conv [8, 3, 2] -> 8×8×8
        add("backbone.0.0.conv", nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False))
        add("backbone.0.0.conv.norm", nn.BatchNorm2d(8, eps=0.00001, momentum=0.1))

        # 1: 2 × InvertedResidualv3 [3, 2, 8, 1, 1, 1] -> 8×8×8
        add("backbone.1.0.expand", nn.Conv2d(8, 16, 1, stride=1, padding=0, bias=False))
        add("backbone.1.0.expand.norm", nn.BatchNorm2d(16, eps=0.00001, momentum=0.1))
        add("backbone.1.0.depthwise", nn.Conv2d(16, 16, 3, stride=1, padding=1, groups=16, bias=False))
        add("backbone.1.0.depthwise.norm", nn.BatchNorm2d(16, eps=0.00001, momentum=0.1))
        add("backbone.1.0.gate.squeeze", nn.Conv2d(16, 8, 1, stride=1, padding=0, bias=True))
        add("backbone.1.0.gate.excite", nn.Conv2d(8, 16, 1, stride=1, padding=0, bias=True))
        add("backbone.1.0.project", nn.Conv2d(16, 8, 1, stride=1, padding=0, bias=False))
        add("backbone.1.0.project.norm", nn.BatchNorm2d(8, eps=0.00001, momentum=0.1))
        add("backbone.1.1.expand", nn.Conv2d(8, 16, 1, stride=1, padding=0, bias=False))
        add("backbone.1.1.expand.norm", nn.BatchNorm2d(16, eps=0.00001, momentum=0.1))
        add("backbone.1.1.depthwise", nn.Conv2d(16, 16, 3, stride=1, padding=1, groups=16, bias=False))
        add("backbone.1.1.depthwise.norm", nn.BatchNorm2d(16, eps=0.00001, momentum=0.1))
        add("backbone.1.1.gate.squeeze", nn.Conv2d(16, 8, 1, stride=1, padding=0, bias=True))
        add("backbone.1.1.gate.excite", nn.Conv2d(8, 16, 1, stride=1, padding=0, bias=True))
        add("backbone.1.1.project", nn.Conv2d(16, 8, 1, stride=1, padding=0, bias=False))
        add("backbone.1.1.project.norm", nn.BatchNorm2d(8, eps=0.00001, momentum=0.1))

        # 2: MBConv [16, 2, 2, 3, 0.2] -> 8×4×4
        add("backbone.2.0.expand", nn.Conv2d(8, 128, 1, stride=1, padding=0, bias=False))
        add("backbone.2.0.expand.norm", nn.BatchNorm2d(128, eps=0.00001, momentum=0.1))
        add("backbone.2.0.depthwise", nn.Conv2d(128, 128, 3, stride=2, padding=1, groups=128, bias=False))
        add("backbone.2.0.depthwise.norm", nn.BatchNorm2d(128, eps=0.00001, momentum=0.1))
        add("backbone.2.0.gate.squeeze", nn.Conv2d(128, 2, 1, stride=1, padding=0, bias=True))
        add("backbone.2.0.gate.excite", nn.Conv2d(2, 128, 1, stride=1, padding=0, bias=True))
        add("backbone.2.0.project", nn.Conv2d(128, 8, 1, stride=1, padding=0, bias=False))
        add("backbone.2.0.project.norm", nn.BatchNorm2d(8, eps=0.00001, momentum=0.1))

        # 3: GlobalAvgPool [] -> 8×1×1

        # 4: Flatten [] -> 8

        # 5: Linear [10] -> 10
        add("backbone.5.0.linear", nn.Linear(8, 10))

    def forward(self, images):
        at = self.get_submodule

        # 0: Conv [8, 3, 2] -> 8×8×8
        x = at("backbone.0.0.conv")(images)
        x = at("backbone.0.0.conv.norm")(x)
        x2 = F.relu(x)

        # 1: 2 × InvertedResidualv3 [3, 2, 8, 1, 1, 1] -> 8×8×8
        x = at("backbone.1.0.expand")(x2)
        x = at("backbone.1.0.expand.norm")(x)
        x = F.hardswish(x)
        x = at("backbone.1.0.depthwise")(x)
        x7 = at("backbone.1.0.depthwise.norm")(x)
        x = F.adaptive_avg_pool2d(x7, 1)
        x = at("backbone.1.0.gate.squeeze")(x)
        x = F.relu(x)
        x = at("backbone.1.0.gate.excite")(x)
        x = F.hardsigmoid(x)
        x = x7 * x
        x = F.hardswish(x)
        x = at("backbone.1.0.project")(x)
        x = at("backbone.1.0.project.norm")(x)
        x17 = x2 + x
        x = at("backbone.1.1.expand")(x17)
        x = at("backbone.1.1.expand.norm")(x)
        x = F.hardswish(x)
        x = at("backbone.1.1.depthwise")(x)
        x22 = at("backbone.1.1.depthwise.norm")(x)
        x = F.adaptive_avg_pool2d(x22, 1)
        x = at("backbone.1.1.gate.squeeze")(x)
        x = F.relu(x)
        x = at("backbone.1.1.gate.excite")(x)
        x = F.hardsigmoid(x)
        x = x22 * x
        x = F.hardswish(x)
        x = at("backbone.1.1.project")(x)
        x = at("backbone.1.1.project.norm")(x)
        x = x17 + x

        # 2: MBConv [16, 2, 2, 3, 0.2] -> 8×4×4
        x = at("backbone.2.0.expand")(x)
        x = at("backbone.2.0.expand.norm")(x)
        x = F.silu(x)
        x = at("backbone.2.0.depthwise")(x)
        x = at("backbone.2.0.depthwise.norm")(x)
        x38 = F.silu(x)
        x = F.adaptive_avg_pool2d(x38, 1)
        x = at("backbone.2.0.gate.squeeze")(x)
        x = F.silu(x)
        x = at("backbone.2.0.gate.excite")(x)
        x = torch.sigmoid(x)
        x = x38 * x
        x = at("backbone.2.0.project")(x)
        x = at("backbone.2.0.project.norm")(x)

        # 3: GlobalAvgPool [] -> 8×1×1
        x = F.adaptive_avg_pool2d(x, 1)

        # 4: Flatten [] -> 8
        x = x.flatten(1)

        # 5: Linear [10] -> 10
        x = at("backbone.5.0.linear")(x)
        return x

"""ResNets of ImageNet (He et al. 2016, arXiv 1512.03385), and the same networks without skips.

Modules, their names, order and initialisation are torchvision's: its weights load, and the same
seed gives the same initial weights. Taps follow the paper: outputs of every convolution, before
batch norm and ReLU, and of the average pooling, in call order (a projection of a skip comes after
the convolutions of its block).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec

Stem = Literal["imagenet", "small"]

RESNET18 = (2, 2, 2, 2)
RESNET50 = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions of `planes` channels, with a skip unless `plain`."""

    expansion = 1

    def __init__(
        self, before: int, planes: int, stride: int, downsample: nn.Module | None, *, plain: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample
        self.plain = plain

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, planes, height, width), after the last ReLU."""
        output = self.relu(self.bn1(self.conv1(inputs)))
        output = self.bn2(self.conv2(output))
        return _activated(self, inputs, output)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions, with a skip unless `plain`."""

    expansion = 4

    def __init__(
        self, before: int, planes: int, stride: int, downsample: nn.Module | None, *, plain: bool
    ) -> None:
        super().__init__()
        after = planes * self.expansion
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.plain = plain

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, 4 planes, height, width), after the last ReLU."""
        output = self.relu(self.bn1(self.conv1(inputs)))
        output = self.relu(self.bn2(self.conv2(output)))
        output = self.bn3(self.conv3(output))
        return _activated(self, inputs, output)


Block = BasicBlock | Bottleneck


def _activated(block: Block, inputs: Tensor, output: Tensor) -> Tensor:
    """ReLU of a block's last batch norm, with what its skip adds."""
    if not block.plain:
        skipped = inputs if block.downsample is None else block.downsample(inputs)
        output = output + skipped
    activated: Tensor = block.relu(output)
    return activated


class ResNet(Network):
    """Stem, four stages of `width` to 8 `width` planes, average pooling, linear."""

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        block: type[Block],
        blocks: tuple[int, ...],
        width: int,
        stem: Stem,
        *,
        plain: bool,
    ) -> None:
        super().__init__()
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(num_channels, width, 7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(num_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        imagenet = stem == "imagenet"
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()
        before = width
        for stage, number in enumerate(blocks):
            planes, stride = width * 2**stage, 1 if stage == 0 else 2
            layer = _stage(block, before, planes, number, stride=stride, plain=plain)
            self.add_module(f"layer{stage + 1}", layer)
            before = planes * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_outputs)
        self._initialise()
        if plain:
            # After initialisation, so that the weights are those of the ResNet at this seed.
            for module in self.modules():
                if isinstance(module, Block):
                    module.downsample = None
        convolutions = [name for name, m in self.named_modules() if isinstance(m, nn.Conv2d)]
        self.taps = (*convolutions, "avgpool")

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of images (batch, channels, height, width)."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name, stage in self.named_children():
            if name.startswith("layer"):
                features = stage(features)
        answers: Tensor = self.fc(torch.flatten(self.avgpool(features), 1))
        return answers


def _stage(
    block: type[Block], before: int, planes: int, number: int, *, stride: int, plain: bool
) -> nn.Sequential:
    after = planes * block.expansion
    downsample = None
    if stride != 1 or before != after:
        projection = nn.Conv2d(before, after, 1, stride=stride, bias=False)
        downsample = nn.Sequential(projection, nn.BatchNorm2d(after))
    first = block(before, planes, stride, downsample, plain=plain)
    rest = [block(after, planes, 1, None, plain=plain) for _ in range(number - 1)]
    return nn.Sequential(first, *rest)


@register("resnet18", inputs=("image",))
def resnet18(
    input: InputSpec, output: OutputSpec, *, width: int = 64, stem: Stem = "imagenet"
) -> ResNet:
    """ResNet-18: basic blocks (2, 2, 2, 2); 21 taps: 17 convolutions, 3 projections, the pooling.

    `width`: channels of the stem and the first stage. `stem`: `imagenet`, a 7x7 convolution of
    stride 2 and max pooling, or `small`, a 3x3 convolution, for images below about 64 pixels.
    """
    return _resnet("resnet18", input, output, BasicBlock, RESNET18, width, stem, plain=False)


@register("resnet50", inputs=("image",))
def resnet50(
    input: InputSpec, output: OutputSpec, *, width: int = 64, stem: Stem = "imagenet"
) -> ResNet:
    """ResNet-50: bottlenecks (3, 4, 6, 3); 54 taps; options as in `resnet18`."""
    return _resnet("resnet50", input, output, Bottleneck, RESNET50, width, stem, plain=False)


@register("plain_resnet18", inputs=("image",))
def plain_resnet18(
    input: InputSpec, output: OutputSpec, *, width: int = 64, stem: Stem = "imagenet"
) -> ResNet:
    """ResNet-18 without skips; 18 taps; options as in `resnet18`."""
    return _resnet("plain_resnet18", input, output, BasicBlock, RESNET18, width, stem, plain=True)


@register("plain_resnet50", inputs=("image",))
def plain_resnet50(
    input: InputSpec, output: OutputSpec, *, width: int = 64, stem: Stem = "imagenet"
) -> ResNet:
    """ResNet-50 without skips, the paper's deep convnet; 50 taps; options as in `resnet18`."""
    return _resnet("plain_resnet50", input, output, Bottleneck, RESNET50, width, stem, plain=True)


def _resnet(
    name: str,
    input: InputSpec,
    output: OutputSpec,
    block: type[Block],
    blocks: tuple[int, ...],
    width: int,
    stem: Stem,
    *,
    plain: bool,
) -> ResNet:
    if width < 1:
        raise UserError(f"architecture {name}: width is {width}; allowed: 1 or more")
    return ResNet(input.shape[0], output.num_outputs, block, blocks, width, stem, plain=plain)

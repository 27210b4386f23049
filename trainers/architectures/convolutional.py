"""Convolutional networks, plain and residual, for 1-D signals and 2-D images."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec


class ConvNet1d(Network):
    """Convolution, batch norm and ReLU, three times, then average pooling; a tap after each."""

    def __init__(self, num_channels: int, width: int, kernel: int, num_outputs: int) -> None:
        super().__init__()
        widths = (num_channels, width, 2 * width, 2 * width)
        self.layers = nn.Sequential()
        for index, (before, after) in enumerate(pairwise(widths)):
            convolution = nn.Conv1d(
                before, after, kernel, stride=1 if index == 0 else 2, padding=kernel // 2
            )
            layer = nn.Sequential(convolution, nn.BatchNorm1d(after), nn.ReLU())
            self.layers.add_module(f"layer{index + 1}", layer)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.output = nn.Linear(widths[-1], num_outputs)
        self.taps = ("layers.layer1", "layers.layer2", "layers.layer3", "pool")

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of signals (batch, channels, length)."""
        answers: Tensor = self.output(self.pool(self.layers(inputs)))
        return answers


@register("cnn1d", inputs=("signal",))
def cnn1d(input: InputSpec, output: OutputSpec, *, width: int = 16, kernel: int = 5) -> ConvNet1d:
    """Three-layer 1-D convolutional network of `width`, 2 `width` and 2 `width` channels."""
    _check_sizes("cnn1d", width, kernel)
    return ConvNet1d(input.shape[0], width, kernel, output.num_outputs)


class BasicBlock(nn.Module):
    """Two convolutions and a skip (He et al. 2016); projects the skip if the shape changes.

    A `plain` block has the same layers, initialised in the same order, and no skip.
    """

    def __init__(
        self, dimensions: int, before: int, after: int, stride: int, *, plain: bool
    ) -> None:
        super().__init__()
        conv, norm = _layers(dimensions)
        self.inner = nn.Sequential(
            conv(before, after, 3, stride=stride, padding=1, bias=False), norm(after), nn.ReLU()
        )
        self.residual = nn.Sequential(conv(after, after, 3, padding=1, bias=False), norm(after))
        skip: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            projection = conv(before, after, 1, stride=stride, bias=False)
            skip = nn.Sequential(projection, norm(after))
        # Plain networks draw it too, so that both have the same convolutions at the same seed.
        self.skip = None if plain else skip
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output, after its last ReLU."""
        features = self.residual(self.inner(inputs))
        if self.skip is not None:
            features = features + self.skip(inputs)
        output: Tensor = self.activation(features)
        return output


class ResNet(Network):
    """Stem, basic blocks, average pooling, linear; taps: stem, inside and end of each block, pool.

    `widths` are the channels of the stem and of each block; a block halves the resolution if the
    width grows. A `plain` network has no skips.
    """

    def __init__(
        self,
        input: InputSpec,
        num_outputs: int,
        widths: tuple[int, ...],
        stem_stride: int,
        *,
        plain: bool,
    ) -> None:
        super().__init__()
        dimensions = len(input.shape) - 1
        conv, norm = _layers(dimensions)
        stem = conv(input.shape[0], widths[0], 3, stride=stem_stride, padding=1, bias=False)
        self.stem = nn.Sequential(stem, norm(widths[0]), nn.ReLU())
        self.blocks = nn.Sequential()
        taps = ["stem"]
        for index, (before, after) in enumerate(pairwise(widths)):
            name, stride = f"block{index + 1}", 2 if after > before else 1
            self.blocks.add_module(name, BasicBlock(dimensions, before, after, stride, plain=plain))
            taps += [f"blocks.{name}.inner", f"blocks.{name}"]
        pool = nn.AdaptiveAvgPool1d(1) if dimensions == 1 else nn.AdaptiveAvgPool2d(1)
        self.pool = nn.Sequential(pool, nn.Flatten())
        self.output = nn.Linear(widths[-1], num_outputs)
        self.taps = (*taps, "pool")

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of signals or images."""
        answers: Tensor = self.output(self.pool(self.blocks(self.stem(inputs))))
        return answers


@register("resnet1d", inputs=("signal",))
def resnet1d(input: InputSpec, output: OutputSpec, *, width: int = 16, blocks: int = 3) -> ResNet:
    """1-D ResNet: stem of `width`, one basic block of `width`, the others of 2 `width` channels."""
    return _resnet("resnet1d", input, output, width, blocks, stem_stride=1)


@register("resnet2d", inputs=("image",))
def resnet2d(input: InputSpec, output: OutputSpec, *, width: int = 16, blocks: int = 2) -> ResNet:
    """2-D ResNet: stride-2 stem of `width`, a basic block of `width`, the others of 2 `width`."""
    return _resnet("resnet2d", input, output, width, blocks, stem_stride=2)


@register("plain_convnet1d", inputs=("signal",))
def plain_convnet1d(
    input: InputSpec, output: OutputSpec, *, width: int = 16, blocks: int = 3
) -> ResNet:
    """`resnet1d` without skips: with the same seed its convolutions have the same weights."""
    return _resnet("plain_convnet1d", input, output, width, blocks, stem_stride=1, plain=True)


@register("plain_convnet2d", inputs=("image",))
def plain_convnet2d(
    input: InputSpec, output: OutputSpec, *, width: int = 16, blocks: int = 2
) -> ResNet:
    """`resnet2d` without skips: with the same seed its convolutions have the same weights."""
    return _resnet("plain_convnet2d", input, output, width, blocks, stem_stride=2, plain=True)


def _resnet(
    name: str,
    input: InputSpec,
    output: OutputSpec,
    width: int,
    blocks: int,
    *,
    stem_stride: int,
    plain: bool = False,
) -> ResNet:
    _check_sizes(name, width, blocks)
    widths = (width, width, *[2 * width] * (blocks - 1))
    return ResNet(input, output.num_outputs, widths, stem_stride, plain=plain)


def _layers(dimensions: int) -> tuple[type[nn.Module], type[nn.Module]]:
    return (nn.Conv1d, nn.BatchNorm1d) if dimensions == 1 else (nn.Conv2d, nn.BatchNorm2d)


def _check_sizes(name: str, *sizes: int) -> None:
    if min(sizes) < 1:
        raise UserError(f"architecture {name}: sizes {sizes}; allowed: 1 or more")

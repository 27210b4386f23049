"""Vision Transformers (Dosovitskiy et al. 2021, arXiv 2010.11929).

Modules, names and initialisation are torchvision's: its weights load, and the same seed gives the
same initial weights. The head begins at zero.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec

EPS = 1e-6


class Sizes(NamedTuple):
    """Side of a patch, number of layers, features, attention heads, units of the MLPs."""

    patch: int
    depth: int
    width: int
    heads: int
    mlp: int


class MLP(nn.Sequential):
    """Linear, GELU, linear; dropouts of 0 give the modules torchvision's numbers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, width),
            nn.Dropout(0.0),
        )  # fmt: skip
        for module in self:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and MLP with skips."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.width, eps=EPS)
        self.self_attention = nn.MultiheadAttention(sizes.width, sizes.heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(sizes.width, eps=EPS)
        self.mlp = MLP(sizes.width, sizes.mlp)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, tokens, width) to the same shape."""
        normed = self.ln_1(inputs)
        attended, _ = self.self_attention(normed, normed, normed, need_weights=False)
        features = attended + inputs
        output: Tensor = features + self.mlp(self.ln_2(features))
        return output


class Encoder(nn.Module):
    """Learned positions, blocks, norm."""

    def __init__(self, num_tokens: int, sizes: Sizes) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, num_tokens, sizes.width))
        nn.init.normal_(self.pos_embedding, std=0.02)
        self.layers = nn.Sequential(
            OrderedDict(
                {f"encoder_layer_{index}": EncoderBlock(sizes) for index in range(sizes.depth)}
            )
        )
        self.ln = nn.LayerNorm(sizes.width, eps=EPS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (batch, tokens, width) to the same shape."""
        output: Tensor = self.ln(self.layers(inputs + self.pos_embedding))
        return output


class VisionTransformer(Network):
    """Patches and a class token, encoder, linear on the class token.

    `tapped` are the submodules of each layer that are taps, in call order; if empty, the layers
    themselves are.
    """

    def __init__(
        self, input: InputSpec, num_outputs: int, sizes: Sizes, tapped: tuple[str, ...]
    ) -> None:
        super().__init__()
        channels, height, width = input.shape
        patch = sizes.patch
        self.conv_proj = nn.Conv2d(channels, sizes.width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.encoder = Encoder((height // patch) * (width // patch) + 1, sizes)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(sizes.width, num_outputs)))
        self._initialise()
        layers = [f"encoder.layers.encoder_layer_{index}" for index in range(sizes.depth)]
        self.taps = tuple(f"{layer}.{part}" for layer in layers for part in tapped) or (*layers,)

    def _initialise(self) -> None:
        fan_in = self.conv_proj.weight[0].numel()
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / fan_in))
        for parameter in (self.conv_proj.bias, *self.heads.parameters()):
            assert parameter is not None
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of images (batch, channels, height, width)."""
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        answers: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return answers


@register("vit", inputs=("image",))
def vit(
    input: InputSpec,
    output: OutputSpec,
    *,
    patch: int = 4,
    depth: int = 4,
    width: int = 64,
    heads: int = 4,
    mlp: int = 128,
) -> VisionTransformer:
    """Small Vision Transformer, for images of about 16 to 32 pixels; a tap after each layer."""
    sizes = Sizes(patch, depth, width, heads, mlp)
    return _vit("vit", input, output, sizes, tapped=())


@register("vit_b_16", inputs=("image",))
def vit_b_16(
    input: InputSpec,
    output: OutputSpec,
    *,
    patch: int = 16,
    depth: int = 12,
    width: int = 768,
    heads: int = 12,
    mlp: int = 3072,
) -> VisionTransformer:
    """ViT-B/16; taps as in the paper: the attention and the MLP of each layer, before the skips."""
    sizes = Sizes(patch, depth, width, heads, mlp)
    return _vit("vit_b_16", input, output, sizes, tapped=("self_attention", "mlp"))


def _vit(
    name: str, input: InputSpec, output: OutputSpec, sizes: Sizes, tapped: tuple[str, ...]
) -> VisionTransformer:
    if min(sizes) < 1 or sizes.width % sizes.heads:
        raise UserError(
            f"architecture {name}: patch {sizes.patch}, depth {sizes.depth}, width {sizes.width}, "
            f"heads {sizes.heads}, mlp {sizes.mlp}; allowed: 1 or more each, width a multiple of "
            "heads"
        )
    check_patches(name, input, sizes.patch)
    return VisionTransformer(input, output.num_outputs, sizes, tapped)


def check_patches(name: str, input: InputSpec, patch: int) -> None:
    """Raise UserError if an image cannot be cut into patches of `patch` pixels a side."""
    _, height, width = input.shape
    if height % patch or width % patch:
        raise UserError(
            f"architecture {name}: patch is {patch}, and the task's images are of {height} x "
            f"{width} pixels; allowed: a patch that divides both"
        )

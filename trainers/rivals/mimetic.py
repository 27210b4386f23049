"""Rival `mimetic`: whether attention that begins like a trained one's would do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.rivals.base import Rival, register
from trainers.tasks import Task


class _Attention(NamedTuple):
    """Weights of an attention layer: query, key and value in one (3 x width, width); projection."""

    packed: Tensor
    projection: Tensor
    heads: int


@register("mimetic")
class Mimetic(Rival):
    """Attention whose products of weights are near multiples of the identity.

    Trockman and Kolter 2023 (arXiv 2305.09828, read in its abstract and in others' code):

        W_query W_key^T = `query_key_noise` Z + `query_key_diagonal` I      for each head
        W_value W_projection = `value_noise` Z + `value_diagonal` I         over all heads

    with Z of N(0, 1 / width). Both are factored by their singular values, half to each side; a head
    keeps its width's largest ones. Defaults are those for vision; the paper found the signs of both
    diagonals reversed in trained language models, which is for the spec to say.

    Deviations: the paper also begins with sinusoidal embeddings of positions; here these are the
    target's own, as are biases. Attention to another sequence is treated alike. The form for MLPs
    (arXiv 2602.07156), a mean of their first layers, is not here.
    """

    def __init__(
        self,
        *,
        query_key_noise: float = 0.7,
        query_key_diagonal: float = 0.7,
        value_noise: float = 0.4,
        value_diagonal: float = -0.4,
    ) -> None:
        self._query_key = query_key_noise, query_key_diagonal
        self._value = value_noise, value_diagonal

    def check(self, network: Network, task: Task) -> None:  # noqa: ARG002
        """Raise UserError if the network has no attention."""
        if not _attentions(network):
            raise UserError(
                "rival mimetic takes networks with self-attention, whose query, key and value are "
                "of one width, and this one has none"
            )

    @torch.no_grad()
    def initialise(self, network: Network, task: Task) -> None:
        """Draw the products and their factors, layer by layer."""
        self.check(network, task)
        for packed, projection, heads in _attentions(network):
            width = packed.shape[1]
            size = width // heads
            query, key, value = packed.view(3, width, width)
            for head in range(heads):
                left, right = _factors(width, *self._query_key)
                rows = slice(head * size, (head + 1) * size)
                query[rows], key[rows] = left[:, :size].T, right[:size]
            left, right = _factors(width, *self._value)
            value.copy_(left.T)
            projection.copy_(right.T)


def _factors(width: int, noise: float, diagonal: float) -> tuple[Tensor, Tensor]:
    """Factors (width, width) of a random matrix, the columns and rows of greatest weight first."""
    product = noise * torch.randn(width, width) / width**0.5 + diagonal * torch.eye(width)
    left, values, right = torch.linalg.svd(product)
    root = values.sqrt()
    return left * root, root[:, None] * right


def _attentions(network: nn.Module) -> list[_Attention]:
    """Attention layers: PyTorch's, this package's and timm's."""
    found = []
    for module in network.modules():
        packed = getattr(module, "in_proj_weight", None)
        projection = getattr(module, "out_proj", None)
        heads = getattr(module, "num_heads", getattr(module, "heads", None))
        if packed is None:
            linear = getattr(module, "query_key_value", getattr(module, "qkv", None))
            packed = getattr(linear, "weight", None)
            projection = getattr(module, "projection", getattr(module, "proj", None))
        if packed is None or heads is None or not isinstance(projection, nn.Linear):
            continue
        width = packed.shape[1]
        if packed.shape[0] == 3 * width and projection.weight.shape == (width, width):
            found.append(_Attention(packed, projection.weight, heads))
    return found

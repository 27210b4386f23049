"""Transformer layers as in Vaswani et al. 2017, the same computation in training and evaluation.

They compute what `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer` do, and are
initialised alike. PyTorch's layers take a fast path in evaluation unless hooks are attached, whose
results differ in their last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.errors import UserError

Norm = Literal["first", "last"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Number of layers and their sizes; `width` is that of the residual stream."""

    depth: int
    width: int
    heads: int
    feed_forward: int
    dropout: float

    def check(self, name: str) -> None:
        """Raise UserError, in the name of an architecture, if a size is not allowed."""
        sizes = (self.depth, self.width, self.heads, self.feed_forward)
        if min(sizes) < 1 or self.width % self.heads or not 0 <= self.dropout < 1:
            raise UserError(
                f"architecture {name}: depth {self.depth}, width {self.width}, heads {self.heads}, "
                f"feed_forward {self.feed_forward}, dropout {self.dropout}; allowed: 1 or more "
                "each, width a multiple of heads, dropout from 0 to below 1"
            )

    def dropout_layer(self) -> nn.Module:
        """Dropout, or the identity if its probability is 0."""
        return nn.Dropout(self.dropout) if self.dropout else nn.Identity()


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or to another one."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads, self.dropout = sizes.heads, sizes.dropout
        self.query_key_value = nn.Linear(sizes.width, 3 * sizes.width)
        self.projection = nn.Linear(sizes.width, sizes.width)
        nn.init.xavier_uniform_(self.query_key_value.weight)
        nn.init.zeros_(self.query_key_value.bias)
        nn.init.zeros_(self.projection.bias)

    def forward(
        self, features: Tensor, memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from features (batch, time, width) to `memory`; returns the same shape.

        `memory` (batch, memory time, width) is the features themselves if None. `mask` (batch or 1,
        1, time, memory time) is true where attention is allowed.
        """
        if memory is None:
            query, key, value = self.query_key_value(features).chunk(3, -1)
        else:
            width = features.shape[-1]
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            query = functional.linear(features, weight[:width], bias[:width])
            key, value = functional.linear(memory, weight[width:], bias[width:]).chunk(2, -1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        output: Tensor = self.projection(attended.transpose(1, 2).flatten(2))
        return output


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward (ReLU), each with a residual and a layer norm."""

    def __init__(self, sizes: Sizes, norm: Norm = "last") -> None:
        super().__init__()
        self.norm_first = norm == "first"
        self.attention = Attention(sizes)
        self.feed_forward = _feed_forward(sizes)
        self.norms = nn.ModuleList([nn.LayerNorm(sizes.width) for _ in range(2)])
        self.dropout = sizes.dropout_layer()

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Features (batch, time, width) to the same shape; `mask` as in `Attention`."""
        if self.norm_first:
            features = features + self._attended(self.norms[0](features), mask)
            return features + self._fed(self.norms[1](features))
        features = self.norms[0](features + self._attended(features, mask))
        output: Tensor = self.norms[1](features + self._fed(features))
        return output

    def _attended(self, features: Tensor, mask: Tensor | None) -> Tensor:
        attended: Tensor = self.dropout(self.attention(features, mask=mask))
        return attended

    def _fed(self, features: Tensor) -> Tensor:
        fed: Tensor = self.dropout(self.feed_forward(features))
        return fed


class DecoderLayer(nn.Module):
    """Self-attention, attention to a memory, feed-forward (ReLU); layer norm after each."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attention = Attention(sizes)
        self.cross_attention = Attention(sizes)
        self.feed_forward = _feed_forward(sizes)
        self.norms = nn.ModuleList([nn.LayerNorm(sizes.width) for _ in range(3)])
        self.dropout = sizes.dropout_layer()

    def forward(
        self, features: Tensor, memory: Tensor, mask: Tensor | None, memory_mask: Tensor | None
    ) -> Tensor:
        """Features (batch, time, width) to the same shape; masks as in `Attention`."""
        attended = self.self_attention(features, mask=mask)
        features = self.norms[0](features + self.dropout(attended))
        attended = self.cross_attention(features, memory, memory_mask)
        features = self.norms[1](features + self.dropout(attended))
        output: Tensor = self.norms[2](features + self.dropout(self.feed_forward(features)))
        return output


def visible(tokens: Tensor, real: Tensor | None, *, causal: bool) -> Tensor | None:
    """Attention mask (batch or 1, 1, time, time) of `tokens` (batch, time); None if all is allowed.

    A position attends to the `real` positions (batch, time) and, with `causal`, to none after it.
    Each position also attends to itself, so that padding attends to something.
    """
    time = tokens.shape[1]
    before = torch.ones(time, time, dtype=torch.bool, device=tokens.device)
    if causal:
        before = before.tril()
    elif real is None:
        return None
    if real is None:
        return before[None, None]
    itself = torch.eye(time, dtype=torch.bool, device=tokens.device)
    return ((real[:, None] & before) | itself)[:, None]


def _feed_forward(sizes: Sizes) -> nn.Sequential:
    expand = nn.Linear(sizes.width, sizes.feed_forward)
    contract = nn.Linear(sizes.feed_forward, sizes.width)
    return nn.Sequential(expand, nn.ReLU(), sizes.dropout_layer(), contract)

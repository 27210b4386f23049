"""Specifications of a task's inputs and outputs, and splits of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from trainers.data.lazy import LazyInputs

#: Label of a position that is neither trained on nor scored.
IGNORE = -100
#: Digest of data that is absent: ids made with it are provisional.
ABSENT = "absent"

#: Kinds of inputs; `InputSpec` has their shapes.
InputKind = Literal["image", "signal", "tokens"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Kind and shape of one input.

    image: (channels, height, width); signal: (channels, length); tokens: (time,), integers below
    `vocabulary`, of which `padding`, if any, fills up short sequences.
    """

    kind: InputKind
    shape: tuple[int, ...]
    vocabulary: int | None = None
    padding: int | None = None


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """Answers of a network, for each example, or for each position if `per_position`.

    Of a classifier they are logits of `num_classes` classes, else `num_values` numbers; the other
    of the two is None.
    """

    num_classes: int | None = None
    num_values: int | None = None
    per_position: bool = False

    @property
    def num_outputs(self) -> int:
        """Numbers in an answer: the width of a network's last layer."""
        width = self.num_values if self.num_classes is None else self.num_classes
        assert width is not None
        return width


class Split(NamedTuple):
    """Inputs `(N, *shape)` and labels, the task's targets.

    Classes are integers, (N,) or (N, time), `IGNORE` at unscored positions; values are float32,
    (N, num_values). `LazyInputs` stand in for inputs that do not fit in memory.
    """

    inputs: Tensor
    labels: Tensor

    @classmethod
    def of_lazy(cls, inputs: LazyInputs, labels: Tensor) -> Split:
        """A split of inputs that are made when they are indexed."""
        return cls(cast(Tensor, inputs), labels)

    @property
    def lazy(self) -> LazyInputs | None:
        """The inputs if they are lazy, else None."""
        return self.inputs if isinstance(self.inputs, LazyInputs) else None


def is_scored(labels: Tensor) -> Tensor:
    """Mask, of the shape of `labels`, of those that are trained on and scored: all values."""
    if labels.is_floating_point():
        return torch.ones_like(labels, dtype=torch.bool)
    return labels != IGNORE

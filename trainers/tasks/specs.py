"""Specifications of a task's inputs and outputs, and splits of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

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
    """Logits of a network: `num_classes` per example, or per position if `per_position`."""

    num_classes: int
    per_position: bool = False


class Split(NamedTuple):
    """Inputs `(N, *shape)` and integer labels, (N,) or (N, time), `IGNORE` at unscored positions.

    `LazyInputs` stand in for inputs that do not fit in memory.
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

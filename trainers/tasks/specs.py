"""What goes into a task and comes out of it, and its splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from torch import Tensor

from trainers.data.lazy import LazyInputs

#: Label of a position that is neither trained on nor scored.
IGNORE = -100
#: Digest of data that is not here: ids made with it are provisional.
ABSENT = "absent"

InputKind = Literal["image", "signal", "tokens"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What one example looks like.

    image: (channels, height, width); signal: (channels, length); tokens: (time,), integers below
    `vocabulary`, of which `padding`, if any, fills up short sequences.
    """

    kind: InputKind
    shape: tuple[int, ...]
    vocabulary: int | None = None
    padding: int | None = None


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the network answers: `num_classes` logits, for each position where `per_position`."""

    num_classes: int
    per_position: bool = False


class Split(NamedTuple):
    """Inputs (N, *shape) and integer labels, (N,) or (N, time) with `IGNORE` where unscored.

    Where inputs do not fit in memory, `LazyInputs` stand in for them.
    """

    inputs: Tensor
    labels: Tensor

    @classmethod
    def of_lazy(cls, inputs: LazyInputs, labels: Tensor) -> Split:
        """A split of inputs that are made when they are indexed."""
        return cls(cast(Tensor, inputs), labels)

    @property
    def lazy(self) -> LazyInputs | None:
        """The inputs, if they are made when they are indexed."""
        return self.inputs if isinstance(self.inputs, LazyInputs) else None

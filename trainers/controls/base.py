"""Controls: the features that guide in a guide's place, and the facts that a plan needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from trainers import mappings
from trainers.architectures.taps import Rows
from trainers.conditions.guidance import State, Term
from trainers.conditions.registries import CONTROLS
from trainers.distances import GuideGrams
from trainers.errors import UserError
from trainers.guides.disk_cache import CacheInputs
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.mappings import Pair, Similarity
from trainers.registry import Component
from trainers.runtime.streams import Streams
from trainers.tasks import Task
from trainers.tasks.batches import Batch

#: Outputs that a distance compares: those of taps, or the networks' answers.
Compared = Literal["taps", "answers"]


class FeatureSource(Protocol):
    """Source of the guide features of each step."""

    #: Names of the guide taps in depth order.
    taps: tuple[str, ...]

    def features(self, batch: Batch, step: int) -> Features:
        """Output (batch, ...) by guide tap, or Gram matrices, for the batch of a step."""

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Output (batch, ...) by guide tap for examples outside training, without shuffling.

        `inputs` are `(batch, *shape)`, `labels` (batch,) or (batch, time).
        """


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """Arguments from which a control makes its feature source, for one replicate.

    `taps` are the names of the guide taps in depth order, (LOGITS,) for a distance of answers;
    `shapes()` are the shapes of their outputs for one example, and `rows` is the kind of rows that
    the distance compares. `streams` are the target's. `guide` is None unless the control runs one.
    `streamed` caches guide features of streamed batches (None: the guide runs in every step);
    `cached` is the cache on fixed data (None: the default cache).
    """

    task: Task
    taps: tuple[str, ...]
    streams: Streams
    rows: Rows = "examples"
    shapes: Callable[[], Mapping[str, torch.Size]] = dict
    guide: FrozenGuide | None = None
    streamed: StreamedFeatures | None = None
    cached: Cached | None = None


class Control(ABC):
    """A source of features in a guide's place; subclasses override what differs from the guide."""

    #: Outputs on which the control has a meaning.
    guides: ClassVar[tuple[Compared, ...]] = ("taps", "answers")
    #: States of the guide to which the control belongs.
    states: ClassVar[tuple[State, ...]] = ("trained", "untrained")
    #: Whether a claim that a guide helps by what is its own requires the control, for these outputs
    #: and states.
    standard: ClassVar[bool] = False
    #: Whether a guide network runs. If not, a condition's guide has no state.
    runs_guide: ClassVar[bool] = True
    #: Whether the guide's features of a training example are those of every step, so that they may
    #: be cached; no meaning for a control that runs no guide.
    cacheable: ClassVar[bool] = True
    #: Whether the guide is of the target's own architecture.
    of_target: ClassVar[bool] = False
    #: Whether its features depend on the guide inputs of a batch. If not, `guide_inputs` has no
    #: effect, and runs with the same batches do not share features.
    sees_inputs: ClassVar[bool] = True
    #: Whether it shows labels; examples and positions without one take no part in the distance.
    shows_labels: ClassVar[bool] = False
    #: Whether the trained networks are compared with the guide after training.
    compared: ClassVar[bool] = False
    #: Another control whose steps do the same work, if any.
    works_like: ClassVar[str | None] = None

    @abstractmethod
    def source(self, context: SourceContext) -> FeatureSource:
        """The feature source of one replicate."""

    def check(self, task: Task) -> None:  # noqa: B027
        """Raise UserError if the control has no meaning for a task."""

    def cache_inputs(self, task: Task, streams: Streams) -> CacheInputs:  # noqa: ARG002
        """The guide inputs of the task's training examples, for the guide's cache."""
        return CacheInputs("train", lambda: task.train.inputs)

    def shown(
        self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]  # noqa: ARG002
    ) -> Mapping[str, Tensor]:  # fmt: skip
        """Features (batch, ...) that take the place of a guide's tap outputs, by tap.

        Both are on the meta device: only shapes count. Raises UserError if the control has no
        meaning for these rows of these taps.
        """
        return outputs

    def pairs(
        self, mapped: Sequence[Pair], target_taps: Sequence[str], guide_taps: Sequence[str]  # noqa: ARG002
    ) -> list[Pair]:  # fmt: skip
        """The pairs whose distances guide, from those of the mapping; taps are in depth order."""
        return list(mapped)


register = CONTROLS.register


def check_features(control: str, features: Any, taps: Sequence[str], size: int) -> None:
    """Raise UserError unless a source gave a tensor (batch, ...) for each of its taps.

    `size` is that of the batch; Gram matrices, which only sources of this package give, pass.
    """
    if isinstance(features, GuideGrams):
        return
    if not isinstance(features, Mapping) or not {*taps} <= features.keys():
        given = list(features) if isinstance(features, Mapping) else type(features).__name__
        raise UserError(
            f"control {control!r}: its source gives {given}; features gives a tensor by tap, of "
            f"{', '.join(taps)}"
        )
    for tap in taps:
        output = features[tap]
        if not isinstance(output, Tensor) or output.dim() < 2 or len(output) != size:
            kind = type(output).__name__
            given = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {kind}"
            raise UserError(
                f"control {control!r}: its source gives {given} at {tap!r} for a batch of {size}; "
                "features gives a tensor (batch, ...)"
            )


def build(component: Component) -> Control:
    """The control of a name and options; raises UserError if there is none."""
    built: Control = CONTROLS.make(component)
    return built


def of(term: Term) -> Control:
    """The control of a term."""
    control = build(term.control)
    assert control.runs_guide == term.runs_guide, term
    return control


def works_like(term: Term) -> Component:
    """The control whose steps do the same work as those of a term."""
    like = of(term).works_like
    return term.control if like is None else CONTROLS.component(like)


def pairs_of(
    term: Term,
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    similarity: Similarity | None = None,
) -> list[Pair]:
    """The pairs whose distances guide; raises UserError if the mapping does not fit these taps.

    Without `similarity` the number of pairs is right, but the pairs may be others.
    """
    if term.shown_at is not None:
        return [Pair(tap, tap, weight) for tap, weight in term.shown_at]
    mapped = mappings.pairs_of(term.mapping, term.distance, target_taps, guide_taps, similarity)
    return of(term).pairs(mapped, target_taps, guide_taps)

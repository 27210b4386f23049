"""Controls: the features that guide in a guide's place, and the facts that a plan needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from trainers import mappings
from trainers.architectures.taps import Rows
from trainers.conditions.guidance import Term
from trainers.conditions.registries import CONTROLS
from trainers.guides.disk_cache import CacheInputs
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.mappings import Pair, Similarity
from trainers.registry import Component
from trainers.runtime.streams import Streams
from trainers.tasks import InputSpec, Task
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

        `inputs` are (batch, *shape), `labels` (batch,) or (batch, time).
        """


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """Arguments from which a control makes its feature source, for one replicate.

    `taps` are the names of the guide taps in depth order, (LOGITS,) for a distance of answers;
    `streams` are the target's. `guide` is None unless the control runs one. `streamed` caches guide
    features of streamed batches (None: the guide runs in every step); `cached` is the cache on
    fixed data (None: the default cache).
    """

    task: Task
    taps: tuple[str, ...]
    streams: Streams
    guide: FrozenGuide | None = None
    streamed: StreamedFeatures | None = None
    cached: Cached | None = None


class Control(ABC):
    """A source of features in a guide's place; subclasses override what differs from the guide."""

    #: Outputs on which the control has a meaning.
    guides: ClassVar[tuple[Compared, ...]] = ("taps", "answers")
    #: Whether a guide network runs. If not, a condition's guide has no state.
    runs_guide: ClassVar[bool] = True
    #: Whether the guide is of the target's own architecture.
    of_target: ClassVar[bool] = False
    #: Whether its features depend on the guide inputs of a batch. If not, `guide_inputs` has no
    #: effect, and runs with the same batches do not share features.
    sees_inputs: ClassVar[bool] = True
    #: Whether its features have the shapes of the guide's taps; if not, `row_width` is defined.
    shows_taps: ClassVar[bool] = True
    #: Whether the trained networks are compared with the guide after training.
    compared: ClassVar[bool] = False
    #: Another control whose steps do the same work, if any.
    works_like: ClassVar[str | None] = None

    @abstractmethod
    def source(self, context: SourceContext) -> FeatureSource:
        """The feature source of one replicate."""

    def cache_inputs(self, task: Task, streams: Streams) -> CacheInputs:  # noqa: ARG002
        """The guide inputs of the task's training examples, for the guide's cache."""
        return CacheInputs("train", lambda: task.train.inputs)

    def row_width(self, input: InputSpec, rows: Rows) -> int:
        """Number of features of a row, at every tap; defined unless `shows_taps`."""
        raise NotImplementedError(f"{type(self).__name__} shows {input} in {rows}")

    def pairs(self, mapped: Sequence[Pair]) -> list[Pair]:
        """The pairs of the mapping whose distances guide."""
        return list(mapped)


register = CONTROLS.register


def build(component: Component) -> Control:
    """The control of a name and options; raises UserError if there is none."""
    built: Control = CONTROLS.make(component)
    return built


def of(term: Term) -> Control:
    """The control of a term."""
    control = build(term.control)
    assert control.runs_guide == term.runs_guide, term
    return control


def works_like(term: Term) -> str:
    """The name of the control whose steps do the same work as those of a term."""
    return of(term).works_like or term.control.name


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
    return of(term).pairs(mapped)

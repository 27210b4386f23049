"""A control: the features that guide in a guide's place, and what a plan must know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from trainers import mappings
from trainers.architectures.taps import Rows
from trainers.conditions.guidance import Guidance
from trainers.guides.disk_cache import CacheInputs
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.mappings import Pair, Similarity
from trainers.registry import Registry
from trainers.runtime.streams import Streams
from trainers.tasks import InputSpec, Task
from trainers.tasks.batches import Batch

#: What a distance may be of: outputs of taps, or the networks' answers.
Compared = Literal["taps", "answers"]


class FeatureSource(Protocol):
    """Gives the features that guide one step."""

    #: Names of the guide taps in depth order.
    taps: tuple[str, ...]

    def features(self, batch: Batch, step: int) -> Features:
        """Guide tap -> output (batch, ...) or Gram matrix for the batch of a step."""

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Guide tap -> output for examples that are not training data, without shuffling.

        `inputs` are (batch, *shape), `labels` (batch,) or (batch, time).
        """


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """What a control makes its features from, for one replicate.

    `taps` are the names of the guide taps in depth order, (LOGITS,) for a distance of answers;
    `streams` those of the target. `guide` is None unless the control runs one. `streamed` is its
    memory of streamed batches, None to run it in every step; `cached` what is cached on fixed data,
    None for what is by default.
    """

    task: Task
    taps: tuple[str, ...]
    streams: Streams
    guide: FrozenGuide | None = None
    streamed: StreamedFeatures | None = None
    cached: Cached | None = None


class Control(ABC):
    """What guides in a guide's place. Subclasses say where they differ from the guide itself."""

    #: Of what a distance may be that it takes part in.
    guides: ClassVar[tuple[Compared, ...]] = ("taps", "answers")
    #: Whether a guide network runs. Where none does, a condition's guide has no state.
    runs_guide: ClassVar[bool] = True
    #: Whether the guide is of the target's own architecture.
    of_target: ClassVar[bool] = False
    #: Whether it depends on what the guide sees of a batch. Where it does not, `guide_inputs` play
    #: no part, and runs that meet the same batches have no features in common.
    sees_inputs: ClassVar[bool] = True
    #: Whether its features have the shapes of the guide's taps, so that `row_width` is not asked.
    shows_taps: ClassVar[bool] = True
    #: Whether the trained networks are compared with the guide afterwards.
    compared: ClassVar[bool] = False
    #: The control whose steps do the same work, where another does.
    works_like: ClassVar[str | None] = None

    @abstractmethod
    def source(self, context: SourceContext) -> FeatureSource:
        """The features that guide one replicate."""

    def cache_inputs(self, task: Task, streams: Streams) -> CacheInputs:  # noqa: ARG002
        """The inputs of the task's training examples that the guide sees, for its cache."""
        return CacheInputs("train", lambda: task.train.inputs)

    def row_width(self, input: InputSpec, rows: Rows) -> int:
        """Features of a row at every tap, where they are not those of the guide's taps."""
        raise NotImplementedError(f"{type(self).__name__} shows {input} in {rows}")

    def pairs(self, mapped: Sequence[Pair]) -> list[Pair]:
        """The pairs that guide, of those that the mapping gives."""
        return list(mapped)


CONTROLS: Registry[type[Control]] = Registry("control", __package__)
register = CONTROLS.register


def build(name: str) -> Control:
    """The control of a name; raises UserError where there is none."""
    return CONTROLS[name].factory()


def of(guidance: Guidance) -> Control:
    """The control of a guidance, whose guide has a state where a guide runs."""
    control = build(guidance.control)
    assert control.runs_guide == guidance.runs_guide, guidance
    return control


def pairs_of(
    guidance: Guidance,
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    similarity: Similarity | None = None,
) -> list[Pair]:
    """The pairs whose distances guide; raises UserError where the mapping does not fit these taps.

    Without `similarity` of the networks there are as many pairs, which may be others.
    """
    mapped = mappings.pairs_of(
        guidance.mapping, guidance.distance, target_taps, guide_taps, similarity
    )
    return of(guidance).pairs(mapped)

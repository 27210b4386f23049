"""Mixtures of guides in a spec: `{mix: [resnet2d, vit], weights: [[1, 0], [0.5, 0.5]]}`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from study.errors import tag
from study.spec.entries import GuideEntry
from study.spec.settings import Model, NonNegativeFloat, check_size
from trainers import controls
from trainers.conditions.guidance import NO_CONTROL, State
from trainers.conditions.registries import CONTROLS
from trainers.registry import Component, UnknownNameError


class MixedEntry(GuideEntry):
    """A guide of a mixture; in a `state` of its own, or with a `control` in its place."""

    state: State | None = None
    control: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> MixedEntry:
        if self.control is None:
            return self
        known = [name for name in CONTROLS.names() if not _control(name).runs_guide]
        if self.control not in known:
            raise ValueError(str(UnknownNameError("control of a mixture", self.control, known)))
        if self.state is not None:
            raise ValueError(f"control {self.control} runs no guide: it has no state")
        return self

    @property
    def own_control(self) -> Component:
        """The control that takes its place in the mixture; `none` is the guide itself."""
        return NO_CONTROL if self.control is None else CONTROLS.component(self.control)


def _control(name: str) -> controls.Control:
    return controls.build(CONTROLS.component(name))


def _vectors(value: Any) -> Any:
    """A list of vectors of weights; a single vector is a list of one."""
    single = isinstance(value, list | tuple) and not any(isinstance(e, list | tuple) for e in value)
    return [value] if single and value else value


class MixtureEntry(Model):
    """Several guides at once, each with a weight; every vector of `weights` is a mixture.

    A guide of weight 0 plays no part.
    """

    mix: tuple[MixedEntry, ...]
    weights: Annotated[
        tuple[tuple[NonNegativeFloat, ...], ...],
        BeforeValidator(_vectors),
    ]

    @model_validator(mode="after")
    def _fits(self) -> MixtureEntry:
        if len(self.mix) < 2:
            raise ValueError(f"mix has {len(self.mix)} of the 2 guides or more that it needs")
        if len({each.model_dump_json() for each in self.mix}) < len(self.mix):
            raise ValueError("mix: a guide stands twice")
        if not self.weights:
            raise ValueError("weights is empty; give each guide a weight")
        for vector in self.weights:
            shown = ", ".join(f"{weight:g}" for weight in vector)
            if len(vector) != len(self.mix):
                raise ValueError(
                    f"weights: [{shown}] has {len(vector)} and mix has {len(self.mix)} guides: "
                    "give each a weight"
                )
            if not math.isfinite(sum(vector)):
                raise ValueError(f"weights: the sum of [{shown}] is not finite")
            kept = [each for each, weight in zip(self.mix, vector, strict=True) if weight]
            if not kept:
                raise ValueError(f"weights: [{shown}] are all 0; allowed: one above 0 or more")
            if len(kept) > 1 and all(each.control for each in kept):
                raise ValueError(
                    f"weights: [{shown}] leave controls alone; allowed: a guide among them, or one"
                )
        check_size(self.num_points)
        return self

    @property
    def num_points(self) -> int:
        """Number of mixtures."""
        return math.prod(each.num_points for each in self.mix) * len(self.weights)


def parts(entries: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Entries with their places in a list of them; the guides of a mixture have its place."""
    for index, entry in enumerate(entries):
        for part in entry.mix if isinstance(entry, MixtureEntry) else (entry,):
            yield index, part


def check_orders(entries: Iterable[Any]) -> None:
    """Raise ValueError where two mixtures have the same guides in another order.

    They would be two dials of the same, and their mixtures trained twice.
    """
    known: dict[frozenset[str], tuple[int, MixtureEntry]] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, MixtureEntry):
            guides = frozenset(each.model_dump_json() for each in entry.mix)
            place, first = known.setdefault(guides, (index, entry))
            if first.mix != entry.mix:
                raise ValueError(
                    f"guides[{index}]: mix has the guides of guides[{place}] in another order; "
                    "give it theirs, or its weights there"
                )


def _kind(raw: Any) -> str:
    mixed = isinstance(raw, MixtureEntry) or (isinstance(raw, Mapping) and "mix" in raw)
    return tag(MixtureEntry if mixed else GuideEntry)


#: A guide, or a mixture of several.
Guides = Annotated[
    Annotated[GuideEntry, Tag(tag(GuideEntry))] | Annotated[MixtureEntry, Tag(tag(MixtureEntry))],
    Discriminator(_kind),
]

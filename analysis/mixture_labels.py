"""Labels of guides and of mixtures of them: `0.75*resnet2d+0.25*vit`."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from analysis.contract import TUNED


class Part(NamedTuple):
    """A guide of a label: its own label, its weight (NaN if searched), its state if it has one."""

    name: str
    weight: float
    state: str | None

    @property
    def is_control(self) -> bool:
        """Whether a control stands in its place."""
        return re.search(r"[(,]control=", self.name) is not None


def parts_of(guide: str, state: str | None = None) -> list[Part]:
    """The guides in a label, such as `0.75*resnet2d+0.25*vit`, in their order.

    `state` is the label of their states: one for all, or one for each that no control replaces.
    """
    return list(_parts_of(guide, state))


# A study has few labels, and asks for their parts for each of its rows.
@lru_cache(1024)
def _parts_of(guide: str, state: str | None) -> tuple[Part, ...]:
    found = [_part(part) for part in _split(guide)]
    states = list(states_of(state))
    if len(states) == 1:
        states *= len(found)
    free = iter(states)
    parts = (part if part.is_control else part._replace(state=next(free, None)) for part in found)
    return tuple(parts)


def terms_of(guide: str) -> list[tuple[str, str]]:
    """Weights and labels of the guides in a label as it has them: `0.75*` and `resnet2d`."""
    named = zip(_split(guide), parts_of(guide), strict=True)
    return [(text.removesuffix(part.name), part.name) for text, part in named]


def is_mixture(guide: str | None) -> bool:
    """Whether a label is of several guides."""
    return guide is not None and len(_split(guide)) > 1


def is_plain(guide: str | None) -> bool:
    """Whether a label is of one guide, without a weight."""
    return guide is not None and [part.weight for part in parts_of(guide)] == [1.0]


def states_of(state: str | None) -> tuple[str, ...]:
    """The states in a label, in the order of the guides where they differ; none without one."""
    return () if state is None else tuple(state.split("+"))


def _part(text: str) -> Part:
    weight, star, name = text.partition("*")
    if weight == TUNED and star:
        return Part(name, math.nan, None)
    try:
        return Part(name, float(weight), None) if star else Part(text, 1.0, None)
    except ValueError:
        return Part(text, 1.0, None)


def _split(guide: str) -> list[str]:
    """A label cut at each `+` that is in no brackets."""
    parts, depth = [""], 0
    for character in guide:
        depth += (character == "(") - (character == ")")
        if character == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts

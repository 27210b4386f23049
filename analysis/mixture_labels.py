"""Labels of guides and of mixtures of them: `0.75*resnet2d+0.25*vit`."""

from __future__ import annotations

import math

from analysis.contract import TUNED


def weights_of(guide: str) -> dict[str, float]:
    """Weights of the guides in a label: `0.75*resnet2d+0.25*vit`; a guide without one has 1.

    Weights that were searched are NaN.
    """
    found: dict[str, float] = {}
    for part in _parts(guide):
        weight, star, name = part.partition("*")
        try:
            found[name if star else part] = (
                math.nan if weight == TUNED else float(weight) if star else 1.0
            )
        except ValueError:
            found[part] = 1.0
    return found


def is_mixture(guide: str | None) -> bool:
    """Whether a label is of several guides."""
    return guide is not None and len(_parts(guide)) > 1


def states_of(state: str | None) -> tuple[str, ...]:
    """The states in a label, in the order of the guides where they differ; none without one."""
    return () if state is None else tuple(state.split("+"))


def _parts(guide: str) -> list[str]:
    """A label cut at each `+` that is in no brackets."""
    parts, depth = [""], 0
    for character in guide:
        depth += (character == "(") - (character == ")")
        if character == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts

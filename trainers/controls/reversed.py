"""Control `reversed`: whether it matters that deep layers meet deep layers.

A target learns from layers in reverse order nearly as well as from layers in order (arXiv
2502.04499).
"""

from __future__ import annotations

from collections.abc import Sequence

from trainers.controls.base import register
from trainers.controls.none import NoControl
from trainers.errors import UserError
from trainers.mappings import Pair, reverse


@register("reversed")
class Reversed(NoControl):
    """The guide's taps in reverse order."""

    guides = ("taps",)
    compared = False

    def pairs(
        self, mapped: Sequence[Pair], target_taps: Sequence[str], guide_taps: Sequence[str]  # noqa: ARG002
    ) -> list[Pair]:  # fmt: skip
        """Guide tap i of G with the target taps of tap G - 1 - i.

        Raises UserError if these are the same pairs.
        """
        found = reverse(mapped, guide_taps)
        # All pairs of one target tap may stand for pairs that are not known yet.
        known = len(guide_taps) == 1 or len({pair.target for pair in mapped}) > 1
        if known and set(found) == set(mapped):
            raise UserError(
                "in reverse order the guide's taps have the same pairs, so it is no control here"
            )
        return found

"""Control `self`: whether any frozen network would do."""

from __future__ import annotations

from trainers.controls.base import register
from trainers.controls.none import NoControl


@register("self")
class SelfControl(NoControl):
    """A guide of the target's own architecture."""

    of_target = True
    compared = False
    works_like = "none"

"""Rival `aligned_start`: whether alignment before training would do, within the same steps."""

from __future__ import annotations

from trainers.conditions.schedule import AlignFirst, AlignInputs
from trainers.errors import UserError
from trainers.rivals.base import Rival, register


@register("aligned_start")
class AlignedStart(Rival):
    """The first `steps` steps align the target with guides, without task loss; the rest train it.

    As `schedule: {align_first: ...}` of guidance, with which it shares guides, states, distances,
    mappings and controls of the spec (Subramaniam et al., arXiv 2410.20035: the warm-up on noise,
    `inputs: noise`). There the steps of alignment come on top; here they are taken out of those of
    the training, so that the target takes as many steps in all as its baseline. Training begins
    with a fresh optimiser, and its learning rate's schedule spans the steps that are left.
    """

    def __init__(self, *, steps: int = 150, inputs: AlignInputs = "task") -> None:
        try:
            self._align_first = AlignFirst(steps=steps, inputs=inputs)
        except UserError as error:
            text = str(error).removeprefix("schedule.align_first: ")
            raise UserError(f"rival aligned_start: {text}") from error

    @property
    def align_first(self) -> AlignFirst:
        """The alignment with guides before training."""
        return self._align_first

"""Schedules: the weight of guidance, and when it is on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

from trainers.conditions.training import MAX_STEPS, Steps
from trainers.errors import UserError
from trainers.options import Bounds, HashedOnce, check_fields
from trainers.registry import format_number

Decay = Literal["none", "linear", "cosine"]
AlignInputs = Literal["task", "redrawn", "noise"]


@dataclass(frozen=True, kw_only=True)
class AlignFirst:
    """`steps` of alignment alone, without task loss, before training.

    Guide and target get the task's training inputs, those of another draw of its data (`redrawn`,
    another for each seed), or the same Gaussian noise (tokens: drawn uniformly). Training then
    begins with a fresh optimiser, on the batches of an unguided run.
    """

    steps: Steps
    inputs: AlignInputs = "task"

    def __post_init__(self) -> None:
        check_fields(self, "schedule.align_first")


@dataclass(frozen=True, kw_only=True)
class Schedule(HashedOnce):
    """`alpha`, the weight of guidance, and when it is on.

    stop_step: guidance is off after so many steps (None: never).
    decay: alpha falls to 0 at `stop_step`, or at the end of training, on a line or half a cosine.
    warm_up: alpha rises on a line over so many first steps.
    balanced: alpha is in units of task loss / distance at the first step: at 1 both weigh the same.
    align_first: guidance is on before training instead of during it.
    every: guidance is on in one step of so many, the first included; `stop_step`, `decay` and
    `warm_up` count all steps.
    scale_alpha: alpha is multiplied by `every`, 2 or more, so that its mean over all steps is about
    that of guidance in each (lazy regularisation: Karras et al., arXiv 1912.04958).
    """

    alpha: Annotated[float, Bounds(ge=0)] = 1.0
    stop_step: Steps | None = None
    decay: Decay = "none"
    warm_up: Annotated[int, Bounds(ge=0, le=MAX_STEPS)] = 0
    balanced: bool = False
    align_first: AlignFirst | None = None
    every: Steps = 1
    scale_alpha: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "schedule")
        if self.scale_alpha and self.every == 1:
            raise UserError(
                "schedule: scale_alpha is true and every is 1; it multiplies alpha by every: give "
                "every, 2 or more, or leave it out"
            )
        if self.align_first is not None and self._during != Schedule():
            raise UserError(
                "schedule: align_first is guidance before training; it excludes stop_step, decay, "
                "warm_up, balanced and every, which shape guidance during training"
            )

    @property
    def _during(self) -> Schedule:
        """The part of it that shapes guidance during training."""
        return replace(self, alpha=1.0, align_first=None)

    @property
    def label(self) -> str:
        """Short name, such as `alpha=5,stop=200` or `alpha=1,align_first=150,inputs=noise`."""
        parts = [f"alpha={format_number(self.alpha)}"]
        if self.stop_step is not None:
            parts.append(f"stop={self.stop_step}")
        if self.decay != "none":
            parts.append(f"decay={self.decay}")
        if self.warm_up:
            parts.append(f"warm_up={self.warm_up}")
        if self.balanced:
            parts.append("balanced=true")
        if self.every > 1:
            parts.append(f"every={self.every}")
        if self.scale_alpha:
            parts.append("scale_alpha=true")
        if self.align_first is not None:
            parts.append(f"align_first={self.align_first.steps}")
            if self.align_first.inputs != "task":
                parts.append(f"inputs={self.align_first.inputs}")
        return ",".join(parts)

    @property
    def align_steps(self) -> int:
        """Number of steps of alignment alone."""
        return 0 if self.align_first is None else self.align_first.steps

    def guided_steps(self, num_steps: int) -> range:
        """Training steps, of `num_steps`, in which guidance is on."""
        return range(0, self._end(num_steps), self.every)

    def alpha_at(self, step: int, num_steps: int) -> float:
        """Alpha in a guided step `step` (from 0) of `num_steps`."""
        alpha = self.alpha * self.every if self.scale_alpha else self.alpha
        if self.warm_up:
            alpha *= min(1.0, (step + 1) / self.warm_up)
        done = step / self._end(num_steps)
        if self.decay == "linear":
            alpha *= 1.0 - done
        elif self.decay == "cosine":
            alpha *= 0.5 * (1.0 + math.cos(math.pi * done))
        return alpha

    def _end(self, num_steps: int) -> int:
        """Number of training steps, of `num_steps`, after which guidance is off."""
        if self.align_first is not None:
            return 0
        return num_steps if self.stop_step is None else min(self.stop_step, num_steps)

    def identity(self) -> dict[str, Any]:
        """JSON content that enters ids; fields that were added later only if not at defaults."""
        first = ("alpha", "stop_step")
        content = {
            item.name: value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default or item.name in first
        }
        if self.align_first is not None:
            content["align_first"] = asdict(self.align_first)
        return content

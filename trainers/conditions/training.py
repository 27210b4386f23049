"""Settings of a network's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from trainers.errors import UserError
from trainers.options import Bounds, HashedOnce, check_fields
from trainers.runtime.precision import Precision

T = TypeVar("T")
Optimizer = Literal["adam", "adamw", "sgd"]
LRSchedule = Literal["constant", "cosine", "linear", "step"]

#: Most steps or epochs of a training: at a million a second, twelve days.
MAX_STEPS = 10**12
#: Most examples of a batch: with a single number each, they take 4 GB.
MAX_BATCH = 10**9
#: Most threads. It is not this machine's number of cores, because `threads` decides the last bits
#: and so belongs to a condition, which other machines may train. OpenMP crashes with far more.
MAX_THREADS = 1024

Steps = Annotated[int, Bounds(ge=1, le=MAX_STEPS)]


@dataclass(frozen=True, kw_only=True)
class TrainSettings(HashedOnce):
    """Settings of a training run; every field enters the replicate's id.

    `batch_size` is the total over workers. `steps` and `epochs` exclude each other; `steps` is 0 if
    pretrained weights are only evaluated. `report_every` is in steps (default: an epoch, or a tenth
    of the run if data is streamed). `precision` is that of forward passes in training. `compile`
    compiles the target. With `lr_schedule: step` the learning rate falls to a tenth after every
    `lr_step`, a fraction of the run.
    """

    epochs: Steps | None = None
    steps: Annotated[int, Bounds(ge=0, le=MAX_STEPS)] | None = None
    batch_size: Annotated[int, Bounds(ge=1, le=MAX_BATCH)] = 100
    optimizer: Optimizer = "adamw"
    lr: Annotated[float, Bounds(ge=0)] = 1e-3
    weight_decay: Annotated[float, Bounds(ge=0)] = 0.0
    lr_schedule: LRSchedule = "constant"
    grad_clip: Annotated[float, Bounds(gt=0)] | None = None
    threads: Annotated[int, Bounds(ge=1, le=MAX_THREADS)] = 1
    precision: Precision = "float32"
    report_every: Steps | None = None
    compile: bool = False
    lr_step: Annotated[float, Bounds(gt=0, le=1)] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "train")
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                f"train: epochs is {self.epochs} and steps is {self.steps}; give exactly one"
            )
        if (self.lr_schedule == "step") != (self.lr_step is not None):
            raise UserError(
                f"train: lr_schedule is {self.lr_schedule} and lr_step is {self.lr_step}; lr_step, "
                "a fraction of the run, goes with lr_schedule: step, and that with it"
            )

    def num_steps(self, num_train: int | None) -> int:
        """Number of optimisation steps on `num_train` examples (None: streamed data).

        Raises UserError for streamed data without `steps`.
        """
        if self.steps is not None:
            return self.steps
        if num_train is None:
            raise UserError(
                f"train.epochs is {self.epochs}, but the task generates its data without end; "
                "give train.steps"
            )
        assert self.epochs is not None
        return self.epochs * self.epoch_steps(num_train)

    def epoch_steps(self, num_train: int) -> int:
        """Number of batches in an epoch; they differ in size by one example at most."""
        return -(-num_train // self.batch_size)

    def report_steps(self, num_train: int | None) -> int:
        """Number of steps between reports."""
        if self.report_every is not None:
            return self.report_every
        if num_train is not None:
            return self.epoch_steps(num_train)
        return max(1, self.num_steps(None) // 10)


def updated(settings: Mapping[str, T], more: Mapping[str, T]) -> dict[str, T]:
    """Settings by field, updated by more of them; `epochs` replaces `steps`, and vice versa."""
    lengths = ("epochs", "steps")
    drop = lengths if any(length in more for length in lengths) else ()
    return {name: value for name, value in settings.items() if name not in drop} | dict(more)

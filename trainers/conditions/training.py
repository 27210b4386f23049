"""How a network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainers.errors import UserError
from trainers.registry import check_fields
from trainers.runtime.precision import Precision

Optimizer = Literal["adam", "adamw", "sgd"]
LRSchedule = Literal["constant", "cosine", "linear", "step"]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained; every field enters the replicate's id.

    `batch_size` is global over workers; `steps` and `epochs` exclude each other, and `steps` is 0
    where pretrained weights are only evaluated; `report_every` is
    in steps (default: an epoch, or a tenth of the run where data is streamed); `precision` is that
    of the networks' forward passes in training; `compile` compiles the one that learns. With
    `lr_schedule: step` the learning rate falls to a tenth after every `lr_step` of the run.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 100
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    lr_schedule: LRSchedule = "constant"
    grad_clip: float | None = None
    threads: int = 1
    precision: Precision = "float32"
    report_every: int | None = None
    compile: bool = False
    lr_step: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "train")
        for name in ("epochs", "steps", "batch_size", "threads", "report_every"):
            count = getattr(self, name)
            if count is not None and count < (0 if name == "steps" else 1):
                raise UserError(f"train: {name} is {count}; allowed: 1 or more")
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                f"train: epochs is {self.epochs} and steps is {self.steps}; give exactly one"
            )
        if (self.lr_schedule == "step") != (self.lr_step is not None):
            raise UserError(
                f"train: lr_schedule is {self.lr_schedule} and lr_step is {self.lr_step}; lr_step, "
                "a fraction of the run, goes with lr_schedule: step, and that with it"
            )
        if self.lr_step is not None and not 0 < self.lr_step <= 1:
            raise UserError(f"train: lr_step is {self.lr_step}; allowed: above 0, up to 1")

    def num_steps(self, num_train: int | None) -> int:
        """Optimisation steps on `num_train` examples (None: streamed; then `steps` is needed)."""
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
        """Batches of an epoch; they differ in size by one example at most."""
        return -(-num_train // self.batch_size)

    def report_steps(self, num_train: int | None) -> int:
        """Steps between reports."""
        if self.report_every is not None:
            return self.report_every
        if num_train is not None:
            return self.epoch_steps(num_train)
        return max(1, self.num_steps(None) // 10)

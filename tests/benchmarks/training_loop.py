"""Cost of a training step in multiples of a loop written by hand, on one CPU thread.

    python tests/benchmarks/training_loop.py [SETTING ...] [--json]

The same network, data, loss, optimiser and gradient clipping in all; the goal is 1.1 or less.
Medians, interleaved in one process (five steps of each in turn), of the processor time of one
thread, so that other work on the machine counts less:

    by_hand     batch, forward, cross-entropy, backward, clipping, update, in plain PyTorch
    fused       the same with the fused form of the optimiser, which ours has too
    ours        `Run.step` as training calls it
    ratio       the median over turns of ours / by hand
    overhead    that of ours / fused: what the loop itself costs
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.runtime.devices import on_cpu
from trainers.runtime.streams import isolated
from trainers.tasks import IGNORE, TASKS, Task
from trainers.training.loop import Run
from trainers.training.setup import RunSetup, initial

SECONDS_PER_SETTING = 30.0
STEPS_AT_A_TIME = 5
LR = 2e-3


@dataclass(frozen=True)
class TrialContext:
    """A network, its task, and how it is trained."""

    task: str
    target: str
    batch_size: int
    grad_clip: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


SETTINGS = {
    "rnn": TrialContext("copy_paste", "rnn", 64, grad_clip=1.0),
    "transformer": TrialContext("copy_paste", "transformer", 64, grad_clip=1.0),
    "fcn": TrialContext("translated_digits", "fcn", 100, options={"norm": "batch"}),
}


def condition_of(setting: TrialContext) -> Condition:
    """The baseline of a setting."""
    return Condition(
        task=TASKS.component(setting.task),
        target=ARCHITECTURES.component(setting.target, **setting.options),
        train=TrainSettings(
            steps=1_000_000, batch_size=setting.batch_size, lr=LR, grad_clip=setting.grad_clip
        ),
    )


class ByHand:
    """What one would write without this package."""

    def __init__(
        self, setting: TrialContext, condition: Condition, task: Task, *, fused: bool | None = None
    ) -> None:
        self.network = initial(RunSetup.of(condition, 0)).train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LR, weight_decay=0.0, fused=fused
        )
        self.generator = torch.Generator().manual_seed(0)
        self.setting, self.task = setting, task
        self.order: list[Tensor] = []

    def step(self, _step: int) -> Tensor:
        """One optimisation step."""
        inputs, labels = self.batch()
        logits = self.network(inputs)
        loss = functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.setting.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.setting.grad_clip)
        self.optimizer.step()
        return loss.detach()

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next batch: generated, or of a fresh permutation in each epoch."""
        if self.task.num_train is None:
            return self.task.sample(self.setting.batch_size, self.generator)
        if not self.order:
            permutation = torch.randperm(self.task.num_train, generator=self.generator)
            self.order = list(torch.split(permutation, self.setting.batch_size)[:-1])
        chosen = self.order.pop()
        return self.task.train.inputs[chosen], self.task.train.labels[chosen]


def measure(setting: TrialContext) -> dict[str, float]:
    """Median milliseconds of a step of each loop, and how ours compares."""
    condition = condition_of(setting)
    run = Run(RunSetup.of(condition, 0), (), _silent)
    run.network.train()
    times: dict[str, list[float]] = {"by_hand": [], "fused": [], "ours": []}
    with run.recording() as outputs:

        def ours(step: int) -> None:
            run.window.add(run.step(step, outputs))
            outputs.clear()

        steps: dict[str, Callable[[int], object]] = {
            "by_hand": ByHand(setting, condition, run.task).step,
            "fused": ByHand(setting, condition, run.task, fused=True).step,
            "ours": ours,
        }
        step, end = 0, time.perf_counter() + SECONDS_PER_SETTING
        while step < 4 * STEPS_AT_A_TIME or time.perf_counter() < end:
            for name, take in steps.items():
                started = time.thread_time()
                for index in range(step, step + STEPS_AT_A_TIME):
                    take(index)
                times[name].append(1e3 * (time.thread_time() - started) / STEPS_AT_A_TIME)
            step += STEPS_AT_A_TIME
    times = {name: values[1:] for name, values in times.items()}
    medians = {f"{name}_ms": statistics.median(values) for name, values in times.items()}
    return {
        **medians,
        "ratio": _ratio(times["ours"], times["by_hand"]),
        "overhead": _ratio(times["ours"], times["fused"]),
        "turns": len(times["ours"]),
    }


def _ratio(ours: list[float], other: list[float]) -> float:
    return statistics.median(mine / its for mine, its in zip(ours, other, strict=True))


def _silent(_payload: object) -> None:
    """Nothing is reported."""


def main() -> None:
    """Measure the settings and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    with on_cpu(), isolated(threads=1):
        results = {name: measure(SETTINGS[name]) for name in arguments.settings or SETTINGS}
    if arguments.json:
        print(json.dumps(results))
        return
    columns = list(next(iter(results.values())))
    print(f"{'':>12}", *(f"{column:>10}" for column in columns))
    for name, row in results.items():
        print(f"{name:>12}", *(f"{row[column]:>10.3g}" for column in columns))


if __name__ == "__main__":
    main()

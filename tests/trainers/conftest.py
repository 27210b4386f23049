"""Tiny conditions, and a report that remembers, checks and interrupts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.conditions import guidance_of
from tests.helpers.process_group import ProcessGroup
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.messages import Measured
from trainers.tasks import TASKS
from trainers.training import train

MakeCondition = Callable[..., Condition]
Forbidding = Callable[[Path], AbstractContextManager[None]]

#: Task, target and guide of each kind of condition.
KINDS: dict[str, Any] = {
    "image": (
        ("translated_digits", {"places": 1}),
        ("fcn", {"depth": 2, "width": 8, "norm": "batch"}),
        ("resnet2d", {"width": 2, "blocks": 1}),
    ),
    "token": (
        ("copy_paste", {"length": 2, "symbols": 3}),
        ("rnn", {"depth": 2, "width": 8, "embedding": 4}),
        ("transformer", {"depth": 1, "width": 8, "heads": 2, "feed_forward": 8}),
    ),
}


def _condition(
    kind: str = "image",
    *,
    control: str | None = None,
    state: str | None = "untrained",
    batch_norm: str = "calibrated",
    target: dict[str, Any] | None = None,
    alpha: float = 1.0,
    stop_step: int | None = None,
    guidance: dict[str, Any] | None = None,
    **train: Any,
) -> Condition:
    (task, task_options), (network, network_options), (guide, guide_options) = KINDS[kind]
    settings = {"steps": 6, "batch_size": 20, "report_every": 2, "lr": 1e-2} | train
    content: Any = {
        "task": TASKS.component(task, **task_options),
        "target": ARCHITECTURES.component(network, **network_options | (target or {})),
        "train": TrainSettings(**settings),
    }
    if control is None:
        return Condition(**content)
    trained = state == "trained"
    shown: Any = Guide(
        architecture=ARCHITECTURES.component(guide, **guide_options),
        state=state,  # type: ignore[arg-type]
        batch_norm=batch_norm if state == "untrained" else None,  # type: ignore[arg-type]
        train=TrainSettings(steps=2, batch_size=20) if trained else None,
    )
    extra: Any = {
        "distance": DISTANCES.component("linear_cka"),
        "schedule": Schedule(alpha=alpha, stop_step=stop_step),
    }
    content["treatment"] = guidance_of(
        guide=shown,
        control=control,  # type: ignore[arg-type]
        **extra | (guidance or {}),
    )
    return Condition(**content)


@pytest.fixture(scope="session")
def make_condition() -> MakeCondition:
    """What `make` is, for fixtures of wider scope."""
    return _condition


@pytest.fixture
def make() -> MakeCondition:
    """Builds a condition: a baseline, or guided where a `control` is given (`none`: no control)."""
    return _condition


class InterruptedRunError(Exception):
    """Stands for whatever ends a run."""


@dataclass
class Reports:
    """A report that keeps what it gets, and raises once it got `interrupt_at`."""

    interrupt_at: int | None = None
    payloads: list[Measured] = field(default_factory=list)

    def __call__(self, payload: Measured) -> None:
        self.payloads.append(payload)
        if payload.step == self.interrupt_at:
            raise InterruptedRunError

    @property
    def points(self) -> list[tuple[int, str, float]]:
        """(step, metric, value) in the order of the reports."""
        return [(p.step, name, v) for p in self.payloads for name, v in p.metrics.items()]


@pytest.fixture
def reports() -> type[Reports]:
    return Reports


@pytest.fixture
def interruption() -> type[Exception]:
    return InterruptedRunError


@pytest.fixture
def same_result() -> Callable[[train.Result, train.Result], None]:
    """Asserts that two results are the same bit for bit, times excepted."""
    import torch

    def check(first: train.Result, second: train.Result) -> None:
        mine, its = first.network.state_dict(), second.network.state_dict()
        assert mine.keys() == its.keys()
        assert [name for name in mine if not torch.equal(mine[name], its[name])] == []
        points = [
            [(p.step, p.metric, p.value) for p in result.history.points]
            for result in (first, second)
        ]
        assert points[0] == points[1]
        assert first.metrics == second.metrics
        assert (first.steps, first.replicate_id) == (second.steps, second.replicate_id)

    return check


@pytest.fixture
def forbidding(tmp_path: Path) -> Forbidding:
    """Makes a path unreadable while a block runs, for root too, who gives up his rights for it."""
    nobody = 65534

    @contextmanager
    def forbid(path: Path) -> Iterator[None]:
        root = os.geteuid() == 0
        above = [folder for folder in tmp_path.parents if folder.owner() == Path.home().owner()]
        modes = {folder: folder.stat().st_mode for folder in (tmp_path, *above, path)}
        try:
            for folder in (tmp_path, *above) if root else ():
                folder.chmod(modes[folder] | 0o755)
            path.chmod(0)
            if root:
                os.seteuid(nobody)
            yield
        finally:
            if root:
                os.seteuid(0)
            for folder, mode in modes.items():
                folder.chmod(mode)

    return forbid


@pytest.fixture(scope="session")
def groups() -> Iterator[Callable[[int], ProcessGroup]]:
    """Process groups by size; starting one takes seconds, so tests share them."""
    made: dict[int, ProcessGroup] = {}

    def group(size: int) -> ProcessGroup:
        if size not in made:
            made[size] = ProcessGroup(size)
        return made[size]

    yield group
    for process_group in made.values():
        process_group.close()

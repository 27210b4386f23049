"""Metrics of a run: means over a window of steps, and reports once the store holds them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.mappings import Pair
from trainers.messages import Measured, Report, Warned
from trainers.store.tables import History


class DivergedError(RuntimeError):
    """A loss that is no longer finite."""


class Window:
    """Sums of a step's losses since the last report, on the device, without synchronising it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add one step's detached losses, scalars or (num_pairs,)."""
        for name, value in losses.items():
            known = self._sums.get(name)
            self._sums[name] = value.double() if known is None else known + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def state(self) -> dict[str, Any]:
        """Sums and counts, for a checkpoint."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a `state`, on a device."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])

    def take(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Means since the last call, by metric; `distances` become one metric per pair."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        each = means.pop("distances", torch.empty(0)).tolist()
        spread = {pair.metric: value for pair, value in zip(pairs, each, strict=False)}
        return {name: mean.item() for name, mean in means.items()} | spread


class Log:
    """A replicate's history, and the reports that are pending until the store holds them."""

    def __init__(self, history: History, report: Report) -> None:
        self.history = history
        self._report = report
        #: Values of an earlier process by step and metric, until they are measured again.
        self._known: dict[tuple[int, str], float] = {}
        self._pending: list[Measured] = []

    def resume(self, history: History) -> None:
        """Continue with a history, whose metrics are not reported again."""
        self.history = history
        self._known = {(point.step, point.metric): point.value for point in history.points}

    @property
    def pending(self) -> bool:
        """Whether the history has points that are not reported."""
        return bool(self._pending)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of a step; raises DivergedError if a loss is not finite.

        Where they differ from those of the history, which another machine or version has measured,
        the history is that of this process from there on.
        """
        for name, value in metrics.items():
            if name.endswith("/loss") and not math.isfinite(value):
                raise DivergedError(f"{name} is {value} by step {step}")
        known = {n: self._known.pop((step, n)) for n in metrics if (step, n) in self._known}
        if any(not _same(metrics[name], value) for name, value in known.items()):
            self._forget_rest(step, set(known))
            known = {}
        new = {name: value for name, value in metrics.items() if name not in known}
        if not new:
            return
        timestamp = int(time.time() * 1000)
        self.history.add(step, timestamp, new)
        self._pending.append(
            Measured(
                replicate_id=self.history.replicate_id,
                step=step,
                metrics=new,
                timestamp=timestamp,
            )
        )

    def _forget_rest(self, step: int, metrics: set[str]) -> None:
        """Remove from the history these metrics of a step, and all later ones."""
        rest = {known for known in self._known if known[0] >= step}
        rest |= {(step, name) for name in metrics}
        points = [p for p in self.history.points if (p.step, p.metric) not in rest]
        self.history = History(self.history.replicate_id, points)
        self._known = {}
        text = (
            f"from step {step} on other numbers come out than in its history (another machine or "
            "version of a library): they take the place of those"
        )
        self._report(Warned(replicate_id=self.history.replicate_id, text=text))

    def flush(self) -> None:
        """Report the pending metrics; called once the store holds them."""
        pending, self._pending = self._pending, []
        for message in pending:
            self._report(message)


def named(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Scores under names with a prefix."""
    return {prefix + name: value for name, value in scores.items()}


def finite(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Finite scores under names with a prefix: for those that describe, and that nothing may fail.

    A loss that `Log.add` gets must be finite.
    """
    return named(prefix, {name: value for name, value in scores.items() if math.isfinite(value)})


def _same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))

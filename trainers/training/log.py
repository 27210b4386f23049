"""What a run says while it trains: averages over a window of steps, kept, then reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.mappings import Pair
from trainers.store.tables import History

Report = Callable[[dict[str, Any]], object]


class DivergedError(RuntimeError):
    """A loss is not finite any more."""


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

    def take(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Means since the last call by metric name; `distances` is spread over the pairs."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        each = means.pop("distances", torch.empty(0)).tolist()
        spread = {pair.metric: value for pair, value in zip(pairs, each, strict=False)}
        return {name: mean.item() for name, mean in means.items()} | spread


class Log:
    """A replicate's history, and the reports that wait until the store holds them."""

    def __init__(self, history: History, report: Report) -> None:
        self.history = history
        self._report = report
        self._pending: list[dict[str, Any]] = []
        self._started = int(time.time() * 1000)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note the metrics of a step; raises DivergedError when a loss is not finite."""
        for name, value in metrics.items():
            if name.endswith("/loss") and not math.isfinite(value):
                raise DivergedError(f"{name} is {value} by step {step}")
        timestamp = int(time.time() * 1000)
        self.history.add(step, timestamp, metrics)
        self._pending.append(
            {
                "replicate_id": self.history.replicate_id,
                "step": step,
                "metrics": dict(metrics),
                "timestamp": timestamp,
                "started": self._started,
            }
        )

    def flush(self) -> None:
        """Report what was noted; called when the store holds it."""
        pending, self._pending = self._pending, []
        for payload in pending:
            self._report(payload)

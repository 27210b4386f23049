"""When the leader of a trial reports to Tune."""

from __future__ import annotations

from typing import Any

import pytest
import ray.train

from trainers.messages import Ended, Measured
from trainers.parallel.workers import ALONE
from trainers.trial.ray_worker import BatchedReports


def test_the_end_of_a_guide_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other trials wait for it, perhaps while this one compares networks."""
    calls: list[list[Any]] = []
    monkeypatch.setattr(ray.train, "report", lambda report: calls.append(report["progress"]))
    progress = BatchedReports(ALONE, ["guide"])
    progress.add(Measured(replicate_id="guide", step=1, metrics={"loss": 1.0}, timestamp=0))
    progress.add(Ended(replicate_id="baseline", status="finished"))
    assert calls == []
    progress.add(Ended(replicate_id="guide", status="finished"))
    ends = [[message["replicate_id"] for message in call] for call in calls]
    assert ends == [["guide", "baseline", "guide"]]
    progress.flush()
    assert len(calls) == 1

"""A study that cannot work is stopped, one whose cells fail here and there is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.plan.progress import Progress
from study.run.circuit_breaker import CircuitBreaker, StoppedError
from tests.helpers.search import planned
from trainers.messages import Aborted, Ended, Measured
from trainers.store.store import Store


@pytest.fixture
def brake(trained: Any, tmp_path: Path) -> CircuitBreaker:
    """That of a study of which nothing is trained yet."""
    return CircuitBreaker(Progress(trained.plan, Store(tmp_path)))


def failed(identifier: str, error: str) -> Ended:
    return Ended(replicate_id=identifier, status="failed", error=error)


def finished(identifier: str) -> Ended:
    return Ended(replicate_id=identifier, status="finished")


def test_three_first_failures_alike_stop(brake: CircuitBreaker) -> None:
    brake.note(failed("a", "DivergedError: train/loss is nan by step 20"))
    brake.note(Measured(replicate_id="b", step=1, metrics={}, timestamp=1))
    brake.note(failed("b", "DivergedError: train/loss is nan by step 7"))
    assert brake.reason is None
    brake.note(failed("c", "DivergedError: train/loss is nan by step 1e3"))
    assert brake.reason is not None
    assert "the first 3 replicates failed alike: DivergedError" in brake.reason


def test_one_replicate_that_fails_three_times_is_one(brake: CircuitBreaker) -> None:
    for _ in range(3):
        brake.note(failed("a", "out of luck"))
    assert brake.reason is None


@pytest.mark.parametrize(
    "reports",
    [
        [failed("a", "one"), failed("b", "one"), failed("c", "another")],
        [failed("a", "one"), finished("x"), failed("b", "one"), failed("c", "one")],
        [failed("a", "one"), failed("b", "two"), *(failed(i, "one") for i in "cdef")],
    ],
    ids=["different causes", "one works", "the first three differ"],
)
def test_other_failures_do_not_stop(brake: CircuitBreaker, reports: list[Ended]) -> None:
    for report in reports:
        brake.note(report)
    assert brake.reason is None


def test_candidates_may_diverge_but_not_fail_otherwise(tmp_path: Path) -> None:
    plan = planned()
    ids = [r.id for r in plan.replicates if r.role == "candidate"]
    brake = CircuitBreaker(Progress(plan, Store(tmp_path)))
    for identifier in ids[:5]:
        brake.note(failed(identifier, "DivergedError: train/loss is nan by step 20"))
    assert brake.reason is None
    for identifier in ids[5:8]:
        brake.note(failed(identifier, "TypeError: no"))
    assert brake.reason is not None


def test_a_study_that_has_worked_is_not_stopped(trained: Any) -> None:
    brake = CircuitBreaker(Progress(trained.plan, Store(trained.folder)))
    for identifier in "abc":
        brake.note(failed(identifier, "one"))
    assert brake.reason is None
    brake.note(Aborted(error="StorageError: disk full", traceback=""))
    assert brake.reason == "StorageError: disk full"


def test_a_study_whose_replicates_all_diverge_ends_at_the_third(
    trained: Any, tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = trained.spec | {"name": "diverges", "seeds": 5}
    # Of the first step's loss, squared: nothing stays finite.
    spec["guide_train"] = {"steps": 4, "optimizer": "sgd", "lr": 1e30}
    with pytest.raises(StoppedError, match="first 3 replicates failed alike: DivergedError"):
        Study(**spec).run(store=tmp_path, tracking_uri=database, local=True)
    assert len(list(tmp_path.glob("replicates/*/failure.json"))) == 3
    assert not list(tmp_path.glob("replicates/*/result.json"))
    assert capsys.readouterr().out.count("DivergedError") >= 3

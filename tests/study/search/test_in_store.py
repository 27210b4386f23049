"""Results in a store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.search.in_store import StoreResults
from trainers.store.store import Store
from trainers.store.tables import History

if TYPE_CHECKING:
    from study.plan.replicates import Replicate
    from tests.study.conftest import Trained


def one(trained: Trained, role: str, seed: int) -> Replicate:
    return next(r for r in trained.plan.replicates if (r.role, r.seed) == (role, seed))


def test_the_value_is_the_last_one_of_the_metric(trained: Trained) -> None:
    results = StoreResults(Store(trained.folder))
    baseline = one(trained, "baseline", 1)
    content = (trained.folder / "replicates" / baseline.id / "history.parquet").read_bytes()
    points = History.from_parquet(baseline.id, content).points
    accuracies = [p.value for p in points if p.metric == "validation/accuracy"]
    assert len(accuracies) >= 2
    found = results.value(baseline.condition, 1, "validation/accuracy")
    assert found == accuracies[-1]
    losses = [p.value for p in points if p.metric == "validation/loss"]
    assert results.value(baseline.condition, 1, "validation/loss") == losses[-1]


def test_the_guide_of_a_failed_guide_has_failed_and_so_has_what_it_blocks(trained: Trained) -> None:
    results = StoreResults(Store(trained.folder))
    for role in ("guide", "guided"):
        replicate = next(
            r
            for r in trained.plan.replicates
            if (r.role, r.seed) == (role, 1) and (role == "guide" or r.requires)
        )
        value = results.value(replicate.condition, 1, "validation/accuracy")
        assert value is not None
        assert math.isnan(value)


def test_what_has_not_ended_has_no_result(trained: Trained, store_copy: Path) -> None:
    baseline = one(trained, "baseline", 0)
    results = StoreResults(Store(store_copy))
    assert results.value(baseline.condition, 77, "validation/accuracy") is None
    (store_copy / "replicates" / baseline.id / "result.json").write_text("{")
    assert results.value(baseline.condition, 0, "validation/accuracy") is None


def test_replicates_that_begin_later_are_noticed(trained: Trained, tmp_path: Path) -> None:
    results = StoreResults(Store(tmp_path / "store"))
    baseline = one(trained, "baseline", 0)
    assert results.value(baseline.condition, 0, "validation/accuracy") is None
    (tmp_path / "store").symlink_to(trained.folder)
    assert results.look().value(baseline.condition, 0, "validation/accuracy") is not None


def test_a_damaged_history_is_discarded_and_not_waited_for(
    trained: Trained, store_copy: Path
) -> None:
    baseline, store = one(trained, "baseline", 0), Store(store_copy)
    path = store_copy / "replicates" / baseline.id / "history.parquet"
    # Of the same size, so that only a reader notices.
    path.write_bytes(b"x" * path.stat().st_size)
    results = StoreResults(store)
    assert results.value(baseline.condition, 0, "validation/accuracy") is None
    assert store.replicate(baseline.id).result() is not None
    with pytest.warns(UserWarning, match=r"history\.parquet is .*: retrained"):
        results.discard_damaged()
    assert store.replicate(baseline.id).result() is None
    results.discard_damaged()

"""Workers without Ray, in this process: their order, and what they do together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.run.work import in_turn
from tests.helpers.search import SPEC as SEARCHED
from trainers.store.lease import Lease
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "shared",
    "task": "digits",
    "targets": ["fcn"],
    "guides": ["fcn"],
    "controls": ["shuffled"],
    "seeds": 3,
    "train": {"steps": 3, "batch_size": 20},
}


def test_each_begins_at_a_seed_of_its_own_and_guides_come_first() -> None:
    replicates = Study(**SPEC).plan().replicates
    assert [r.id for r in in_turn(replicates, start=0)] != [
        r.id for r in in_turn(replicates, start=1)
    ]
    for start in range(4):
        order = in_turn(replicates, start=start)
        assert {r.id for r in order} == {r.id for r in replicates}
        seeds = list(dict.fromkeys(r.seed for r in order))
        assert seeds == [*range(start % 3, 3), *range(start % 3)]
        seen: set[str] = set()
        for replicate in order:
            assert replicate.requires <= seen
            seen.add(replicate.id)
    assert in_turn([], start=5) == []


def test_it_trains_all_and_says_what_it_trained(tmp_path: Path) -> None:
    study, said = Study(**SPEC), list[str]()
    progress = study.work(store=tmp_path, say=said.append)
    assert progress.complete
    assert len(said) == len(progress.plan)
    assert all(line.endswith(": finished") for line in said)
    again = list[str]()
    assert study.work(store=tmp_path, say=again.append).complete
    assert again == []
    assert not (tmp_path / "mlflow.db").exists()


def test_it_waits_for_a_guide_that_another_process_trains(tmp_path: Path) -> None:
    study = Study(**SPEC | {"seeds": 1})
    guide = next(r for r in study.plan().replicates if r.role == "guide")
    folder = Store(tmp_path).replicate(guide.id).folder
    said = list[str]()
    with Lease(folder):
        thread = threading.Thread(target=study.work, kwargs={"store": tmp_path, "say": said.append})
        thread.start()
        thread.join(timeout=5)
        assert thread.is_alive()
        # The other one dies here, and leaves the guide as it was.
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert Study(**SPEC | {"seeds": 1}).work(store=tmp_path).complete
    assert sum("(guide " in line for line in said) == 1


def test_it_searches(tmp_path: Path) -> None:
    progress = Study(**SEARCHED).work(store=tmp_path)
    assert progress.complete
    assert not progress.plan.later


def test_a_candidate_with_a_damaged_history_is_trained_anew(tmp_path: Path) -> None:
    study = Study(**SEARCHED)
    progress = study.work(store=tmp_path)
    candidate = next(
        r for r in progress.plan.replicates if r.role == "candidate" and not r.condition.is_guide
    )
    path = tmp_path / "replicates" / candidate.id / "history.parquet"
    # Of the same size, so that only a reader notices.
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.warns(UserWarning, match=r"history\.parquet is .*: retrained"):
        assert study.work(store=tmp_path).complete

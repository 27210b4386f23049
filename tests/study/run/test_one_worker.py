"""A Tune trial of one worker, in this process: what it trains, reports and compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from study.plan.packing import pack
from study.plan.progress import Progress
from study.run import comparisons
from trainers.extensions.code_digest import source_digest
from trainers.messages import Ended, Measured, decode
from trainers.store.store import Store
from trainers.trial import ray_worker


def test_a_trial_of_one_worker_is_its_own_worker(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", calls.append)
    monkeypatch.setattr(ray_worker, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(ray_worker, "_train_in_group", lambda *_: pytest.fail("a group of one"))
    todo = [r for r in trained.plan.replicates if r.seed == 0]
    (trial,) = pack(todo, {r.id: 1.0 for r in todo}, slots=1)
    payload = json.loads(json.dumps(trial.payload(comparisons.by_replicate(trained.plan))))
    settings = {
        "workers": 1, "cpus": 1, "gpus": 0, "ray_storage": str(tmp_path),
        "pack": {
            "store": str(tmp_path / "store"), "run": "one", "provenance": {}, "imports": [],
            "sources": source_digest(), "checkpoint_every": {},
        },
    }  # fmt: skip
    ray_worker.tune_trial({"trial": 0}, [payload], settings)
    messages = [decode(each) for call in calls for each in call["progress"]]
    ended = {m.replicate_id: m.status for m in messages if isinstance(m, Ended)}
    assert ended == {r.id: "finished" for r in todo}
    assert {m.replicate_id for m in messages if isinstance(m, Measured)} == set(ended)
    progress = Progress(trained.plan, Store(tmp_path / "store"))
    kept = list((tmp_path / "store" / "alignments").rglob("*.parquet"))
    assert len(kept) == len(comparisons.wanted(progress)) == 2 * 3

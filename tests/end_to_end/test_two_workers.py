"""A study whose trials have two workers each, through Ray: the numbers of one, but for rounding."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import trainers
from study import Study
from tests.end_to_end.test_study import command, tables

SPEC: dict[str, Any] = {
    "name": "pair",
    "seeds": 1,
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "norm": "batch", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": "trained",
    "controls": ["shuffled"],
    "train": {"steps": 12, "batch_size": 25, "report_every": 4, "optimizer": "sgd", "lr": 0.05},
    # All of the machine for one trial: its start is most of this test's time.
    "resources": {"workers": 2, "cpus_per_worker": (os.cpu_count() or 1) / 2},
}


@pytest.mark.slow
def test_two_workers_a_trial(tmp_path: Path) -> None:
    spec, store = tmp_path / "pair.yaml", tmp_path / "store"
    spec.write_text(json.dumps(SPEC))
    done = command("run", spec, "--store", store, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = tables(store, "pair")
    plan = Study(**SPEC).plan()
    assert set(found["replicates"]["status"]) == {"finished"}
    assert set(found["replicates"]["replicate_id"]) == {r.id for r in plan.replicates}
    assert len(plan) == 4
    points = found["history"].set_index(["replicate_id", "step", "metric"])["value"]
    for replicate in plan.replicates:
        alone = trainers.train(
            replicate.condition,
            seed=replicate.seed,
            store=tmp_path / "alone",
            report=lambda _: None,
        )
        wanted = {(p.step, p.metric): p.value for p in alone.history.points}
        mine = points[replicate.id].to_dict()
        assert mine.keys() == wanted.keys()
        for key, value in wanted.items():
            if "loss" in key[1] or "distance" in key[1]:
                assert mine[key] == pytest.approx(value, rel=1e-3), key
    assert not list((store / "replicates").glob("*/starts.json"))
    assert not list((store / "replicates").glob("*/lease.json"))

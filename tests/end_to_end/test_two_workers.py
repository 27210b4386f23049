"""A study whose trials have two workers each, through Ray: the numbers of one, but for rounding."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
from test_study import command, tables

from study import Study

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


def test_two_workers_a_trial(tmp_path: Path) -> None:
    spec, store = tmp_path / "pair.yaml", tmp_path / "store"
    spec.write_text(json.dumps(SPEC))
    done = command("run", spec, "--store", store, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    local = Study(**SPEC).run(store=tmp_path / "local", local=True)
    found = tables(store, "pair")
    replicates = found["replicates"]
    assert set(replicates["status"]) == {"finished"}
    assert set(replicates["replicate_id"]) == set(local.tables["replicates"]["replicate_id"])
    assert not list((store / "replicates").glob("*/starts.json"))
    assert not list((store / "replicates").glob("*/lease.json"))
    keys = ["replicate_id", "step", "metric"]
    both = found["history"].merge(local.tables["history"], on=keys, suffixes=("", "_local"))
    assert len(both) == len(found["history"]) == len(local.tables["history"])
    losses = both[both["metric"].str.contains("loss|distance")]
    pd.testing.assert_series_equal(
        losses["value"], losses["value_local"], check_names=False, rtol=1e-3
    )

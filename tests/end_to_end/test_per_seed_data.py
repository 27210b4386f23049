"""A small study whose seeds draw their data, from the spec to its tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from study import Study
from study.run import status
from study.run.descriptions import mixtures
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "drawn",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 16}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["input"],
    "seeds": 3,
    "train": {"steps": 12, "batch_size": 50, "report_every": 6},
    "schedule": {"stop_step": 8},
    "guide_train": {"steps": 10},
}


@pytest.fixture(scope="module", params=["fixed", "per_seed"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = tmp_path_factory.mktemp("store") / "store"
    assert Study(**SPEC, data=request.param).run(store=store, local=True).complete
    names = ("replicates", "predictions", "transfer", "priors")
    tables = {name: analysis.load("drawn", name, store=store) for name in names}
    return request.param, tables, store


def test_intervals_say_what_they_are_over(tables: Any) -> None:
    data, found, _ = tables
    rows = found["transfer"].query("control == 'none' and metric == 'accuracy'")
    over = "given one data set" if data == "fixed" else "each with its own data"
    assert set(rows["interval"]) == {f"95% Student t over seeds, {over}"}
    # Test examples are crossed with seeds where all seeds have the same.
    assert (rows["two_way_low"].notna() == (data == "fixed")).all()
    known = rows.dropna(subset="two_way_low")
    centre = (known["two_way_low"] + known["two_way_high"]) / 2
    np.testing.assert_allclose(centre, known["difference"])
    assert (rows["alignment_share"] > 0).all()


def test_a_seed_has_one_test_split(tables: Any) -> None:
    data, found, _ = tables
    seeds = found["replicates"].set_index("replicate_id")["seed"]
    labels = {
        (seeds[name], tuple(rows.sort_values("example")["label"]))
        for name, rows in found["predictions"].groupby("replicate_id")
    }
    assert len(labels) == 3
    assert len({label for _, label in labels}) == (1 if data == "fixed" else 3)


def test_parts_of_the_effect_add_up(tables: Any) -> None:
    found = tables[1]["priors"]
    steps = found["geometry"] + found["architecture_beyond_input"] + found["knowledge"]
    np.testing.assert_allclose(steps, found["total"])


def test_only_other_data_at_one_seed_is_a_mixture(tables: Any, tmp_path: Path) -> None:
    data, _, store = tables
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    assert not mixtures(status.load("drawn", Store(copy)).progress)
    path = next(copy.glob("replicates/*/result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_fingerprint": "f00"}))
    (line,) = mixtures(status.load("drawn", Store(copy)).progress)
    assert ": replicates of 2 data sets: " in line
    assert (", seed " in line) == (data == "per_seed")

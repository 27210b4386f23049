"""A study with every rival, without Ray: planned, trained, tabled and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import save_file

import trainers
from study import Study
from study.spec.read import SpecError
from tests.helpers.rivals import started

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "rivals",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 32}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": "standard",
    "seeds": 2,
    "train": {"steps": 6, "batch_size": 50, "report_every": 3},
}
RIVALS = [
    "orthogonal", "structured", "label_smoothing", {"name": "interpolated", "decay": "linear"},
    {"name": "aligned_start", "steps": 2},
]  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A finished study and its store."""

    store: Path

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.store / "studies" / "rivals" / f"{name}.parquet")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("rivals")
    (baseline,) = [p.condition for p in Study(**SPEC).plan().conditions if p.role == "baseline"]
    weights = {name: tensor.detach() for name, tensor in started(baseline, 7).items()}
    save_file(weights, folder / "start.safetensors")
    start = {"name": "from_weights", "path": str(folder / "start.safetensors")}
    Study(**SPEC, rivals=[*RIVALS, start]).run(store=folder / "store", local=True)
    return Ran(folder / "store")


def test_every_rival_is_compared_with_the_same_baselines(ran: Ran) -> None:
    transfer, pairs = ran.table("transfer"), ran.table("pairs")
    rivals = transfer[(transfer["treatment"] != "guidance") & (transfer["control"] == "none")]
    assert {name.partition("(")[0] for name in rivals["treatment"]} == {
        "orthogonal", "structured", "label_smoothing", "interpolated", "aligned_start",
        "from_weights",
    }  # fmt: skip
    assert set(rivals["n"]) == {2}
    assert rivals[["guide", "state", "distance", "mapping", "schedule"]].isna().all(axis=None)
    assert pairs["baseline_id"].nunique() == 2
    assert set(pairs.loc[pairs["treatment"] == "orthogonal", "role"]) == {"rival"}
    controls = transfer[(transfer["treatment"] != "guidance") & (transfer["control"] != "none")]
    assert set(controls["control"]) == {"permuted", "shuffled", "input"}
    steps = ran.table("replicates").query("role != 'guide'")["steps"]
    assert set(steps) == {6}


def test_the_report_shows_rivals_beside_guidance(ran: Ran) -> None:
    page = (ran.store / "studies" / "rivals" / "report.html").read_text(encoding="utf-8")
    heat_maps = page.split('id="heat-maps"')[1].split("<section")[0]
    for name in ("resnet2d", "orthogonal", "structured", "interpolated"):
        assert name in heat_maps


def test_a_replicate_of_the_store_is_a_start(ran: Ran) -> None:
    replicates = ran.table("replicates")
    (first,) = replicates.query("role == 'guided' and seed == 0")["replicate_id"]
    entry = {"name": "from_weights", "replicate": first}
    spec = {**SPEC, "name": "later", "controls": [], "rivals": [entry], "seeds": [0]}
    Study(**spec).run(store=ran.store, local=True)
    later = pd.read_parquet(ran.store / "studies" / "later" / "replicates.parquet")
    (rival,) = later.query("role == 'rival'")["replicate_id"]
    start = trainers.load(ran.store, first).state_dict()
    assert trainers.load(ran.store, rival).state_dict().keys() == start.keys()
    wrong = {**spec, "rivals": [entry | {"replicate": "0" * 16}]}
    with pytest.raises(SpecError, match=r"rivals: weights for fcn.*no finished replicate 00000"):
        Study(**wrong).run(store=ran.store, local=True)
    wide = {**spec, "targets": [{"name": "fcn", "depth": 2, "width": 33}]}
    with pytest.raises(SpecError, match=r"'hidden.layer1.0.weight' 32x256, not 33x256"):
        Study(**wide).run(store=ran.store, local=True)

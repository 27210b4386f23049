"""The plan is data in the store, and the store is the truth: what reads a study plans nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis import database, from_mlflow, from_store
from analysis.artifacts import Home
from analysis.errors import DamagedFileError, DamagedFileWarning, NotWrittenWarning
from study import Study
from study.errors import SpecError
from study.plan import table
from study.run import status
from trainers.conditions import ids
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "stored",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["shuffled", "input"],
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 50, "report_every": 2},
    "guide_train": {"steps": 2},
}
TABLES = ("uses", "replicates", "history", "predictions", "alignment")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a study that ran, of which one guide failed; what it guides is blocked."""
    store = tmp_path_factory.mktemp("ran") / "store"
    plan = Study(**SPEC).plan()
    guide = next(r for r in plan.replicates if r.role == "guide" and r.seed == 1)
    stored = Store(store).replicate(guide.id)
    stored.begin(guide.condition, guide.seed)
    stored.note_provenance({"torch_version": "1.2.3"})
    stored.fail(RuntimeError("out of luck"))
    assert not Study(**SPEC).run(store=store, local=True).complete
    return store


@pytest.fixture
def store(ran: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def test_store_and_mlflow_give_the_same_tables(ran: Path) -> None:
    ours = from_store.collect("stored", ran)
    client = database.opened(database.uri_of(ran / database.NAME))
    home = Home(ran / database.ARTIFACTS_FOLDER / "stored", own=True)
    theirs = from_mlflow.collect("stored", client, home)
    assert ours is not None
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(theirs, name), obj=name)
    assert set(ours.replicates["status"]) == {"finished", "failed", "blocked"}
    assert ours.provenance == theirs.provenance
    assert ours.tasks == theirs.tasks


def test_tables_need_no_mlflow(store: Path) -> None:
    before = analysis.load("stored", "transfer", store=store)
    for name in ("mlflow.db", "mlflow-artifacts"):
        path = store / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.warns(NotWrittenWarning, match="tables are not in MLflow: there is no MLflow"):
        tables = analysis.analyze("stored", store=store)
    pd.testing.assert_frame_equal(tables["transfer"], before)


def test_status_is_that_of_the_plan_that_ran(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a newer version of the code, whose ids are others, a finished study is finished."""
    before = status.load("stored", Store(store)).progress.counts()
    monkeypatch.setattr(ids, "RESULT_VERSION", ids.RESULT_VERSION + 1)
    assert status.load("stored", Store(store)).progress.counts() == before
    assert before["finished"] > 0
    assert Study(**SPEC).plan().replicates[0].id not in Store(store).known()


def test_a_plan_lists_what_its_study_does(ran: Path) -> None:
    plan, stored = Study(**SPEC).plan(), table.read("stored", Store(ran))
    assert stored is not None
    assert len(stored) == len(plan)
    for mine, its in zip(plan.replicates, stored.replicates, strict=True):
        assert (mine.id, mine.seed, mine.role, mine.requires, mine.num_steps) == (
            its.id, its.seed, its.role, its.requires, its.num_steps,
        )  # fmt: skip
        # Parquet has no null of its own for text that is missing, and pandas neither.
        assert {k: v for k, v in mine.labels.items() if v is not None} == {
            k: v for k, v in its.labels.items() if v is not None
        }


def test_a_store_of_before_has_its_plan_in_mlflow(store: Path) -> None:
    (store / "studies/stored/plan.parquet").unlink()
    found = table.read("stored", Store(store))
    assert found is not None
    assert len(found) == len(Study(**SPEC).plan())
    shutil.rmtree(store / "mlflow-artifacts")
    with pytest.raises(SpecError, match=r"has no plan.parquet: archprior run SPEC writes it"):
        status.load("stored", Store(store))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("studies/stored/plan.parquet", b"PAR1"),
        ("studies/stored/alignments.parquet", b""),
    ],
)
def test_damaged_files_are_named(name: str, content: bytes, store: Path) -> None:
    (store / name).write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"{name} is damaged .*: archprior run SPEC"):
        analysis.analyze("stored", store=store)


def test_a_plan_whose_guides_are_not_there_is_damaged(store: Path) -> None:
    path = store / "studies/stored/plan.parquet"
    plan = pq.read_table(path)
    roles = plan["role"].to_pylist()
    pq.write_table(plan.filter(pa.array([role != "guide" for role in roles])), path)
    with pytest.raises(DamagedFileError, match=r"damaged \(a guide of replicate .* is not listed"):
        table.read("stored", Store(store))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}'])
def test_run_ids_of_mlflow_that_are_damaged_are_left_out(content: bytes, store: Path) -> None:
    (store / "studies/stored/mlflow_runs.json").write_bytes(content)
    with pytest.warns(DamagedFileWarning, match=r"mlflow_runs.json is damaged .*: tables name no"):
        tables = analysis.analyze("stored", store=store)
    assert (tables["replicates"]["status"] == "finished").any()
    assert tables["replicates"]["run_id"].isna().all()


def test_damaged_files_of_a_replicate_are_named(store: Path) -> None:
    result = next((store / "replicates").glob("*/result.json"))
    history = result.with_name("history.parquet")
    history.write_bytes(history.read_bytes()[:50])
    with pytest.raises(DamagedFileError, match=r"history.parquet is damaged .* trains it anew"):
        analysis.analyze("stored", store=store)
    result.write_text(json.dumps({})[:-1])
    with pytest.raises(DamagedFileError, match=r"result.json is damaged .* trains it anew"):
        analysis.analyze("stored", store=store)

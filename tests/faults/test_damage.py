"""A byte of a finished replicate's file is another before the study's tables are made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study
from tests.helpers.undisturbed import check_points, check_tables, tables

SPEC: dict[str, Any] = {
    "name": "damage",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["shuffled"],
    "states": ["trained"],
    "seeds": 1,
    "train": {"steps": 12, "batch_size": 50, "report_every": 3},
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("quiet") / "store"
    assert Study(**SPEC).run(store=store, local=True).complete
    return store


@pytest.fixture
def store(quiet: Path, tmp_path: Path) -> Path:
    """All trained and in MLflow, and no tables yet."""
    made = Path(shutil.copytree(quiet, tmp_path / "store"))
    for path in (made / "studies" / SPEC["name"]).iterdir():
        if path.is_file() and path.name not in ("plan.parquet", "spec.yaml", "mlflow_runs.json"):
            path.unlink()
    return made


def change_values(path: Path) -> None:
    """Change a byte among the values, so that the file is read as before."""
    before, content = pd.read_parquet(path), bytearray(path.read_bytes())
    for at in range(4, len(content)):
        content[at] ^= 1
        path.write_bytes(content)
        try:
            if not pd.read_parquet(path).equals(before):
                return
        except Exception:
            pass
        content[at] ^= 1
    raise AssertionError(path)


def change_end(path: Path) -> None:
    """Change the last byte, so that it is no Parquet file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("history", change_values),
        ("predictions", change_end),
        pytest.param("history", change_end, marks=pytest.mark.slow),
        pytest.param("predictions", change_values, marks=pytest.mark.slow),
        *(
            pytest.param("alignment", how, marks=pytest.mark.slow)
            for how in (change_values, change_end)
        ),
    ],
)
def test_it_is_noticed_and_trained_anew_by_the_next_run(
    name: str, change: Any, store: Path, quiet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guided = next(path.parent for path in sorted(store.glob("replicates/*/alignment.parquet")))
    change(guided / f"{name}.parquet")
    outcome = Study(**SPEC).run(store=store, local=True)
    said = " ".join(capsys.readouterr().out.split())
    assert not outcome.complete
    assert f"warning: {guided}/{name}.parquet is damaged: run the study again to train it" in said
    statuses = outcome.tables["replicates"].set_index("replicate_id")["status"]
    assert statuses[guided.name] == "missing"
    assert (statuses.drop(guided.name) == "finished").all()
    assert Study(**SPEC).run(store=store, local=True).complete
    check_tables(tables(store, SPEC["name"]), tables(quiet, SPEC["name"]))
    check_points(store, f"sqlite:///{store}/mlflow.db", SPEC["name"])

"""A store that is copied, moved or read-only works where it is, and nothing else is written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

import analysis
from analysis.database import uri_of
from analysis.errors import NotWrittenWarning
from study import Study

pytestmark = pytest.mark.processes

SPEC = {
    "name": "tiny",
    "task": {"name": "translated_digits", "places": 1},
    "targets": {"name": "fcn", "depth": 2, "width": 8},
    "guides": {"name": "resnet2d", "width": 2, "blocks": 1},
    "controls": [],
    "states": "untrained",
    "seeds": 2,
    "train": {"steps": 2, "batch_size": 50},
    "expect": ["baseline >= 0"],
}
#: Another study of the same name, as a person would try it in a copy.
OTHER = SPEC | {"targets": {"name": "fcn", "depth": 2, "width": 12}, "seeds": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "A"
    Study(**SPEC).run(store=folder, local=True)
    client = MlflowClient(tracking_uri=uri_of(folder / "mlflow.db"))
    theirs = client.create_experiment("of somebody", "file:///data/mlflow-artifacts/other")
    client.create_run(theirs)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A store whose database names it, and no other place."""
    copy = Path(shutil.copytree(made, tmp_path / "A"))
    analysis.analyze("tiny", store=copy)
    return copy


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def mentions(folder: Path, text: str) -> list[str]:
    """Files that hold a text; of a database what it says, not what lies in its free pages."""
    found = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".db" and text.encode() in path.read_bytes()
    ]
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return found + [line for line in connection.iterdump() if text in line]


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> bool:
    return all(one[name].equals(other[name]) for name in one)


def test_a_run_in_a_copy_leaves_the_original_as_it_is(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "B"))
    tables, before = analysis.analyze("tiny", store=store), content(store)
    outcome = Study(**OTHER).run(store=copy, local=True)
    assert content(store) == before
    assert same(analysis.analyze("tiny", store=store), tables)
    assert set(outcome.tables["transfer"]["target"]) == {"fcn(depth=2,width=12)"}
    assert set(tables["transfer"]["target"]) == {"fcn(depth=2,width=8)"}
    assert mentions(copy, f"{store}/") == []


def test_a_moved_store_is_analysed_where_it_is(store: Path, tmp_path: Path) -> None:
    tables = analysis.analyze("tiny", store=store)
    moved = store.rename(tmp_path / "C")
    assert same(analysis.analyze("tiny", store=moved), tables)
    assert not store.exists()
    assert mentions(moved, f"{store}/") == []


def test_a_run_in_a_moved_store_does_not_make_the_old_folder(store: Path, tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    shutil.move(store, tmp_path / "above" / "A")
    moved = (tmp_path / "above").rename(tmp_path / "renamed") / "A"
    Study(**OTHER).run(store=moved, local=True)
    Study(**SPEC).run(store=moved, local=True)
    assert not store.exists()
    assert not (tmp_path / "above").exists()
    assert mentions(moved, f"{tmp_path}/A") == mentions(moved, f"{tmp_path}/above") == []
    client = MlflowClient(tracking_uri=uri_of(moved / "mlflow.db"))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    names = [entry.path for run in runs for entry in client.list_artifacts(run.info.run_id)]
    # One of each replicate of the two studies, and one of the study.
    assert (names.count("history.parquet"), names.count("plan.parquet")) == (6 + 2, 1)


def test_experiments_of_others_stay_where_they_are(store: Path, tmp_path: Path) -> None:
    moved = store.rename(tmp_path / "C")
    analysis.analyze("tiny", store=moved)
    client = MlflowClient(tracking_uri=uri_of(moved / "mlflow.db"))
    theirs = client.get_experiment_by_name("of somebody")
    assert theirs is not None
    assert theirs.artifact_location == "file:///data/mlflow-artifacts/other"
    (run,) = client.search_runs([theirs.experiment_id])
    assert run.info.artifact_uri == f"{theirs.artifact_location}/{run.info.run_id}/artifacts"


def test_a_database_of_elsewhere_follows_a_store_that_was_moved(tmp_path: Path) -> None:
    uri = uri_of(tmp_path / "x.db")
    old, new = tmp_path / "A", tmp_path / "C"
    tables = Study(**SPEC).run(store=old, tracking_uri=uri, local=True).tables
    old.rename(new)
    assert same(analysis.analyze("tiny", store=new, tracking_uri=uri), dict(tables))
    Study(**SPEC).run(store=new, tracking_uri=uri, local=True)
    assert not old.exists()


@pytest.fixture
def read_only(store: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python on a store that was moved and has tables to write, without a right to do so."""
    moved = store.rename(tmp_path / "C")
    (moved / "studies" / "tiny" / "pairs.parquet").unlink()
    command = [sys.executable]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and there is no setpriv to change that")
        for path in (moved, *moved.rglob("*")):
            os.chown(path, 65534, 65534)
        # Still root, whose files Python may be, but with no right that others have not.
        command = [
            setpriv, "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all",
            *command,
        ]  # fmt: skip
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert "Traceback" not in found.stderr
        return found

    return python


def test_a_read_only_store_is_read(
    read_only: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    spec, moved = tmp_path / "spec.yaml", str(tmp_path / "C")
    spec.write_text(json.dumps(SPEC))
    before = content(tmp_path / "C")

    def study(*arguments: str) -> tuple[int, str]:
        found = read_only("-m", "study", *arguments, "--store", moved)
        return found.returncode, found.stdout + found.stderr

    assert "6 finished" in study("status", "tiny")[1]
    assert "6 done" in study("plan", str(spec))[1]
    for command in ("analyze", "check"):
        status, output = study(command, "tiny")
        assert status in ((0,) if command == "analyze" else (0, 1))
        assert f"no tables written: {moved} is read-only: Permission denied" in output
    status, output = study("run", str(spec), "--local")
    assert (status, len(output.splitlines())) == (2, 1)
    assert f"{moved} is not writable" in output
    code = f"import analysis; print(len(analysis.load('tiny', 'transfer', store={moved!r})))"
    assert int(read_only("-c", code).stdout) > 0
    assert content(tmp_path / "C") == before
    assert not (tmp_path / "A").exists()


def test_a_store_that_is_removed_and_made_again(tmp_path: Path) -> None:
    """In one process, as in a notebook: MLflow must not go on with the file of before."""
    store = tmp_path / "store"
    tables = Study(**SPEC).run(store=store, local=True).tables
    shutil.rmtree(store)
    again = Study(**SPEC).run(store=store, local=True).tables
    assert again["transfer"].equals(tables["transfer"])
    (store / "mlflow.db").write_bytes(b"damaged" * 100)
    filled = Study(**SPEC).run(store=store, local=True).tables
    assert filled["history"].equals(again["history"])
    assert mentions(store, "finished")


def test_what_cannot_be_written_is_returned(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refused(path: Path, mode: str = "r", **options: Any) -> Any:
        if "r" not in mode and path.is_relative_to(store):
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, **options)

    tables = analysis.analyze("tiny", store=store)
    (store / "studies" / "tiny" / "pairs.parquet").unlink()
    monkeypatch.setattr(Path, "open", refused)
    with pytest.warns(NotWrittenWarning, match="no tables written: .* is read-only"):
        assert same(analysis.analyze("tiny", store=store), tables)


@pytest.mark.slow
def test_the_ui_of_a_moved_store_shows_artifacts(store: Path, tmp_path: Path) -> None:
    moved = store.rename(tmp_path / "C")
    command = [sys.executable, "-m", "study", "ui", "--store", str(moved), "--port", "5931"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = "http://127.0.0.1:5931"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        client = MlflowClient(tracking_uri=url)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        (parent,) = client.search_runs(
            [experiment.experiment_id], "tags.`archprior.kind` = 'study'"
        )
        names = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
        assert {"plan.parquet", "spec.yaml", "tables"} <= names
    finally:
        os.killpg(process.pid, 15)
        process.wait()
    assert {path.name for path in tmp_path.iterdir()} == {"C", "log"}

"""MLflow's sqlite database: whole or not there, whoever is killed, however many begin at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.database import damage, path_of, uri_of
from study.tracking import database
from trainers.data import machine_cache
from trainers.store.folder import Folder

SPEC = {
    "task": {"name": "translated_digits", "places": 1},
    "targets": {"name": "fcn", "depth": 2, "width": 8},
    "guides": {"name": "resnet2d", "width": 2, "blocks": 1},
    "controls": [],
    "states": "untrained",
    "seeds": 1,
    "train": {"steps": 2, "batch_size": 50},
}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def prepare(tmp_path: Path, said: list[str]) -> Callable[..., Path]:
    """Prepares the database of a store, or another; returns its path."""

    def prepared(path: Path | None = None) -> Path:
        store = Folder(tmp_path / "store")
        file = path or Path(store.uri) / "mlflow.db"
        database.prepare(uri_of(file), store, "s", said.append)
        return file

    return prepared


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def not_sqlite(path: Path) -> None:
    path.write_text("this is no database, and it is longer than a header of sqlite is " * 99)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_page_lost(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40960:45056] = b"\xff" * 4096
    path.write_bytes(content)


def a_table_lost(path: Path) -> None:
    change(path, "DROP TABLE latest_metrics")


def no_version(path: Path) -> None:
    change(path, "DELETE FROM alembic_version")


def first_tables_only(path: Path) -> None:
    """As MLflow leaves it when it is killed after its first step."""
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    path.unlink()
    engine = create_engine(uri_of(path))
    Base.metadata.create_all(engine)
    engine.dispose()


def first_table_only(path: Path) -> None:
    """As MLflow leaves it when it is killed within its first step."""
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    path.unlink()
    engine = create_engine(uri_of(path))
    Base.metadata.sorted_tables[0].create(engine)
    engine.dispose()


def version_table_only(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")


def not_the_last_version(path: Path) -> None:
    change(path, "UPDATE alembic_version SET version_num = '451aebb31d03'")


DAMAGES = (
    not_sqlite, truncated, empty, a_folder, a_page_lost, a_table_lost, no_version,
    first_table_only, first_tables_only, version_table_only, not_the_last_version,
)  # fmt: skip


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda spoil: spoil.__name__)
def test_a_damaged_one_is_set_aside_and_made_anew(
    spoil: Callable[[Path], None], prepare: Callable[..., Path], said: list[str]
) -> None:
    path = prepare()
    spoil(path)
    prepare()
    assert damage(path) is None
    assert MlflowClient(tracking_uri=uri_of(path)).search_experiments()[0].name == "Default"
    (line,) = said
    (aside,) = path.parent.glob("mlflow.db.damaged-*[0-9]")
    assert f"it is now {aside.name}" in line


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_sqlite_left_of_one_that_is_gone_spoils_no_new_one(
    suffix: str, prepare: Callable[..., Path]
) -> None:
    path = prepare()
    path.unlink()
    rest = path.with_name(path.name + suffix)
    rest.write_bytes(b"of the lost one")
    prepare()
    assert damage(path) is None
    assert not rest.exists()
    (aside,) = path.parent.glob(f"mlflow.db.damaged-*{suffix}")
    assert aside.read_bytes() == b"of the lost one"


def test_a_good_one_stays_as_it_is(prepare: Callable[..., Path], said: list[str]) -> None:
    path = prepare()
    before = path.read_bytes(), path.stat().st_mtime_ns
    prepare()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert said == []


def test_nothing_in_it_is_of_another_folder(prepare: Callable[..., Path], tmp_path: Path) -> None:
    (experiment,) = MlflowClient(tracking_uri=uri_of(prepare())).search_experiments()
    folder = tmp_path / "store" / "mlflow-artifacts" / "Default"
    assert experiment.artifact_location == folder.as_uri()


def test_one_of_an_older_mlflow_is_left_to_mlflow(
    prepare: Callable[..., Path], said: list[str]
) -> None:
    path = prepare()
    client = MlflowClient(tracking_uri=uri_of(path))
    client.create_experiment("of somebody")
    not_the_last_version(path)
    before = path.read_bytes()
    prepare()
    assert path.read_bytes() == before
    change(path, "DROP TABLE scorer_versions")
    prepare()
    assert said == []
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM experiments").fetchall()
    assert ("of somebody",) in names


@pytest.mark.parametrize("spoil", [not_sqlite, a_folder, a_page_lost])
def test_a_damaged_one_that_is_not_the_stores_stays(
    spoil: Callable[[Path], None], prepare: Callable[..., Path], tmp_path: Path
) -> None:
    path = prepare(tmp_path / "elsewhere" / "x.db")
    MlflowClient(tracking_uri=uri_of(path)).create_experiment("of somebody")
    spoil(path)
    with pytest.raises(
        ValueError, match=r"x\.db is damaged .*it is not in the store, so it is left"
    ):
        prepare(path)
    assert path.exists()
    assert not list(path.parent.glob("*damaged*"))


@pytest.mark.parametrize("spoil", [empty, first_tables_only])
def test_a_half_made_one_that_is_not_the_stores_is_made_anew(
    spoil: Callable[[Path], None], prepare: Callable[..., Path], tmp_path: Path
) -> None:
    path = prepare(tmp_path / "elsewhere" / "x.db")
    spoil(path)
    prepare(path)
    assert damage(path) is None


def test_another_program_s_database_is_not_touched(
    prepare: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.db"
    change(path, "CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="of another program, with a table notes"):
        prepare(path)
    assert path.read_bytes() == before


def test_a_link_to_another_disk_is_followed(prepare: Callable[..., Path], tmp_path: Path) -> None:
    store, disk = tmp_path / "store", tmp_path / "disk"
    store.mkdir()
    disk.mkdir()
    (store / "mlflow.db").symlink_to(disk / "fast.db")
    prepare()
    assert (store / "mlflow.db").is_symlink()
    assert damage(disk / "fast.db") is None


@pytest.mark.processes
def test_a_damaged_copy_in_the_cache_is_made_anew(
    prepare: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "cache"
    shutil.copytree(machine_cache.root() / "mlflow", own / "mlflow")
    monkeypatch.setenv(machine_cache.VARIABLE, str(own))
    (array,) = own.rglob("database.npy")
    content = bytearray(array.read_bytes())
    content[5000:6000] = b"\xff" * 1000
    array.write_bytes(content)
    assert damage(prepare()) is None
    (array,) = own.rglob("database.npy")
    assert array.read_bytes() != content


PREPARE = """
import sys
from study.tracking import database
from trainers.store.folder import Folder
from analysis.database import uri_of
from pathlib import Path
store = Path(sys.argv[1])
database.prepare(uri_of(store / "mlflow.db"), Folder(store), "s", print)
"""


@pytest.fixture
def new_machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a process on a machine that has never made a database."""
    (tmp_path / "tmp").mkdir()
    return os.environ | {"ARCHPRIOR_CACHE": str(tmp_path / "none"), "TMPDIR": str(tmp_path / "tmp")}


@pytest.mark.processes
@pytest.mark.parametrize("damaged", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_several_at_once_make_one(
    damaged: bool, tmp_path: Path, new_machine: dict[str, str]
) -> None:
    if damaged:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "mlflow.db").write_text("damaged" * 999)
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "store")]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, env=new_machine, stdout=pipe, stderr=pipe) for _ in range(3)
    ]
    said = b"".join(b"".join(process.communicate()) for process in processes)
    # No line of MLflow's or Alembic's either.
    assert said.count(b"\n") == damaged
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert damage(tmp_path / "store" / "mlflow.db") is None
    names = {path.name.partition("-")[0] for path in (tmp_path / "store").iterdir()}
    # Some releases of filelock leave the lock's file, others do not.
    made = {"mlflow.db", "mlflow.db.damaged"} if damaged else {"mlflow.db"}
    assert names - {".mlflow.db.lock"} == made
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.processes
@pytest.mark.parametrize("late", [0.0, 0.3])
def test_a_process_killed_while_it_makes_one(
    late: float, tmp_path: Path, new_machine: dict[str, str], prepare: Callable[..., Path]
) -> None:
    store = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", PREPARE, str(store)], env=new_machine)
    while process.poll() is None and not list((tmp_path / "tmp").glob("*/new.db")):
        time.sleep(0.005)
    time.sleep(late)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (store / "mlflow.db").exists()
    (store / ".mlflow.db.0.partial").write_bytes(b"killed a moment later")
    prepare()
    assert damage(store / "mlflow.db") is None
    assert not list(store.glob("*partial*"))


@pytest.mark.processes
def test_two_studies_begin_at_once_in_a_new_store(
    tmp_path: Path, new_machine: dict[str, str]
) -> None:
    processes = []
    for name in ("one", "two"):
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(json.dumps({"name": name, **SPEC}))
        command = [sys.executable, "-m", "study", "run", str(spec), "--local"]
        processes.append(
            subprocess.Popen(
                [*command, "--store", str(tmp_path / "store")],
                env=new_machine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
    for process in processes:
        output = process.communicate()[0]
        assert process.returncode == 0, output
        assert "INFO" not in output
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    for name in ("one", "two"):
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in runs} == {"FINISHED"}
        kinds = Counter(run.data.tags["archprior.kind"] for run in runs)
        assert kinds == {"study": 1, "condition": 3, "replicate": 3}


@pytest.mark.processes
@pytest.mark.parametrize(
    "name",
    ["a b", "st?a=1", "st%20x", "100%", "a#b", "größe", "a=b", "a::b", "~x", "a@b:c", "a+b&c;d",
     "?", "%", "a?b%3Fc", "'", "a\\b", '"'],
)  # fmt: skip
def test_a_path_of_any_name_is_that_path(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / name
    path = folder / "mlflow.db"
    uri = uri_of(path)
    assert path_of(uri) == path
    database.prepare(uri, Folder(folder), "s", print)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("s", (folder / "mlflow-artifacts" / "s").as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "text", "file.txt")
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["file.txt"]
    assert [found.name for found in (tmp_path / "in").iterdir()] == [name]
    assert len(list(folder.rglob("file.txt"))) == 1


def test_other_uris_are_not_files() -> None:
    for uri in ("http://host:5000", "sqlite://", "sqlite:///:memory:", "postgresql://h/d", "tape:"):
        assert path_of(uri) is None


def test_mlflow_says_when_a_schema_is_old(prepare: Callable[..., Path]) -> None:
    path = prepare()
    MlflowClient(tracking_uri=uri_of(path)).create_experiment("of somebody")
    old = path.with_name("old.db")
    shutil.copy(path, old)
    not_the_last_version(old)
    with pytest.raises(MlflowException, match="out-of-date database schema"):
        MlflowClient(tracking_uri=uri_of(old))

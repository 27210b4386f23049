"""MLflow in a PostgreSQL without a server of MLflow: many begin at once, and who is not let in."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import database
from analysis.servers import NoAnswerError
from study.tracking.tracker import Tracker
from tests.helpers.postgres import PASSWORD, Postgres, needs_postgres
from tests.helpers.tracked import Tracked, check_complete

pytestmark = needs_postgres

PREPARE = """
import sys
from study.tracking import database
from trainers.store.folder import Folder
database.prepare(sys.argv[1], Folder(sys.argv[2]), "s", print)
"""


@pytest.fixture
def uri(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return postgres.create(request.node.name)


def test_several_at_once_make_the_tables_once(uri: str, postgres: Postgres, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, uri, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe) for _ in range(4)]
    said = b"".join(b"".join(process.communicate()) for process in processes)
    assert said == b""
    assert [process.returncode for process in processes] == [0] * 4
    name = uri.rpartition("/")[2]
    assert len(postgres.query(name, "SELECT version_num FROM alembic_version")) == 1
    assert postgres.query(name, "SELECT name FROM experiments") == [("Default",)]
    # Made by one, without a failure of another.
    assert "ERROR" not in postgres.log


def test_a_killed_one_leaves_no_lock(
    uri: str, postgres: Postgres, tmp_path: Path, until: Callable[..., Any]
) -> None:
    command = [sys.executable, "-c", PREPARE, uri, str(tmp_path)]
    name = uri.rpartition("/")[2]
    holder = subprocess.Popen(command)
    until(lambda: postgres.query(name, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))
    holder.kill()
    holder.wait()
    assert subprocess.run(command, check=False, timeout=200).returncode == 0


def test_a_study_is_projected_as_into_sqlite(
    trained: Any, store_copy: Path, study: str, uri: str, track: Callable[..., Tracker]
) -> None:
    track().close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_wrong_password_is_said_at_once(postgres: Postgres) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match="password authentication failed for user") as raised:
        database.opened(postgres.uri("postgres", "wr0ng-one"))
    assert time.monotonic() - began < 10
    assert "\n" not in str(raised.value)
    assert "wr0ng-one" not in str(raised.value)


def test_a_driver_that_is_absent_is_named(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    uri = postgres.uri("postgres").replace("postgresql+psycopg2", "postgresql+psycopg")
    with pytest.raises(NoAnswerError, match=r"psycopg.* postgresql\+psycopg2://") as raised:
        database.opened(uri)
    assert PASSWORD not in str(raised.value)

"""MLflow's sqlite database of a store: its URI, its damage, the location of its artifacts.

<store>/mlflow.db                           the database
        mlflow-artifacts/<experiment>/      artifacts of an experiment, one folder a run

MLflow keeps absolute locations of artifacts. Those of a store are below the store in hand, whatever
the database says: a store may be copied and moved.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

from analysis.errors import UserError
from analysis.names import is_name
from analysis.servers import check_answer

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "mlflow.db"
ARTIFACTS_FOLDER = "mlflow-artifacts"

_SQLITE = "sqlite:///"
#: Loggers of MLflow and Alembic that report every new database and migration.
_NOISY = ("mlflow.store.db.utils", "alembic")
_POOL = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
#: MLflow's experiment `Default`, which it makes with the database.
DEFAULT_EXPERIMENT = "Default"
_NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_BUSY_SECONDS = 60.0
#: Locations of artifacts below an experiment's: of runs, and of models that a user logged.
_BELOW = {
    "runs": ("artifact_uri", "'/' || run_uuid || '/artifacts'"),
    "logged_models": ("artifact_location", "'/models/' || model_id || '/artifacts'"),
}
#: Above this size in bytes a database is not read from end to end to be checked.
_LARGEST_CHECK = 2**25


def uri_of(path: Path) -> str:
    """The URI of a sqlite database at an absolute path, for SQLAlchemy and MLflow."""
    if not set("?%") & set(str(path)):
        return f"{_SQLITE}{path}"
    from sqlalchemy.engine import URL, make_url

    # After a bare `sqlite:///` MLflow would make the folder whose name is the quoted one.
    uri = URL.create("sqlite+pysqlite", database=str(path)).render_as_string()
    if make_url(uri).database != str(path):
        raise UserError(f"{path} cannot be named in a URI of SQLAlchemy: `?` or `%` is in it")
    return uri


def path_of(uri: str) -> Path | None:
    """The file of a sqlite URI, absolute; None for every other URI."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        name = make_url(uri).database
    except ArgumentError:
        return None
    if not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name).absolute()


def is_of(path: Path, store: Path) -> bool:
    """Whether a database is the store's own."""
    return path == store / NAME or path.resolve() == store.resolve() / NAME


def location(store: Path, experiment: str) -> str:
    """The URI of the folder that holds an experiment's artifacts."""
    return (store / ARTIFACTS_FOLDER / experiment).as_uri()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence MLflow's messages on new and migrated tables, unless the user asks for them."""
    if "MLFLOW_LOGGING_LEVEL" in os.environ:
        yield
        return
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def opened(uri: str) -> MlflowClient:
    """A client of MLflow; for sqlite it opens the file anew for each operation.

    Otherwise it would hold the file that it opened first as long as the process lives, also where
    the store was removed and made again, or the database was set aside. Raises NoAnswerError where
    it is a server that does not answer.
    """
    check_answer(uri)
    from mlflow import MlflowClient

    given = os.environ.get(_POOL)
    if uri.startswith("sqlite") and given is None:
        os.environ[_POOL] = "NullPool"
    try:
        with quiet():
            return MlflowClient(tracking_uri=uri)
    finally:
        if given is None:
            os.environ.pop(_POOL, None)


def damage(path: Path) -> str | None:
    """The damage that keeps MLflow from using an existing database; None if good, or older.

    Takes milliseconds. Raises sqlite3.OperationalError while it is locked, or cannot be read.
    """
    if path.is_dir():
        return "a folder"
    if path.stat().st_size == 0:
        return "empty"
    try:
        with closing(_connect(path)) as connection:
            if path.stat().st_size <= _LARGEST_CHECK:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    return str(found).splitlines()[-1]
            return _unfinished(connection)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            return str(error)
        raise


def is_unused(path: Path) -> bool:
    """Whether a database of MLflow holds no run, and no experiment but the one it begins with."""
    try:
        if path.is_dir():
            return False
        if path.stat().st_size == 0:
            return True
        with closing(_connect(path)) as connection:
            tables = _tables(connection)
            return not _is_foreign(tables) and _unused(connection, tables)
    except sqlite3.DatabaseError:
        return False


def adopt(path: Path, store: Path, study: str | None) -> bool:
    """Move the artifact locations of a store's experiments below the store, in one transaction.

    Locations of the form `.../mlflow-artifacts/<experiment>` (see `location`) are moved; all
    others stay as they are. In a store's own database that is every experiment, in another the
    study's alone, and only if its folder is gone. Returns False if the database is read-only.
    """
    own = is_of(path, store)
    try:
        with closing(_connect(path)) as connection:
            moved = [
                experiment
                for experiment in _of_stores(connection)
                if (own or (experiment.name == study and not experiment.exists()))
                and experiment.is_elsewhere(connection, store)
            ]
            if moved:
                connection.execute("BEGIN IMMEDIATE")
                for experiment in moved:
                    experiment.move(connection, store)
                connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _NOT_WRITABLE:
            return False
        raise
    return True


class _Experiment(NamedTuple):
    """An experiment with a location of the form of `location`, below this store or another."""

    id: int
    name: str
    location: str

    def exists(self) -> bool:
        return Path(url2pathname(urlparse(self.location).path)).exists()

    def is_elsewhere(self, connection: sqlite3.Connection, store: Path) -> bool:
        if self.location != location(store, self.name):
            return True
        return any(
            connection.execute(f"SELECT 1 FROM {table} WHERE {rows} LIMIT 1", values).fetchone()
            for table, _, rows, values in self._below(connection, store)
        )

    def move(self, connection: sqlite3.Connection, store: Path) -> None:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            (location(store, self.name), self.id),
        )
        for table, change, rows, values in self._below(connection, store):
            connection.execute(f"UPDATE {table} SET {change} WHERE {rows}", values)

    def _below(
        self, connection: sqlite3.Connection, store: Path
    ) -> Iterator[tuple[str, str, str, dict[str, object]]]:
        """Updates of locations below an experiment's: table, assignment, rows and values."""
        values: dict[str, object] = {"id": self.id, "here": location(store, self.name)}
        values["suffix"] = f"/{ARTIFACTS_FOLDER}/{self.name}"
        for table in _BELOW.keys() & _tables(connection):
            column, tail = _BELOW[table]
            rows = (
                f"experiment_id = :id AND {column} != :here || {tail} "
                f"AND substr({column}, -length(:suffix || {tail})) = :suffix || {tail}"
            )
            yield table, f"{column} = :here || {tail}", rows, values


def _of_stores(connection: sqlite3.Connection) -> Iterator[_Experiment]:
    rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments")
    for experiment in map(_Experiment._make, rows.fetchall()):
        known = is_name(experiment.name) or experiment.name == DEFAULT_EXPERIMENT
        if known and str(experiment.location).endswith(f"/{ARTIFACTS_FOLDER}/{experiment.name}"):
            yield experiment


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that never makes a file; read-only where the file is."""
    mode = "rw" if os.access(path, os.W_OK) else "ro"
    uri = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


def _unfinished(connection: sqlite3.Connection) -> str | None:
    """Damage where MLflow was interrupted while it made its tables, or tables were lost since."""
    from mlflow.store.db import utils

    tables, expected = _tables(connection), set(utils.Base.metadata.tables)
    if _is_foreign(tables):
        return f"of another program, with a table {min(tables)}"
    missing = sorted(expected - tables)
    revision = _revision(connection, tables)
    if revision is not None and not missing and not _unused(connection, tables):
        return None
    if revision == _newest_revision():
        return f"no table {missing[0]}" if missing else None
    # An older MLflow's, where it was ever used: MLflow says what to do with that, or migrates it.
    if revision is None or _unused(connection, tables):
        return "not made to its end"
    return None


def _is_foreign(tables: set[str]) -> bool:
    """Whether tables are another program's: MLflow makes `experiments` first, after its version."""
    return bool(tables - {"alembic_version"}) and "experiments" not in tables


def _revision(connection: sqlite3.Connection, tables: set[str]) -> str | None:
    if "alembic_version" not in tables:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _newest_revision() -> str | None:
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory

    (folder,) = mlflow.store.db_migrations.__path__
    return ScriptDirectory(folder).get_current_head()


def _unused(connection: sqlite3.Connection, tables: set[str]) -> bool:
    queries = {"runs": "SELECT 1 FROM runs LIMIT 1"}
    queries["experiments"] = "SELECT 1 FROM experiments WHERE experiment_id != 0 LIMIT 1"
    return all(
        connection.execute(query).fetchone() is None
        for table, query in queries.items()
        if table in tables
    )

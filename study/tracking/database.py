"""Makes MLflow's database whole or not at all, however many processes begin at once.

MLflow makes its tables one after another, which takes seconds, and no process can use a half-made
database. In PostgreSQL whoever makes them holds a lock of the database, and all others wait for it.
Of sqlite a machine makes one database for each version of MLflow, in its cache, and stores get
copies of that by renaming, one process at a time. A damaged one is set aside: its content is in the
store, and the next run fills a new one from there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from analysis import database
from analysis.database import damage, is_of, is_unused
from analysis.servers import check_answer
from study.tracking import file_systems
from trainers.data import atomic, machine_cache
from trainers.errors import UserError
from trainers.store.folder import Folder

#: Longest wait for the lock; making a database takes seconds, so a longer holder hangs.
_LOCK_SECONDS = 300.0
#: Number of PostgreSQL's lock, the same in all processes: "mlflow" in ASCII.
_TABLES_LOCK = 0x6D6C666C6F77
#: Suffixes of sqlite's files beside a database in use, or after its process was killed.
_BESIDE = ("-journal", "-wal", "-shm")

Say = Callable[[str], object]


def prepare(uri: str, store: Folder, study: str | None, say: Say) -> bool:
    """Make sure that a database for MLflow exists, whole; of sqlite, with current locations.

    `say` gets a line where a damaged one is set aside, and where nothing is known of the file
    system of one. Returns False where it is read-only, so that locations of a store that was moved
    stay as they were. URIs of neither sqlite nor PostgreSQL are left as they are.

    Raises UserError where a damaged database is not the store's own, and may hold data that the
    store does not have; NoAnswerError, OSError and sqlite3.Error where it cannot be used.
    """
    path = database.path_of(uri)
    if path is None:
        if uri.startswith("postgresql"):
            _make_tables(uri)
        return True
    root = Path(store.uri) if store.is_local else None
    own = root is not None and is_of(path, root)
    # A link may lead to a faster disk.
    file = path.resolve()
    kind = file_systems.type_of(file)
    if file_systems.is_unknown(kind):
        say(
            f"warning: MLflow's database {path} is on a file system of an unknown type ({kind}): "
            "where several machines share it, name an MLflow server (--tracking-uri http://...)"
        )
    if not _is_good(file):
        _make(file, own=own, say=say)
    return root is None or database.adopt(path, root, study)


def _make_tables(uri: str) -> None:
    """Let MLflow make the tables of a PostgreSQL database, one process at a time."""
    from sqlalchemy import create_engine, func, select
    from sqlalchemy.pool import NullPool

    check_answer(uri)
    engine = create_engine(uri, poolclass=NullPool)
    # The lock is gone with the transaction, also where the process is killed.
    with engine.begin() as connection:
        connection.execute(select(func.set_config("lock_timeout", f"{_LOCK_SECONDS:.0f}s", True)))
        connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
        database.opened(uri)


def _is_good(path: Path) -> bool:
    try:
        return path.exists() and damage(path) is None
    except (OSError, sqlite3.OperationalError):
        # Another process may have set it aside by now.
        if path.exists():
            raise
        return False


def _make(path: Path, *, own: bool, say: Say) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_SECONDS):
            _make_locked(path, own=own, say=say)
    except Timeout as error:
        raise OSError(
            f"another process has been making {path} for {_LOCK_SECONDS:.0f} s: {error.lock_file}"
        ) from error


def _make_locked(path: Path, *, own: bool, say: Say) -> None:
    """Make the database unless another process has; remove partial files of killed processes."""
    found = damage(path) if path.exists() else None
    if path.exists() and found is None:
        return
    if found is not None and not own and not is_unused(path):
        raise UserError(
            f"{path} is damaged ({found}); it is not in the store, so it is left as it is: move it "
            "away, or name another database"
        )
    _set_aside(path, found, say)
    for partial in path.parent.glob(f".{path.name}.*"):
        if not partial.name.endswith(".lock"):
            partial.unlink(missing_ok=True)
    with atomic.replaced(path) as partial:
        partial.write_bytes(_empty_database())
        _settle(partial, path.parent)


def _set_aside(path: Path, found: str | None, say: Say) -> None:
    """Rename a database and sqlite's files beside it, which would spoil a new one."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    while os.path.lexists(aside):
        aside = aside.with_name(f"{aside.name}+")
    for suffix in (*_BESIDE, ""):
        old = path.with_name(path.name + suffix)
        if os.path.lexists(old):
            old.rename(aside.with_name(aside.name + suffix))
    if found is not None:
        say(
            f"warning: MLflow's database {path} is damaged ({found}): it is now {aside.name}; the "
            "next run of each study fills a new one from the store"
        )


def _settle(path: Path, home: Path) -> None:
    """Set location and time of the default experiment to the database's folder and now."""
    now = int(time.time() * 1000)
    place = database.location(home, database.DEFAULT_EXPERIMENT)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ?",
            (place, now, now),
        )


def _empty_database() -> bytes:
    """The bytes of a new database of the installed MLflow, from the cache where possible."""
    from mlflow import __version__

    cached = machine_cache.load("mlflow", __version__)
    if cached is not None and "database" in cached.arrays:
        return cached.arrays["database"].tobytes()
    content = _new_database()
    machine_cache.save(
        "mlflow", __version__, {"database": np.frombuffer(content, np.uint8)}, {"kind": "sqlite"}
    )
    return content


def _new_database() -> bytes:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tempfile.mkdtemp(prefix="archprior-mlflow-")
    try:
        path = Path(folder, "new.db")
        with database.quiet():
            made = SqlAlchemyStore(database.uri_of(path), folder)
        made.engine.dispose()
        return path.read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

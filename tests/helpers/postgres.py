"""A PostgreSQL server of a test's own, as Debian installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.helpers.ports import free_port

USER, PASSWORD = "lab", "p4ss-of-the-lab"
#: Who it runs as where the tests run as root, whom it refuses.
_SYSTEM_USER = "postgres"
_DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, of the newest version; None where there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


needs_postgres = pytest.mark.skipif(
    programs() is None, reason="no PostgreSQL here: apt-get install postgresql"
)


class Postgres:
    """A server on loopback that asks for a password, in a folder that is gone afterwards."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._programs, self._port = found, free_port()
        # The folder of a test may be closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="archprior-postgres-"))

    def __enter__(self) -> Self:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:
            shutil.chown(self._folder, _SYSTEM_USER)
            shutil.chown(secret, _SYSTEM_USER)
        try:
            self._call(
                "initdb", "-D", self._data, "-U", USER, f"--pwfile={secret}", "--no-sync",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
            )  # fmt: skip
            settings = (
                f"-p {self._port} -c listen_addresses=127.0.0.1 -c fsync=off "
                f"-c unix_socket_directories={self._folder}"
            )
            log = str(self._folder / "log")
            self._call("pg_ctl", "-D", self._data, "-o", settings, "-l", log, "-w", "start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if Path(self._data, "postmaster.pid").exists():
            self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, database: str) -> str:
        """Make an empty database; returns its URI."""
        uri = self.uri(database)
        self.query("postgres", f'CREATE DATABASE "{database}"')
        return uri

    def uri(self, database: str, password: str = PASSWORD) -> str:
        """The URI of a database, for SQLAlchemy and MLflow."""
        return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{self._port}/{database}"

    def query(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in a database, outside a transaction; returns the rows of the answer."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self.uri(database), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                answer = connection.execute(text(statement))
                return [tuple(row) for row in answer] if answer.returns_rows else []
        finally:
            engine.dispose()

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _call(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", _SYSTEM_USER, "--"] if os.getuid() == 0 else []
        command = [*as_user, str(self._programs / program), *arguments]
        # Not a pipe, which the server would hold open.
        with tempfile.TemporaryFile("w+") as output:
            status = subprocess.call(command, cwd=self._folder, stdout=output, stderr=output)
            output.seek(0)
            assert status == 0, output.read()

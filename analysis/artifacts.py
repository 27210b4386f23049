"""Artifacts of MLflow's runs: in the store in hand, in another folder, or downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.database import ARTIFACTS_FOLDER
from analysis.measured import TABLES
from analysis.parquet_files import damage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True)
class Home:
    """The folder of a study's artifacts in the store in hand.

    With `own` the database is the store's too, so that all its artifacts are in this folder.
    """

    folder: Path
    own: bool

    def of(self, run: Run) -> Path | None:
        """The folder of a run's artifacts in this store; None where they are elsewhere."""
        tail = f"{self.folder.name}/{run.info.run_id}/artifacts"
        found = _local_path(run.info.artifact_uri)
        if found is None or not found.as_posix().endswith(f"/{ARTIFACTS_FOLDER}/{tail}"):
            return None
        here = self.folder.parent / tail
        return here if self.own or not found.exists() else None


@dataclass(frozen=True)
class Artifacts:
    """Artifacts of a study's runs; `home` is where a local store may hold them."""

    client: MlflowClient
    home: Home | None

    def table(self, run: Run, name: str) -> pa.Table | None:
        """A table among a run's artifacts; None where it is absent. Raises DamagedFileError."""
        folder = self.folder(run)
        if folder is not None:
            return _read(folder / name) if (folder / name).exists() else None
        if name not in [entry.path for entry in self.client.list_artifacts(run.info.run_id)]:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return _read(Path(self.client.download_artifacts(run.info.run_id, name, scratch)))

    def contents(self, run: Run, folder: str, tables: Iterable[str]) -> dict[str, bytes]:
        """The files of those tables that a run has in a folder of its artifacts, by table."""
        here = self.folder(run)
        if here is None:
            there = {entry.path for entry in self.client.list_artifacts(run.info.run_id, folder)}
        with tempfile.TemporaryDirectory() as scratch:
            found = {}
            for table in tables:
                name = f"{folder}/{table}.parquet"
                if here is None:
                    path = Path(scratch, name)
                    if name in there:
                        self.client.download_artifacts(run.info.run_id, name, scratch)
                else:
                    path = here / name
                if path.is_file():
                    found[table] = path.read_bytes()
            return found

    def tables(self, runs: Iterable[Run]) -> Iterator[dict[str, pa.Table]]:
        """The tables (`TABLES`) of each of the replicates of `runs`, in their order."""
        with (
            tempfile.TemporaryDirectory() as scratch,
            ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
        ):
            yield from pool.map(lambda run: self._tables_of(run, Path(scratch)), runs)

    def _tables_of(self, run: Run, scratch: Path) -> dict[str, pa.Table]:
        """The tables of one run, fetched together because requests are slow."""
        folder = self.folder(run)
        if folder is None:
            downloads = scratch / run.info.run_id
            downloads.mkdir()
            folder = Path(self.client.download_artifacts(run.info.run_id, "", str(downloads)))
        paths = {table: folder / f"{table}.parquet" for table in TABLES}
        return {table: _read(path) for table, path in paths.items() if path.exists()}

    def folder(self, run: Run) -> Path | None:
        """The run's artifact folder if it is a local one; None where it must be downloaded."""
        here = None if self.home is None else self.home.of(run)
        return _local_path(run.info.artifact_uri) if here is None else here


def log(
    client: MlflowClient,
    run_id: str,
    folder: str,
    path: str | None = None,
    *,
    place: str | None = None,
) -> None:
    """Log the files of a folder as a run's artifacts, below `path` among them.

    `place` is the URI of the run's artifacts; without it MLflow is asked. MLflow's own client
    caches it across databases, but runs of a copied store have the same ids and other locations.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.get_run(run_id).info.artifact_uri if place is None else place
    get_artifact_repository(uri, client.tracking_uri).log_artifacts(folder, path)


def _local_path(uri: str) -> Path | None:
    parts = urlparse(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _read(path: Path) -> pa.Table:
    # Not pq.read_table, which takes folders like `key=value` in the path for columns.
    with damage(str(path), "archprior run SPEC fills MLflow anew from the store"):
        return pq.ParquetFile(path).read(use_threads=False)

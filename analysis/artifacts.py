"""Artifacts of MLflow's runs: in the store in hand, in a folder of elsewhere, or downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.collect import TABLES, concatenated
from analysis.database import ARTIFACTS
from analysis.parquet_files import damage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True)
class Home:
    """The folder of a study's artifacts in the store in hand.

    `own`: the database is the store's own too, so that its artifacts are here and nowhere else.
    """

    folder: Path
    own: bool

    def of(self, run: Run) -> Path | None:
        """The folder of a run's artifacts here; None where they are of elsewhere."""
        tail = f"{self.folder.name}/{run.info.run_id}/artifacts"
        found = _local_path(run.info.artifact_uri)
        if found is None or not found.as_posix().endswith(f"/{ARTIFACTS}/{tail}"):
            return None
        here = self.folder.parent / tail
        return here if self.own or not found.exists() else None


@dataclass(frozen=True)
class Artifacts:
    """What a study's runs keep as artifacts; `home` where a local store may hold them."""

    client: MlflowClient
    home: Home | None

    def table(self, run: Run, name: str) -> pa.Table | None:
        """A table among a run's artifacts, or None."""
        folder = self._folder(run)
        if folder is not None:
            return _read(folder / name) if (folder / name).exists() else None
        if name not in [entry.path for entry in self.client.list_artifacts(run.info.run_id)]:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return _read(Path(self.client.download_artifacts(run.info.run_id, name, scratch)))

    def tables(self, runs: Iterable[Run]) -> dict[str, pa.Table]:
        """The three tables that replicates keep, each with the rows of all `runs` in order."""
        with (
            tempfile.TemporaryDirectory() as scratch,
            ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
        ):
            found = list(pool.map(lambda run: self._tables_of(run, Path(scratch)), runs))
        return concatenated(found)

    def _tables_of(self, run: Run, scratch: Path) -> Mapping[str, pa.Table]:
        """All are fetched at once: requests are what costs."""
        folder = self._folder(run)
        if folder is None:
            own = scratch / run.info.run_id
            own.mkdir()
            folder = Path(self.client.download_artifacts(run.info.run_id, "", str(own)))
        paths = {table: folder / f"{table}.parquet" for table in TABLES}
        return {table: _read(path) for table, path in paths.items() if path.exists()}

    def _folder(self, run: Run) -> Path | None:
        """The run's artifact folder where it is a plain one, to be read in place."""
        here = None if self.home is None else self.home.of(run)
        return _local_path(run.info.artifact_uri) if here is None else here


def log(client: MlflowClient, run_id: str, folder: str, path: str | None = None) -> None:
    """Log the files of a folder as a run's artifacts, below `path` among them.

    The client keeps in mind where a run's artifacts lie, whichever database it was in: runs of a
    store that was copied have the same ids and other places.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if client.tracking_uri.startswith("sqlite"):
        uri = client.get_run(run_id).info.artifact_uri
        get_artifact_repository(uri, client.tracking_uri).log_artifacts(folder, path)
    else:
        client.log_artifacts(run_id, folder, path)


def _local_path(uri: str) -> Path | None:
    parts = urlparse(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _read(path: Path) -> pa.Table:
    # Not pq.read_table, which takes folders like `key=value` in the path for columns.
    with damage(str(path), "archprior run SPEC fills MLflow anew from the store"):
        return pq.ParquetFile(path).read(use_threads=False)

"""A study's own run in MLflow: found, and given the study's page; errors on the way as warnings."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from analysis import database, from_mlflow, parquet_files, to_mlflow
from analysis.artifacts import Home
from analysis.contract import REPORT
from analysis.errors import NotWrittenWarning, UserError, first_line
from analysis.names import DEFAULT_STORE, check_name
from analysis.parquet_files import StorePath
from analysis.servers import refusal
from trainers.secrets import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


def log_report(
    study: str, *, store: StorePath = DEFAULT_STORE, tracking_uri: str | None = None
) -> None:
    """Log a study's page, if its store has one, to its run in MLflow as `report.html`.

    A page that the run has is not logged again. Warns (NotWrittenWarning) where MLflow does not
    take it, but not where the store has no database of MLflow, as one into which a study was
    imported.
    """
    check_name(study)
    filesystem, root = parquet_files.filesystem_of(store)
    own = Path(root) / database.NAME
    is_own = tracking_uri is None or database.path_of(tracking_uri) == own
    if is_own and isinstance(filesystem, LocalFileSystem) and not own.exists():
        return
    content = parquet_files.read_file(store, study, REPORT)
    if content is None:
        return
    with without_progress_bars(), not_in_mlflow("the report is"):
        place = opened(study, store, tracking_uri)
        if place.writable:
            run = from_mlflow.parent_run(study, place.client)
            to_mlflow.log_report(place.client, run, content)


@contextmanager
def not_in_mlflow(subject: str) -> Iterator[None]:
    """Turn any error of MLflow into NotWrittenWarning."""
    try:
        yield
    except Exception as error:
        text = f"{subject} not in MLflow: {masked(refusal(error) or first_line(error))}"
        warnings.warn(text, NotWrittenWarning, stacklevel=4)


@contextmanager
def may_be_read_only(store: StorePath) -> Iterator[None]:
    """Turn the error of a read-only store into NotWrittenWarning: the tables are still returned."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        message = f"no tables written: {os.fspath(store)} is read-only: {error.strerror}"
        warnings.warn(message, NotWrittenWarning, stacklevel=4)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Switch off MLflow's progress bar for every run that it downloads from.

    A value that the user has set is kept.
    """
    if _BARS in os.environ:
        yield
        return
    os.environ[_BARS] = "false"
    try:
        yield
    finally:
        del os.environ[_BARS]


class NoDatabaseError(UserError):
    """No database of MLflow is where one was looked for."""


class Opened(NamedTuple):
    """A client of MLflow; `writable` unless the locations of artifacts could not be updated."""

    client: MlflowClient
    home: Home | None = None
    writable: bool = True


def opened_alone(study: str, store: StorePath, tracking_uri: str | None) -> Opened:
    """`opened` for a study that the store lacks; where there is no database, it is unknown."""
    try:
        return opened(study, store, tracking_uri)
    except NoDatabaseError as error:
        raise parquet_files.unknown_study(study, store) from error


def opened(study: str, store: StorePath, tracking_uri: str | None) -> Opened:
    """MLflow as given, else the sqlite database in the store.

    A sqlite database must exist: MLflow would make an empty one.
    """
    filesystem, root = parquet_files.filesystem_of(store)
    folder = Path(root) if isinstance(filesystem, LocalFileSystem) else None
    if tracking_uri is None:
        if folder is None:
            raise UserError(f"store {os.fspath(store)} is not a local folder: give tracking_uri")
        tracking_uri = database.uri_of(folder / database.NAME)
    path = database.path_of(tracking_uri)
    if path is not None:
        if not path.exists():
            raise NoDatabaseError(f"there is no MLflow database {path}: run a study first")
        found = database.damage(path)
        if found is not None:
            raise UserError(
                f"MLflow's database {path} is damaged ({found}): run the study to make it anew"
            )
    client = database.opened(tracking_uri)
    if path is None or folder is None:
        return Opened(client)
    home = Home(folder / database.ARTIFACTS_FOLDER / study, own=database.is_of(path, folder))
    return Opened(client, home, database.adopt(path, folder, study))

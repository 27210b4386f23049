"""The package's public functions: analyse a study, load a table, pivot it to a matrix."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from fsspec.implementations.local import LocalFileSystem

from analysis import database, from_mlflow, from_store, parquet_files, to_mlflow
from analysis.artifacts import Home
from analysis.collect import Collected
from analysis.consistency.table import consistency_table
from analysis.contract import REPORT, SPEC
from analysis.errors import NotWrittenWarning, UserError, unknown
from analysis.expectations.table import expectation_table
from analysis.guide_similarity import guide_similarity_table
from analysis.names import DEFAULT_STORE, check_name
from analysis.pairs import pair_table
from analysis.parquet_files import StorePath
from analysis.priors import prior_table
from analysis.questions import question
from analysis.schema import CONDITION_COLUMNS, SCHEMAS
from analysis.search import budget_curve
from analysis.trainability import trainability_table
from analysis.transfer import transfer_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
_MATRIX_AXES = (
    *(column for column in CONDITION_COLUMNS if column not in ("guide", "target")),
    "metric",
    "role",
    "seed",
)


def analyze(
    study: str, *, store: StorePath = DEFAULT_STORE, tracking_uri: str | None = None
) -> dict[str, pd.DataFrame]:
    """Make a study's tables from the present state of its store.

    Where the store has no such study, the same tables are made from MLflow.
    Writes each as `<store>/studies/<study>/<table>.parquet` and logs it to the study's MLflow run
    under `tables/`, beside a description, figures, and metrics by cell.

    Args:
        study: name of the study.
        store: folder or URI of the store.
        tracking_uri: MLflow's; by default the sqlite database in the store.

    Returns:
        Frames by table name. These are `replicates`, `history`, `predictions`, `alignment`,
        `transfer`, `pairs`, `priors`, `consistency`, `guide_similarity`, `trainability`; `search`
        and `budget_curve` where settings were searched; `expectations` where the spec in the store
        has rules or published numbers.

    Raises UserError when the study is not there or its plan cannot be read, DamagedFileError where
    a file of the store is not whole. Warns (NotWrittenWarning) where the store is read-only, and
    where MLflow does not take the tables.
    """
    check_name(study)
    found = from_store.collect(study, store)
    with _without_progress_bars():
        if found is not None:
            tables, encoded = _tables(study, store, found)
            _write(store, study, encoded)
            _log_if_there(study, store, tracking_uri, tables, encoded)
            return tables
        opened = _opened(study, store, tracking_uri)
        found = from_mlflow.collect(study, opened.client, opened.home)
        tables, encoded = _tables(study, store, found)
        _write(store, study, encoded)
        _log(study, store, opened, tables, encoded)
    return tables


def current(study: str, *, store: StorePath = DEFAULT_STORE) -> dict[str, pd.DataFrame]:
    """Tables of a study from the present state of its store, written nowhere, while it runs.

    As `analyze`, without those that take long (`consistency`, `guide_similarity`), those of rules,
    and intervals over test examples. Raises UserError where the store has no such study,
    DamagedFileError where a file of the store is not whole.
    """
    check_name(study)
    found = from_store.collect(study, store)
    if found is None:
        raise UserError(f"study {study!r} has no plan in {os.fspath(store)}: archprior run SPEC")
    return _of_results(found, with_examples=False)


def _tables(
    study: str, store: StorePath, found: Collected
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes]]:
    """The tables by name, and the content of their files by name."""
    tables = _of_results(found, with_examples=True)
    tables["consistency"] = consistency_table(found.uses, found.predictions)
    tables["guide_similarity"] = guide_similarity_table(found.uses, found.alignment, found.tasks)
    spec = _spec(store, study)
    if has_expectations(spec):
        tables["expectations"] = expectation_table(study, spec, tables.__getitem__)
    metadata = _metadata(study, found.provenance)
    tables = {name: tables[name] for name in SCHEMAS if name in tables}
    return tables, {
        name: parquet_files.encode(frame, name, metadata) for name, frame in tables.items()
    }


def _of_results(found: Collected, *, with_examples: bool) -> dict[str, pd.DataFrame]:
    """Measurements, and effects; `with_examples` with intervals over test examples."""
    tables = {
        "replicates": found.replicates,
        "history": found.history,
        "predictions": found.predictions,
        "alignment": found.alignment,
        "transfer": transfer_table(
            found.uses,
            found.history,
            found.tasks,
            predictions=found.predictions if with_examples else None,
            margins=found.margins,
            confirm=found.confirm,
        ),
        "pairs": pair_table(found.uses, found.tasks),
        "priors": prior_table(found.uses, found.tasks),
        "trainability": trainability_table(found.uses, found.history, found.tasks),
    }
    if len(found.search):
        tables["search"] = found.search
        tables["budget_curve"] = budget_curve(found.search)
    return tables


def _write(store: StorePath, study: str, encoded: Mapping[str, bytes]) -> None:
    with _may_be_read_only(store):
        for table, data in encoded.items():
            parquet_files.write(store, parquet_files.table_path(study, table), data)


def _log_if_there(
    study: str,
    store: StorePath,
    tracking_uri: str | None,
    tables: Mapping[str, pd.DataFrame],
    encoded: Mapping[str, bytes],
) -> None:
    """Log tables to a study's run; warns where MLflow has no such run or does not answer."""
    with _not_in_mlflow("tables are"):
        _log(study, store, _opened(study, store, tracking_uri), tables, encoded)


def log_report(
    study: str, *, store: StorePath = DEFAULT_STORE, tracking_uri: str | None = None
) -> None:
    """Log a study's page, if its store has one, to its run in MLflow as `report.html`.

    Call it when the page was written anew. Warns (NotWrittenWarning) where MLflow does not take it,
    but not where the store has no database of MLflow, as one into which a study was imported.
    """
    check_name(study)
    filesystem, root = parquet_files.filesystem_of(store)
    own = Path(root) / database.NAME
    is_own = tracking_uri is None or database.path_of(tracking_uri) == own
    if is_own and isinstance(filesystem, LocalFileSystem) and not own.exists():
        return
    try:
        content: bytes = filesystem.cat_file(f"{root}/studies/{study}/{REPORT}")
    except FileNotFoundError:
        return
    with _without_progress_bars(), _not_in_mlflow("the report is"):
        opened = _opened(study, store, tracking_uri)
        if opened.writable:
            run = from_mlflow.parent_run(study, opened.client)
            to_mlflow.log_report(opened.client, run, content)


@contextmanager
def _not_in_mlflow(subject: str) -> Iterator[None]:
    """Turn any error of MLflow into NotWrittenWarning."""
    try:
        yield
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(f"{subject} not in MLflow: {first}", NotWrittenWarning, stacklevel=4)


def _log(
    study: str,
    store: StorePath,
    opened: _Opened,
    tables: Mapping[str, pd.DataFrame],
    encoded: Mapping[str, bytes],
) -> None:
    if not opened.writable:
        return
    run = from_mlflow.parent_run(study, opened.client)
    with _may_be_read_only(store):
        to_mlflow.log_study(opened.client, run, tables, encoded, _question(store, study))


def _question(store: StorePath, study: str) -> str:
    """The question at the top of the spec in the store; empty where it has none."""
    filesystem, root = parquet_files.filesystem_of(store)
    try:
        text: bytes = filesystem.cat_file(f"{root}/studies/{study}/{SPEC}")
    except FileNotFoundError:
        return ""
    return question(text.decode("utf-8", "replace"))


@contextmanager
def _may_be_read_only(store: StorePath) -> Iterator[None]:
    """Turn the error of a read-only store into NotWrittenWarning: the tables are still returned."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        message = f"no tables written: {os.fspath(store)} is read-only: {error.strerror}"
        warnings.warn(message, NotWrittenWarning, stacklevel=4)


def check(
    study: str,
    *,
    expect: Sequence[Any] | None = None,
    published: Sequence[Any] | None = None,
    store: StorePath = DEFAULT_STORE,
) -> pd.DataFrame:
    """Compare a study's tables with its expectations; returns the table `expectations`.

    Writes it as `<store>/studies/<study>/expectations.parquet`.

    Args:
        study: name of the study.
        expect: rules, in place of those of the spec in the store.
        published: published numbers, in place of those of the spec in the store.
        store: folder or URI of the store.

    Raises ValueError when there is no such study, it has no tables yet, or there is nothing to
    check. Warns (NotWrittenWarning) where the store is read-only.
    """
    spec = parquet_files.read_spec(store, study)
    if expect is not None or published is not None:
        spec = {"expect": expect, "published": published}
    if not has_expectations(spec):
        raise UserError(f"study {study!r}: its spec has no expect: rules and no published: numbers")
    frame = expectation_table(study, spec, lambda table: _table(study, table, store))
    data = parquet_files.encode(frame, "expectations", _metadata(study, {}))
    with _may_be_read_only(store):
        parquet_files.write(store, parquet_files.table_path(study, "expectations"), data)
    return frame


def has_expectations(spec: Mapping[str, Any]) -> bool:
    """Whether a spec has rules or published numbers."""
    return bool(spec.get("expect") or spec.get("published"))


def _table(study: str, table: str, store: StorePath) -> pd.DataFrame:
    try:
        return parquet_files.read(store, study, table)
    except UserError as error:
        raise UserError(f"{error}; archprior analyze {study} writes the tables") from error


def _spec(store: StorePath, study: str) -> Mapping[str, Any]:
    """The spec in the store; empty where the store has none."""
    try:
        return parquet_files.read_spec(store, study)
    except UserError:
        return {}


def _metadata(study: str, provenance: Mapping[str, str]) -> dict[str, Any]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"study": study, "created": created, "provenance": dict(provenance)}


def load(study: str, table: str, *, store: StorePath = DEFAULT_STORE) -> pd.DataFrame:
    """A table that `analyze` wrote, as a tidy frame.

    Raises ValueError, with what exists and the nearest match, for an unknown study or table, and
    for a table that a newer archprior wrote.
    """
    return parquet_files.read(store, study, table)


def matrix(frame: pd.DataFrame, value: str = "difference") -> pd.DataFrame:
    """Pivot a table of conditions to guides (rows) x targets (columns), in the frame's order.

    A pair that has no row is missing. Raises ValueError when `value` is not a column, and when
    anything but guide and target still varies, because a matrix would mix what is not comparable:
    the message names these axes and their values.
    """
    for column in ("guide", "target", value):
        if column not in frame.columns:
            raise unknown("column:", column, frame.columns)
    varying = {
        axis: frame[axis].drop_duplicates().tolist()
        for axis in _MATRIX_AXES
        if axis in frame.columns and frame[axis].nunique(dropna=False) > 1
    }
    if varying:
        axes = "; ".join(
            f"{axis} ({', '.join('null' if pd.isna(each) else str(each) for each in values)})"
            for axis, values in varying.items()
        )
        raise UserError(f"a matrix needs one value of each of these axes: {axes}")
    pivoted = frame.set_index(["guide", "target"])[value].unstack("target")
    return pivoted.reindex(
        index=frame["guide"].drop_duplicates(), columns=frame["target"].drop_duplicates()
    )


@contextmanager
def _without_progress_bars() -> Iterator[None]:
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


class _Opened(NamedTuple):
    """A client of MLflow; `writable` unless the locations of artifacts could not be updated."""

    client: MlflowClient
    home: Home | None = None
    writable: bool = True


def _opened(study: str, store: StorePath, tracking_uri: str | None) -> _Opened:
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
            raise UserError(f"there is no MLflow database {path}: run a study first")
        found = database.damage(path)
        if found is not None:
            raise UserError(
                f"MLflow's database {path} is damaged ({found}): run the study to make it anew"
            )
    client = database.opened(tracking_uri)
    if path is None or folder is None:
        return _Opened(client)
    home = Home(folder / database.ARTIFACTS / study, own=database.is_of(path, folder))
    return _Opened(client, home, database.adopt(path, folder, study))

"""Logs to a study's run in MLflow: tables, figures, description, and metrics by cell."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import saved_view, study_note
from analysis.artifacts import log
from analysis.contract import REPORT, REPORT_TAG, TABLES_TAG
from analysis.encoded_tables import EncodedTables
from analysis.errors import UserError
from analysis.markdown import escape
from analysis.metric_names import escaped

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Kinds of figures that are artifacts of the study's run.
FIGURES = ("matrix", "forest")
_NOTE = "mlflow.note.content"
_METRICS_PER_CALL = 900
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. ]+")
_VALUES = ("difference", "difference_low", "difference_high")


def log_study(
    client: MlflowClient,
    run: Run,
    tables: EncodedTables,
    inputs: str,
    question: str | None = None,
) -> None:
    """Log a study's tables to its own run, and what a person wants to see of them there.

    `inputs` is the digest of all that the tables follow from: a run that has them stays as it is.
    """
    if run.data.tags.get(TABLES_TAG) == inputs:
        return
    rows = study_note.guided_rows(tables["transfer"])
    with tempfile.TemporaryDirectory() as folder, _vouched(client, run, TABLES_TAG, inputs):
        _write_tables(Path(folder, "tables"), tables.files)
        _write_figures(Path(folder, "figures"), tables)
        log(client, run.info.run_id, folder, place=run.info.artifact_uri)
        asked = question or study_note.asked(rows)
        _log_batch(client, run, cell_metrics(rows), study_note.note(asked, tables["transfer"]))
        _describe_experiment(
            client, run, asked, {row["metric"]: row["higher_is_better"] for row in rows}
        )


def log_report(client: MlflowClient, run: Run, content: bytes) -> None:
    """Log a study's page to its own run, unless that has it."""
    digest = hashlib.sha256(content).hexdigest()[:32]
    if run.data.tags.get(REPORT_TAG) == digest:
        return
    with tempfile.TemporaryDirectory() as folder, _vouched(client, run, REPORT_TAG, digest):
        Path(folder, REPORT).write_bytes(content)
        log(client, run.info.run_id, folder, place=run.info.artifact_uri)


@contextmanager
def _vouched(client: MlflowClient, run: Run, tag: str, value: str) -> Iterator[None]:
    """Set a tag of a run once what it vouches for is there; meanwhile the run has none.

    So an upload that is cut off leaves nothing that a reader, or a later upload, takes for whole.
    """
    from mlflow.exceptions import MlflowException

    if tag in run.data.tags:
        try:
            client.delete_tag(run.info.run_id, tag)
        except MlflowException as error:
            # Another process has removed it since the run was read.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    yield
    client.set_tag(run.info.run_id, tag, value)


def _describe_experiment(
    client: MlflowClient, run: Run, question: str, metrics: Mapping[str, bool]
) -> None:
    """Give an experiment a description and a view, unless it has some."""
    experiment = client.get_experiment(run.info.experiment_id)
    created = int(time.time() * 1000)
    tags = {_NOTE: escape(question)}
    if metrics:
        tags[saved_view.TAG] = saved_view.tag_value(metrics, created)
    for key, value in tags.items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)


def _write_tables(folder: Path, encoded: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in encoded.items():
        (folder / f"{name}.parquet").write_bytes(content)


def _write_figures(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Draw the figures of a study as PNG; those with too many panels are left out."""
    from analysis.plots import save, study_figure

    folder.mkdir()
    for kind in FIGURES:
        with suppress(UserError):
            save(study_figure(kind, tables.__getitem__), folder / f"{kind}.png")


def cell_metrics(rows: Sequence[study_note.Row]) -> dict[str, float]:
    """Metrics of a study's run: effects by cell, and the number of cells they are of.

    `difference/<metric>/<cell>`, and `difference_low` and `difference_high` alike; names are those
    of the cells in the study's description, without the characters that MLflow does not take.
    """
    found: dict[str, float] = {}
    several = len({row["task"] for row in rows}) > 1
    names = study_note.cell_names(rows)
    for (guide, target), row in zip(names, rows, strict=True):
        label = f"{target} from {guide}" + (f" on {row['task']}" if several else "")
        cell = plain(label)
        for value in _VALUES:
            if row[value] is not None:
                found[escaped(f"{value}/{plain(str(row['metric']))}/{cell}")] = float(row[value])
    lows = [row["difference_low"] for row in rows if row["difference_low"] is not None]
    highs = [row["difference_high"] for row in rows if row["difference_high"] is not None]
    return found | {
        "cells": float(len(rows)),
        "cells_better": float(sum(low > 0 for low in lows)),
        "cells_worse": float(sum(high < 0 for high in highs)),
    }


def plain(label: str) -> str:
    """A label in the characters that names of metrics have: `fcn(depth=4)` is `fcn depth-4`."""
    words = _NOT_IN_NAMES.sub(" ", label.replace("=", "-")).split()
    return " ".join(words) or "unnamed"


def _log_batch(
    client: MlflowClient, run: Run, metrics: Mapping[str, float], description: str
) -> None:
    """Log what the run does not have yet, in one call where MLflow takes it."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    new = [
        Metric(name, value, now, 0)
        for name, value in metrics.items()
        if run.data.metrics.get(name) != value
    ]
    tags = [] if run.data.tags.get(_NOTE) == description else [RunTag(_NOTE, description)]
    parts: list[list[Any]] = [
        new[at : at + _METRICS_PER_CALL] for at in range(0, len(new), _METRICS_PER_CALL)
    ] or [[]]
    for number, part in enumerate(parts):
        if part or tags:
            client.log_batch(run.info.run_id, metrics=part, tags=tags if number == 0 else [])

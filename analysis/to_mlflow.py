"""Logs to a study's run in MLflow: tables, figures, description, and metrics by cell."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import study_note
from analysis.artifacts import log
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
_VALUES = ("difference", "difference_low", "difference_high", "guided", "baseline")


def log_study(
    client: MlflowClient,
    run: Run,
    tables: Mapping[str, pd.DataFrame],
    encoded: Mapping[str, bytes],
    question: str | None = None,
) -> None:
    """Log a study's tables to its own run, and what a person wants to see of them there."""
    rows = study_note.guided_rows(tables["transfer"])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files(tables, encoded):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        log(client, run.info.run_id, folder, place=run.info.artifact_uri)
    text = study_note.note(question or study_note.asked(rows), tables["transfer"])
    _log_batch(client, run, cell_metrics(rows), text)


def files(
    tables: Mapping[str, pd.DataFrame], encoded: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Artifacts of a study's run by path: tables, and figures as PNG."""
    for name, content in encoded.items():
        yield f"tables/{name}.parquet", content


def cell_metrics(rows: Sequence[study_note.Row]) -> dict[str, float]:
    """Metrics of a study's run: effects by cell, and the number of cells they are of.

    `difference/<metric>/<cell>` and others of `transfer`; names are those of the cells in the
    study's description, without the characters that MLflow does not take.
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

"""Schema of the `replicates` table, which has a column for each test metric of a study."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from analysis.schema.fields import CONDITION, INTEGER, REAL, TEXT, optional, required
from analysis.schema.search import TUNING

#: `replicates` has one column `test_<metric>` for each test metric of the study's tasks.
METRIC_PREFIX = "test_"

_BEFORE_METRICS = [
    required("replicate_id", TEXT, "content hash of all that changes the result"),
    required("role", TEXT, "guide, baseline, guided or control"),
    required("seed", INTEGER, "the replicate's seed"),
    required("status", TEXT, "finished, failed, blocked or missing"),
    optional("error", TEXT, "why it failed or was blocked"),
    optional("train_seconds", REAL, "training time in seconds"),
    optional("steps", INTEGER, "training steps taken"),
]
_METRIC_DESCRIPTION = "test value at the last step, in the metric's unit; null unless finished"
_AFTER_METRICS = [
    optional("torch_version", TEXT, "PyTorch that trained it"),
    optional("device", TEXT, "device that trained it"),
    optional("run_id", TEXT, "its MLflow run"),
    optional("num_pairs", INTEGER, "mapped pairs of taps; null when unguided"),
    optional("baseline_id", TEXT, "replicate of the unguided target with the same seed"),
    optional("guide_id", TEXT, "replicate of the guide's architecture trained alone"),
    optional(
        "matched_id",
        TEXT,
        "of a guided replicate: that of the unguided target with the same seed and as many "
        "floating-point operations; null where none was asked for",
    ),
    optional(
        "matched_full_id",
        TEXT,
        "the same, with the operations of the guide's own training, too",
    ),
    optional(
        "flops",
        REAL,
        "of a guided replicate with a matched_id: floating-point operations of its training, "
        "counted from shapes, without any cache",
    ),
    *TUNING,
]


def replicates(metrics: Iterable[str] = ()) -> pa.Schema:
    """The schema with a column `test_<metric>` for each of `metrics`."""
    columns = [optional(METRIC_PREFIX + name, REAL, _METRIC_DESCRIPTION) for name in metrics]
    return pa.schema(CONDITION + _BEFORE_METRICS + columns + _AFTER_METRICS)


def metrics_of(columns: Iterable[str]) -> list[str]:
    """The metrics that have a column `test_<metric>` among `columns`, in their order."""
    return [name.removeprefix(METRIC_PREFIX) for name in columns if name.startswith(METRIC_PREFIX)]

"""Schemas of what replicates measure: `history` and `predictions`."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import INTEGER, REAL, TEXT, optional, required

HISTORY = pa.schema(
    [
        required("replicate_id", TEXT, "the replicate"),
        required("step", INTEGER, "training step"),
        required("timestamp", pa.timestamp("ms", tz="UTC"), "when it was measured"),
        required("metric", TEXT, "full name, as in MLflow: train/loss, validation/accuracy, ..."),
        optional("value", REAL, "the value, in the metric's own unit"),
    ]
)
PREDICTIONS = pa.schema(
    [
        required("replicate_id", TEXT, "the replicate"),
        required("example", INTEGER, "index in the test split"),
        required("position", INTEGER, "time step; 0 for tasks without time"),
        required("label", INTEGER, "the right class"),
        required("prediction", INTEGER, "the class that the network chose"),
        optional(
            "cluster",
            INTEGER,
            "the test examples that are drawn together, such as images of one base digit, have one "
            "number; null where an older version wrote it",
        ),
    ]
)

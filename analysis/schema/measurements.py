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
        required("position", INTEGER, "time step, or number of the value; 0 without either"),
        optional("label", INTEGER, "the right class; null where the task has values for labels"),
        optional("prediction", INTEGER, "the class that the network chose; null as label"),
        optional(
            "label_value",
            REAL,
            "the right value, in the unit of the task's labels; null where the task has classes",
        ),
        optional("prediction_value", REAL, "the value that the network gave; null as label_value"),
        optional(
            "cluster",
            INTEGER,
            "the test examples that are drawn together, such as images of one base digit, have one "
            "number; null where an older version wrote it",
        ),
    ]
)

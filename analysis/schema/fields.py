"""Columns: how one is made, and those that several tables have."""

from __future__ import annotations

import pyarrow as pa


def required(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """A column without nulls."""
    return pa.field(name, kind, nullable=False, metadata={"description": description})


def optional(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """A column that may be null."""
    return pa.field(name, kind, metadata={"description": description})


TEXT, INTEGER, REAL, BOOLEAN = pa.string(), pa.int64(), pa.float64(), pa.bool_()

#: Fields of `CONDITION_COLUMNS`.
CONDITION = [
    required("study", TEXT, "name of the study"),
    required("task", TEXT, "label of the task"),
    required("target", TEXT, "label of the architecture that learns"),
    optional(
        "treatment",
        TEXT,
        "what is done to the target: guidance, or the label of a rival, which has no guide in the "
        "columns that follow; null in baselines and guides",
    ),
    optional("guide", TEXT, "label of the guiding architecture"),
    optional("state", TEXT, "trained or untrained guide; null where it plays no part"),
    optional(
        "control",
        TEXT,
        "what replaces the guide: none, shuffled, input, labels, labels(at=all), class_shuffled, "
        "reversed, noise, self or uniform; of a rival what replaces its prior (permuted) or guide",
    ),
    optional("distance", TEXT, "label of the distance that guidance minimises"),
    optional("mapping", TEXT, "label of the rule that pairs guide taps with target taps"),
    optional("schedule", TEXT, "label of the guidance schedule"),
    optional("alpha", REAL, "weight of the distance in the loss"),
    optional("stop_step", INTEGER, "step after which guidance is off; null if it never is"),
]
#: Fields after `CONDITION` in tables of effects, which have a row for each metric.
EFFECT = [
    required("metric", TEXT, "bare name of the test metric; rates are fractions of 1"),
    required("higher_is_better", BOOLEAN, "the metric's direction"),
]

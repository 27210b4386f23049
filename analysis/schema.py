"""Schemas of the tables: columns, types, descriptions, and the version of the format.

A column's description is in its field's metadata, here and in every file. Nullable integers and
booleans are pandas' `Int64` and `boolean`; a missing number is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

#: Raised when a column is added or changes its meaning; readers refuse a newer version.
SCHEMA_VERSION = 2

#: Columns that describe a condition: first, in this order, in every table of conditions.
CONDITION_COLUMNS = (
    "study",
    "task",
    "target",
    "guide",
    "state",
    "control",
    "distance",
    "mapping",
    "schedule",
    "alpha",
    "stop_step",
)

#: `replicates` has one column `test_<metric>` for each test metric of the study's tasks.
METRIC_PREFIX = "test_"


def _required(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": description})


def _optional(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


_TEXT, _INTEGER, _REAL, _BOOLEAN = pa.string(), pa.int64(), pa.float64(), pa.bool_()

_CONDITION = [
    _required("study", _TEXT, "name of the study"),
    _required("task", _TEXT, "label of the task"),
    _required("target", _TEXT, "label of the architecture that learns"),
    _optional("guide", _TEXT, "label of the guiding architecture"),
    _optional("state", _TEXT, "trained or untrained guide; null where it plays no part"),
    _optional(
        "control", _TEXT, "what replaces the guide: none, shuffled, input, noise, self or uniform"
    ),
    _optional("distance", _TEXT, "label of the distance that guidance minimises"),
    _optional("mapping", _TEXT, "label of the rule that pairs guide taps with target taps"),
    _optional("schedule", _TEXT, "label of the guidance schedule"),
    _optional("alpha", _REAL, "weight of the distance in the loss"),
    _optional("stop_step", _INTEGER, "step after which guidance is off; null if it never is"),
]
_EFFECT = [
    _required("metric", _TEXT, "bare name of the test metric; rates are fractions of 1"),
    _required("higher_is_better", _BOOLEAN, "the metric's direction"),
]
_REPLICATES_BEFORE_METRICS = [
    _required("replicate_id", _TEXT, "content hash of all that changes the result"),
    _required("role", _TEXT, "guide, baseline, guided or control"),
    _required("seed", _INTEGER, "the replicate's seed"),
    _required("status", _TEXT, "finished, failed, blocked or missing"),
    _optional("error", _TEXT, "why it failed or was blocked"),
    _optional("train_seconds", _REAL, "training time in seconds"),
    _optional("steps", _INTEGER, "training steps taken"),
]
_METRIC_DESCRIPTION = "test value at the last step, in the metric's unit; null unless finished"
_REPLICATES_AFTER_METRICS = [
    _optional("torch_version", _TEXT, "PyTorch that trained it"),
    _optional("device", _TEXT, "device that trained it"),
    _optional("run_id", _TEXT, "its MLflow run"),
    _optional("num_pairs", _INTEGER, "mapped pairs of taps; null when unguided"),
    _optional("baseline_id", _TEXT, "replicate of the unguided target with the same seed"),
    _optional("guide_id", _TEXT, "replicate of the guide's architecture trained alone"),
]
_HISTORY = [
    _required("replicate_id", _TEXT, "the replicate"),
    _required("step", _INTEGER, "training step"),
    _required("timestamp", pa.timestamp("ms", tz="UTC"), "when it was measured"),
    _required("metric", _TEXT, "full name, as in MLflow: train/loss, validation/accuracy, ..."),
    _optional("value", _REAL, "the value, in the metric's own unit"),
]
_PREDICTIONS = [
    _required("replicate_id", _TEXT, "the replicate"),
    _required("example", _INTEGER, "index in the test split"),
    _required("position", _INTEGER, "time step; 0 for tasks without time"),
    _required("label", _INTEGER, "the right class"),
    _required("prediction", _INTEGER, "the class that the network chose"),
]
_ALIGNMENT = [
    _required("replicate_id", _TEXT, "the replicate, a baseline or a guided one"),
    _optional(
        "guide_id",
        _TEXT,
        "replicate of the guide; null where none guided (controls input and uniform) and for an "
        "untrained self",
    ),
    _optional(
        "guide_moment",
        _TEXT,
        "initial (the untrained guide) or final (the trained one); null where none guided",
    ),
    _required("moment", _TEXT, "initial (before training) or final"),
    _required("guide_tap", _TEXT, "tap of the guide"),
    _required("target_tap", _TEXT, "tap of the target"),
    _required(
        "measure",
        _TEXT,
        "label of the similarity: linear_cka(unbiased=true) over the whole test split, measured "
        "after training, for baselines and guided targets; with estimator=batches, over the first "
        "500 test examples, measured in training, for guided targets and controls",
    ),
    _required("rows", _TEXT, "what the rows of the features are: examples, positions or tokens"),
    _required("n", _INTEGER, "number of rows"),
    _optional("similarity", _REAL, "similarity of the two taps; null where it is undefined"),
    _optional("target_collapsed", _BOOLEAN, "the target's features do not vary over the rows"),
    _optional("guide_collapsed", _BOOLEAN, "the guide's features do not vary over the rows"),
]
_TRANSFER = [
    _required("n", _INTEGER, "seeds at which baseline and guided both finished"),
    _required("n_failed", _INTEGER, "planned seeds that are not in n: failed, blocked or missing"),
    _optional("num_pairs", _INTEGER, "mapped pairs of taps"),
    _optional("baseline", _REAL, "mean of the unguided target over the n seeds"),
    _optional(
        "guide_alone",
        _REAL,
        "mean of the guide's architecture trained alone, over those of the n seeds where it "
        "finished",
    ),
    _optional("guided", _REAL, "mean of this condition over the n seeds"),
    _optional(
        "shuffled",
        _REAL,
        "mean of the shuffled control, over those of the n seeds where it finished; null in rows "
        "of controls",
    ),
    _optional("input", _REAL, "the same for the input control"),
    _optional("difference", _REAL, "guided minus baseline, signed so that positive is better"),
    _optional("difference_low", _REAL, "lower limit of its interval"),
    _optional("difference_high", _REAL, "upper limit of its interval"),
    _optional("p_value", _REAL, "two-sided p of the difference; null when its spread is zero"),
    _optional(
        "p_adjusted",
        _REAL,
        "p_value adjusted over the guided rows of this metric (Benjamini-Hochberg); null in rows "
        "of controls",
    ),
    _optional(
        "effect_size",
        _REAL,
        "Hedges' g of the paired differences; null when their spread is zero or n < 3",
    ),
    _optional(
        "specific",
        _REAL,
        "guided minus control, paired, positive is better: in a guided row against the control it "
        "beats by least, in a control's row against this control (an input control: with the "
        "trained guide where there is one)",
    ),
    _optional("specific_low", _REAL, "lower limit of its interval"),
    _optional("specific_high", _REAL, "upper limit of its interval"),
    _optional("specific_control", _TEXT, "the control a guided row beats by least"),
    _optional(
        "gap_closed",
        _REAL,
        "difference divided by guide_alone minus baseline (ratio of means); null unless the "
        "interval of that gap is above zero",
    ),
    _optional("gap_closed_low", _REAL, "lower limit of its Fieller interval"),
    _optional("gap_closed_high", _REAL, "upper limit of its Fieller interval"),
    _optional("distance_start", _REAL, "distance at the first guided step, mean over the n seeds"),
    _optional("distance_end", _REAL, "distance at the last guided step, mean over the n seeds"),
    _optional("alignment_share", _REAL, "part of the loss that was alignment at the end (0 to 1)"),
    _optional("at_ceiling", _BOOLEAN, "the baseline is at least as good as the guide alone"),
    _optional("interval", _TEXT, "how the intervals were made; null where there is none"),
    _optional("test", _TEXT, "how p_value was made; null where there is none"),
    _required(
        "verdict",
        _TEXT,
        "'helps, guide-specific', 'helps, specificity not established', 'helps, control not run', "
        "'hurts', 'not established', or 'control'",
    ),
]
_PRIORS = {
    "architecture_prior": "untrained guide minus baseline",
    "architecture_specific": "untrained guide minus the control it beats by least",
    "knowledge": "trained guide minus untrained guide",
    "total": "trained guide minus baseline",
}


def _prior_fields() -> list[pa.Field]:
    fields = []
    for name, meaning in _PRIORS.items():
        fields += [
            _optional(name, _REAL, f"{meaning}, positive is better; null where not run"),
            _optional(f"{name}_low", _REAL, "lower limit of its interval"),
            _optional(f"{name}_high", _REAL, "upper limit of its interval"),
            _optional(f"{name}_n", _INTEGER, "seeds it is over; null where not run"),
        ]
    return fields


def _spanned(field: pa.Field) -> pa.Field:
    if field.name in ("state", "control"):
        return _optional(field.name, field.type, "null: a row spans states and controls")
    return field


_EXPECTATIONS = [
    _required("study", _TEXT, "name of the study"),
    _required("place", _TEXT, "where the spec has it: expect[0], published[0], ..."),
    _required("rule", _TEXT, "the rule as written; of a published number the term it is of"),
    _optional("claim", _TEXT, "what the rule shows, in words"),
    _optional("metric", _TEXT, "test metric, or alignment: final similarity of the mapped pairs"),
    _optional(
        "value",
        _REAL,
        "mean, paired difference (left minus right) or ratio of means over the n seeds, in the "
        "metric's own unit; null where there is none",
    ),
    _optional("low", _REAL, "lower limit of its interval (a ratio's is Fieller's)"),
    _optional("high", _REAL, "upper limit of its interval"),
    _required("n", _INTEGER, "seeds at which all terms have a value"),
    _optional(
        "holds",
        _BOOLEAN,
        "whether the value satisfies the rule; null where it cannot be checked, and of published "
        "numbers",
    ),
    _optional("established", _BOOLEAN, "whether the whole interval does; null where holds is"),
    _optional("published", _REAL, "the published number; null of rules"),
    _optional("published_spread", _REAL, "its spread, as printed"),
    _optional("source", _TEXT, "where it was published"),
    _optional("problem", _TEXT, "why a rule cannot be checked, or a number not be compared"),
]

#: Table name to schema; `replicates` without its `test_<metric>` columns.
SCHEMAS: Mapping[str, pa.Schema] = {
    "replicates": pa.schema(_CONDITION + _REPLICATES_BEFORE_METRICS + _REPLICATES_AFTER_METRICS),
    "history": pa.schema(_HISTORY),
    "predictions": pa.schema(_PREDICTIONS),
    "alignment": pa.schema(_ALIGNMENT),
    "transfer": pa.schema(_CONDITION + _EFFECT + _TRANSFER),
    "priors": pa.schema([_spanned(field) for field in _CONDITION] + _EFFECT + _prior_fields()),
    "expectations": pa.schema(_EXPECTATIONS),
}


def schema(table: str, metrics: Iterable[str] = ()) -> pa.Schema:
    """The table's schema; in `replicates` with a column `test_<metric>` for each of `metrics`."""
    if table != "replicates":
        return SCHEMAS[table]
    columns = [_optional(METRIC_PREFIX + name, _REAL, _METRIC_DESCRIPTION) for name in metrics]
    return pa.schema(_CONDITION + _REPLICATES_BEFORE_METRICS + columns + _REPLICATES_AFTER_METRICS)


def metrics_of(columns: Iterable[str]) -> list[str]:
    """The metrics that have a column `test_<metric>` among `columns`, in their order."""
    return [name.removeprefix(METRIC_PREFIX) for name in columns if name.startswith(METRIC_PREFIX)]


def describe(table: str) -> pd.DataFrame:
    """The table's columns: `column`, `type`, `nullable`, `description`, a row for each."""
    import pandas as pd

    return pd.DataFrame(
        [
            (field.name, str(field.type), field.nullable, field.metadata[b"description"].decode())
            for field in schema(table, ["<metric>"])
        ],
        columns=["column", "type", "nullable", "description"],
    )


def conform(table: pa.Table, target: pa.Schema) -> pa.Table:
    """`table` with the columns of `target`, in its order and types.

    A column that an older version lacks is null, and loses its `nullable=False` here.
    """
    fields, columns = [], []
    for field in target:
        present = field.name in table.column_names
        columns.append(
            table[field.name].cast(field.type) if present else pa.nulls(table.num_rows, field.type)
        )
        fields.append(field if present else field.with_nullable(True))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame: `Int64` and `boolean` where nulls are allowed, NumPy types elsewhere."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame = table.to_pandas(ignore_metadata=True, types_mapper=nullable.get)
    plain = {
        field.name: field.type.to_pandas_dtype()
        for field in table.schema
        if field.type in nullable and not field.nullable
    }
    result: pd.DataFrame = frame.astype(plain)
    return result


def frame_of(rows: list[dict[str, object]], target: pa.Schema) -> pd.DataFrame:
    """A frame of `target`'s columns from one dictionary a row; a key that is absent is null."""
    return to_frame(pa.Table.from_pylist(rows, schema=target))

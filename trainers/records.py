"""The tables one replicate writes: history, predictions, alignment, as Parquet bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from trainers.tasks import IGNORE

HISTORY = pa.schema(
    [
        ("replicate_id", pa.string()),
        ("step", pa.int64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("replicate_id", pa.string()),
        ("example", pa.int64()),
        ("position", pa.int64()),
        ("label", pa.int64()),
        ("prediction", pa.int64()),
    ]
)
ALIGNMENT = pa.schema(
    [
        ("replicate_id", pa.string()),
        ("moment", pa.string()),
        ("guide_tap", pa.string()),
        ("target_tap", pa.string()),
        ("measure", pa.string()),
        ("rows", pa.string()),
        ("n", pa.int64()),
        ("similarity", pa.float64()),
        ("target_collapsed", pa.bool_()),
        ("guide_collapsed", pa.bool_()),
    ]
)


class Point(NamedTuple):
    """One metric at one step; `timestamp` in milliseconds since 1970."""

    step: int
    timestamp: int
    metric: str
    value: float


@dataclass
class History:
    """Every metric that a replicate has reported."""

    replicate_id: str
    points: list[Point] = field(default_factory=list)

    def add(self, step: int, timestamp: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of one report."""
        self.points += [Point(step, timestamp, name, value) for name, value in metrics.items()]

    def until(self, step: int) -> History:
        """What had been reported by `step`."""
        return History(self.replicate_id, [p for p in self.points if p.step <= step])

    def to_parquet(self) -> bytes:
        """The history as Parquet, schema `HISTORY`."""
        columns = {name: [getattr(p, name) for p in self.points] for name in Point._fields}
        identifiers = [self.replicate_id] * len(self.points)
        return to_parquet({"replicate_id": identifiers} | columns, HISTORY)

    @classmethod
    def from_parquet(cls, replicate_id: str, content: bytes) -> History:
        """The history that `to_parquet` wrote."""
        table = pq.read_table(io.BytesIO(content), schema=HISTORY)
        stamps = table["timestamp"].cast(pa.int64())
        columns = [table["step"], stamps, table["metric"], table["value"]]
        values = [column.to_pylist() for column in columns]
        return cls(replicate_id, [Point(*row) for row in zip(*values, strict=True)])


def predictions_table(replicate_id: str, labels: Tensor, predictions: Tensor) -> bytes:
    """Scored predictions of the test split as Parquet, schema `PREDICTIONS`.

    `labels` and `predictions` are (N,) or (N, time); position is 0 without time.
    """
    labels, predictions = (x.reshape(len(x), -1).cpu() for x in (labels, predictions))
    scored = labels != IGNORE
    example, position = scored.nonzero(as_tuple=True)
    columns = {
        "replicate_id": pa.repeat(replicate_id, len(example)),
        "example": example.numpy(),
        "position": position.numpy(),
        "label": labels[scored].numpy(),
        "prediction": predictions[scored].numpy(),
    }
    return to_parquet(columns, PREDICTIONS)


def rows_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Rows given as mappings, as Parquet."""
    return _bytes(pa.Table.from_pylist(list(rows), schema=schema))


def to_parquet(columns: Mapping[str, Any], schema: pa.Schema) -> bytes:
    """Columns as Parquet; the same columns give the same bytes."""
    return _bytes(pa.table(dict(columns), schema=schema))


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()

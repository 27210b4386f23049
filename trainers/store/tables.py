"""Tables of a replicate as Parquet bytes: history, predictions, alignment."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

#: PyArrow's type names by column (`timestamp`: UTC, ms).
Columns = Mapping[str, str]

HISTORY: Columns = {
    "replicate_id": "string",
    "step": "int64",
    "timestamp": "timestamp",
    "metric": "string",
    "value": "double",
}
PREDICTIONS: Columns = {
    "replicate_id": "string",
    "example": "int64",
    "position": "int64",
    "label": "int64",
    "prediction": "int64",
    "cluster": "int64",
}
#: Of tasks of values.
PREDICTED_VALUES: Columns = {
    "replicate_id": "string",
    "example": "int64",
    "position": "int64",
    "label_value": "double",
    "prediction_value": "double",
    "cluster": "int64",
}
ALIGNMENT: Columns = {
    "replicate_id": "string",
    "moment": "string",
    "guide_tap": "string",
    "target_tap": "string",
    "measure": "string",
    "rows": "string",
    "n": "int64",
    "similarity": "double",
    "target_collapsed": "bool",
    "guide_collapsed": "bool",
}


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
        """The history up to and including `step`."""
        return History(self.replicate_id, [p for p in self.points if p.step <= step])

    def to_parquet(self) -> bytes:
        """The history as Parquet, schema `HISTORY`, with checksums."""
        columns = {name: [getattr(p, name) for p in self.points] for name in Point._fields}
        identifiers = [self.replicate_id] * len(self.points)
        return to_parquet({"replicate_id": identifiers} | columns, HISTORY, checksums=True)

    @classmethod
    def from_parquet(cls, replicate_id: str, content: bytes) -> History:
        """The history that `to_parquet` wrote; raises ValueError if it is damaged."""
        import pyarrow as pa

        table = table_of(content, HISTORY)
        if any(column.null_count for column in table.columns):
            raise ValueError("damaged: values are missing")
        stamps = table["timestamp"].cast(pa.int64())
        columns = [table["step"], stamps, table["metric"], table["value"]]
        values = [column.to_pylist() for column in columns]
        return cls(replicate_id, [Point(*row) for row in zip(*values, strict=True)])


def predictions_table(
    replicate_id: str, labels: Tensor, predictions: Tensor, clusters: Tensor
) -> bytes:
    """Scored predictions of the test split as Parquet: `PREDICTIONS`, or `PREDICTED_VALUES`.

    `labels` and `predictions` are (N,), (N, time) or (N, num_values), `clusters` (N,); position is
    the time or the value's index, 0 without either.
    """
    # It needs PyTorch, which readers of tables do without.
    from trainers.tasks import is_scored

    labels, predictions = (x.reshape(len(x), -1).cpu() for x in (labels, predictions))
    scored = is_scored(labels)
    example, position = scored.nonzero(as_tuple=True)
    schema = PREDICTED_VALUES if labels.is_floating_point() else PREDICTIONS
    columns = (
        [replicate_id] * len(example),
        example.numpy(),
        position.numpy(),
        labels[scored].numpy(),
        predictions[scored].numpy(),
        clusters[example].numpy(),
    )
    return to_parquet(dict(zip(schema, columns, strict=True)), schema)


def rows_table(
    rows: Iterable[Mapping[str, Any]],
    columns: Columns,
    *,
    checksums: bool = False,
    told: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Rows (mappings by column) as Parquet; with `checksums`, `read_rows` detects any damage.

    `told` is what the file says of itself, the metadata of its schema.
    """
    import pyarrow as pa

    schema = arrow_schema(columns).with_metadata(dict(told) or None)
    return _bytes(pa.Table.from_pylist(list(rows), schema=schema), checksums)


def read_rows(content: bytes, columns: Columns) -> list[dict[str, Any]]:
    """The rows that `rows_table` wrote; raises ValueError if damaged or of other columns."""
    rows: list[dict[str, Any]] = table_of(content, columns).to_pylist()
    return rows


def to_parquet(values: Mapping[str, Any], columns: Columns, *, checksums: bool = False) -> bytes:
    """Values by column as Parquet; the same values give the same bytes."""
    import pyarrow as pa

    return _bytes(pa.table(dict(values), schema=arrow_schema(columns)), checksums)


def arrow_schema(columns: Columns) -> pa.Schema:
    """The PyArrow schema of some columns; PyArrow is imported here, where tables are written."""
    import pyarrow as pa

    stamp = pa.timestamp("ms", tz="UTC")
    kinds = {n: stamp if k == "timestamp" else pa.type_for_alias(k) for n, k in columns.items()}
    return pa.schema(list(kinds.items()))


def table_of(content: bytes, columns: Columns) -> pa.Table:
    """The table that `rows_table` or `to_parquet` wrote; raises as `read_rows`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # PyArrow's threads have aborted short processes at exit, about one in twenty. `read_table`
        # takes three times as long as this for a small file.
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"damaged: {error}") from error
    if not table.schema.equals(arrow_schema(columns)):
        raise ValueError(f"has columns {table.column_names}, not {list(columns)}")
    return table


def _bytes(table: pa.Table, checksums: bool = False) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=checksums)
    return buffer.getvalue()

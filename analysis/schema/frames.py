"""Tables of a schema as pandas frames, and tables of older schemas as tables of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from analysis.contract import GUIDANCE

if TYPE_CHECKING:
    import pandas as pd


def conform(table: pa.Table, target: pa.Schema) -> pa.Table:
    """`table` with the columns of `target`, in its order and types.

    A column that an older version lacks is null, and loses its `nullable=False` here; but for the
    treatment, which was guidance wherever there was a guide.
    """
    fields, columns = [], []
    for field in target:
        present = field.name in table.column_names
        column = table[field.name] if present else pa.nulls(table.num_rows, field.type)
        if field.name == "treatment" and not present and "guide" in table.column_names:
            column = pc.if_else(pc.is_valid(table["guide"]), GUIDANCE, column)
        columns.append(column if column.type == field.type else column.cast(field.type))
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

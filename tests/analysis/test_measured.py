"""Tables of many replicates at once: each gets its own rows, and damage is said of its file."""

from __future__ import annotations

import pyarrow as pa
import pytest

from analysis.errors import DamagedFileError
from analysis.measured import Kept, Source, gather
from analysis.schema import schema


def predictions(name: str, rows: int, *, clusters: bool = True) -> pa.Table:
    table = pa.table({
        "replicate_id": [name] * rows, "example": range(rows), "position": [0] * rows,
        "label": [1] * rows, "prediction": [1] * rows, "cluster": range(rows),
    })  # fmt: skip
    return table if clusters else table.drop_columns("cluster")


def gathered(tables: dict[str, dict[str, pa.Table]]) -> dict[str, dict[str, pa.Table]]:
    sources = [Source(name, dict.fromkeys(made, "key")) for name, made in tables.items()]
    parts = gather(sources, lambda part: [tables[each.replicate_id] for each in part], Kept({}))
    return {
        source.replicate_id: dict(made)
        for part, found in parts
        for source, made in zip(part, found, strict=True)
    }


@pytest.mark.parametrize("clusters", [True, False], ids=["one version", "several versions"])
def test_each_replicate_has_its_own_rows(clusters: bool) -> None:
    found = gathered({
        "a": {"predictions": predictions("a", 3)},
        "b": {},
        "c": {"predictions": predictions("c", 2, clusters=clusters)},
        "d": {"predictions": predictions("d", 0)},
    })  # fmt: skip
    assert found["b"] == {}
    for name, rows in (("a", 3), ("c", 2), ("d", 0)):
        table = found[name]["predictions"]
        assert table.column_names == schema("predictions").names
        assert table["replicate_id"].to_pylist() == [name] * rows
        assert table["example"].to_pylist() == list(range(rows))
    assert found["c"]["predictions"]["cluster"].to_pylist() == ([0, 1] if clusters else [None] * 2)


def test_the_damaged_file_among_many_is_named() -> None:
    torn = predictions("b", 2)
    example = pa.array([0, None], pa.int64())
    torn = torn.set_column(1, "example", example)
    tables = {"a": predictions("a", 3), "b": torn, "c": predictions("c", 2)}
    with pytest.raises(DamagedFileError, match=r"replicates/b/predictions\.parquet is damaged"):
        gathered({name: {"predictions": table} for name, table in tables.items()})

"""Parts of the tables that grow with reports and test examples, for statistics over all of a study.

A study of ten thousand replicates has millions of such rows: only those are made a frame that a
statistic asks for, and ids are categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.alignment_rows import pair_of
from analysis.contract import DISTANCE as TAP_DISTANCE
from analysis.contract import TEST_AT_BEST, TRAIN_SAMPLE, VALIDATION
from analysis.guidance_health import DISTANCE, METRICS
from analysis.schema import conform, schema, to_frame

if TYPE_CHECKING:
    import pandas as pd


def telling_history(content: bytes) -> pd.DataFrame:
    """Rows of `history` that effects and diagnoses follow from; most reports take no part.

    `content` is that of the table's file. Validation metrics are among them where the test split
    was scored at the best of them.
    """
    source = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["replicate_id", "metric"])
    parts = [source.read_row_group(i, use_threads=False) for i in range(source.num_row_groups)]
    names = {name for part in parts for name in pc.unique(part["metric"]).to_pylist()}
    prefixes = [TEST_AT_BEST, TRAIN_SAMPLE]
    if any(name.startswith(TEST_AT_BEST) for name in names):
        prefixes.append(VALIDATION)
    wanted = {name for name in names if name.startswith(tuple(prefixes)) or name in METRICS}
    found = [_of_metrics(part, wanted) for part in parts]
    table = pa.concat_tables(found) if found else schema("history").empty_table()
    return to_frame(conform(table, schema("history")))


def _of_metrics(part: pa.Table, wanted: Iterable[str]) -> pa.Table:
    """Rows of metrics; those of guidance are of guided replicates alone."""
    ids, metrics = (part[name].cast(pa.string()) for name in ("replicate_id", "metric"))
    guided = pc.unique(ids.filter(pc.equal(metrics, DISTANCE)))
    of_guidance = pc.is_in(metrics, pa.array(METRICS, pa.string()))
    chosen = pc.is_in(metrics, pa.array(sorted(wanted), pa.string()))
    chosen = pc.and_(chosen, pc.or_(pc.invert(of_guidance), pc.is_in(ids, guided)))
    return part.filter(chosen).cast(schema("history"))


def mapped_pairs(content: bytes) -> dict[str, list[tuple[str, str]]]:
    """Taps (target's, guide's) whose distances guided, by replicate; `content` is of `history`."""
    source = pq.ParquetFile(pa.BufferReader(content))
    found: dict[str, dict[str, None]] = {}
    for group in range(source.num_row_groups):
        part = source.read_row_group(group, ["replicate_id", "metric"], use_threads=False)
        part = part.filter(pc.starts_with(part["metric"], TAP_DISTANCE))
        for row in part.group_by(["replicate_id", "metric"]).aggregate([]).to_pylist():
            found.setdefault(row["replicate_id"], {})[row["metric"]] = None
    return {name: [pair_of(metric) for metric in metrics] for name, metrics in found.items()}


def classified(content: bytes) -> Iterator[pd.DataFrame]:
    """Rows of `predictions` that are right or wrong, those of classes: some replicates at a time.

    `content` is that of the table's file, in whose row groups replicates are whole.
    """
    source = pq.ParquetFile(pa.BufferReader(content), read_dictionary=["replicate_id"])
    columns = ["replicate_id", "example", "position", "label", "prediction", "cluster"]
    for group in range(source.num_row_groups):
        part = source.read_row_group(group, columns, use_threads=False)
        part = part.filter(pc.is_valid(part["label"]))
        yield to_frame(part)

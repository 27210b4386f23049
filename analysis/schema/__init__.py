"""Schemas of the tables: columns, types, descriptions, and the version of the format.

A column's description is in its field's metadata, here and in every file. Nullable integers and
booleans are pandas' `Int64` and `boolean`; a missing number is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from analysis.contract import CONDITION_COLUMNS
from analysis.schema.alignment import ALIGNMENT
from analysis.schema.confirm import CONFIRM
from analysis.schema.consistency import CONSISTENCY
from analysis.schema.dials import DIALS
from analysis.schema.expectations import EXPECTATIONS
from analysis.schema.frames import conform, frame_of, to_frame
from analysis.schema.guide_similarity import GUIDE_SIMILARITY
from analysis.schema.measurements import HISTORY, PREDICTIONS
from analysis.schema.pairs import PAIRS
from analysis.schema.predictors import PREDICTORS
from analysis.schema.priors import PRIORS
from analysis.schema.replicates import METRIC_PREFIX, metrics_of, replicates
from analysis.schema.search import BUDGET_CURVE, SEARCH
from analysis.schema.trainability import TRAINABILITY
from analysis.schema.transfer import TRANSFER

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONDITION_COLUMNS", "METRIC_PREFIX", "SCHEMAS", "SCHEMA_VERSION", "conform", "describe",
    "frame_of", "metrics_of", "schema", "to_frame",
]  # fmt: skip

#: Raised when a column is added or changes its meaning; readers refuse a newer version.
SCHEMA_VERSION = 4

#: Table name to schema; `replicates` without its `test_<metric>` columns.
SCHEMAS: Mapping[str, pa.Schema] = {
    "replicates": replicates(),
    "history": HISTORY,
    "predictions": PREDICTIONS,
    "alignment": ALIGNMENT,
    "transfer": TRANSFER,
    "pairs": PAIRS,
    "priors": PRIORS,
    "dials": DIALS,
    "consistency": CONSISTENCY,
    "guide_similarity": GUIDE_SIMILARITY,
    "predictors": PREDICTORS,
    "trainability": TRAINABILITY,
    "expectations": EXPECTATIONS,
    "search": SEARCH,
    "budget_curve": BUDGET_CURVE,
    "confirm": CONFIRM,
}


def schema(table: str, metrics: Iterable[str] = ()) -> pa.Schema:
    """The table's schema; in `replicates` with a column `test_<metric>` for each of `metrics`."""
    return replicates(metrics) if table == "replicates" else SCHEMAS[table]


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

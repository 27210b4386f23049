"""Learning curves: the mean over seeds at each step, with its interval, for each condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis import statistics
from analysis.contract import CONDITION_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a curve after those of its condition.
COLUMNS = ("role", "metric", "step", "n", "mean", "low", "high")


def learning_curves(history: pd.DataFrame, replicates: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over seeds of one metric, a row for each condition, role and step.

    Columns are those of a condition, then `role`, `metric`, `step`, `n` (seeds with a finite value
    at this step), `mean`, and `low` and `high`, the 95% Student t interval of the mean over seeds;
    NaN for n < 3 and where the seeds do not vary. Conditions stand in the order of `replicates`,
    steps in their own. Where a seed ended early, the steps after it are means of the others: see n.

    Args:
        history: the `history` table.
        replicates: the `replicates` table, or some rows of it.
        metric: full name of a metric, as in `history`: `validation/accuracy`.
    """
    import pandas as pd

    keys = [*CONDITION_COLUMNS, "role"]
    groups = replicates.groupby(keys, dropna=False, sort=False).ngroup()
    # A replicate may stand in several conditions.
    places = pd.DataFrame({"replicate_id": replicates["replicate_id"], "group": groups})
    known = history["replicate_id"].isin(places["replicate_id"])
    rows = history[(history["metric"] == metric) & known]
    rows = rows.drop_duplicates(["replicate_id", "step"], keep="last")
    rows = rows[rows["value"].notna() & ~rows["value"].isin([np.inf, -np.inf])]
    values = (
        rows[["replicate_id", "step", "value"]]
        .merge(places, on="replicate_id")
        .astype({"group": int, "value": float})
    )
    found = values.groupby(["group", "step"])["value"].agg(["size", "mean", "std", "min", "max"])
    low, high = statistics.intervals_of_means(
        found["size"].to_numpy(),
        found["mean"].to_numpy(),
        found["std"].to_numpy(),
        found[["min", "max"]].abs().max(axis=1).to_numpy(),
    )
    curves = found.reset_index()
    first = replicates.groupby(groups)[keys].head(1).reset_index(drop=True)
    conditions = first.loc[curves["group"]].reset_index(drop=True)
    curves = curves.rename(columns={"size": "n"}).assign(metric=metric, low=low, high=high)
    result: pd.DataFrame = pd.concat([conditions, curves[list(COLUMNS[1:])]], axis=1)
    return result

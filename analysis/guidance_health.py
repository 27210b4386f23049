"""Signs in the training history that guidance was at work, for each replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("distance_start", "distance_end", "alignment_share")


def guidance_summary(history: pd.DataFrame) -> pd.DataFrame:
    """One row for each replicate with a history, indexed by its id; absent values are NaN.

    `distance_start`, `distance_end`: `train/distance` at the first and the last step that has it,
    which are the first and the last guided step. `alignment_share`: `1 - task_loss / loss` at the
    last step that has both.
    """
    known = history[np.isfinite(history["value"])]
    wide = (
        known[known["metric"].isin(["train/distance", "train/loss", "train/task_loss"])]
        .drop_duplicates(["replicate_id", "step", "metric"], keep="last")
        .pivot(index=["replicate_id", "step"], columns="metric", values="value")
        .reindex(columns=["train/distance", "train/loss", "train/task_loss"])
    )
    distance = wide["train/distance"].groupby(level="replicate_id")
    loss = wide["train/loss"].where(wide["train/loss"] != 0)
    share = (1 - wide["train/task_loss"] / loss).groupby(level="replicate_id")
    summary: pd.DataFrame = distance.first().to_frame("distance_start")
    summary["distance_end"] = distance.last()
    summary["alignment_share"] = share.last()
    return summary

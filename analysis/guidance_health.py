"""Signs in the training history that guidance was at work, for each replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the summary, and the metrics of the history that it is made of.
COLUMNS = ("distance_start", "distance_end", "alignment_share")
DISTANCE, _LOSS, _TASK_LOSS = METRICS = "train/distance", "train/loss", "train/task_loss"


def guidance_summary(history: pd.DataFrame, replicates: pd.DataFrame) -> pd.DataFrame:
    """One row for each replicate with a history, indexed by its id; absent values are NaN.

    A history holds means over report windows: the first step alone, reported as step 0, and then
    the steps up to each report. `train/distance` is a mean over the guided steps of a window.

    `distance_start`, `distance_end`: the distance in the first and the last window with a guided
    step. `alignment_share`: the part of the loss that was alignment, `1 - task_loss / loss`, as a
    mean over the guided steps. In a window in which guidance stops, the alignment is that of its
    guided steps alone, and the task loss that of the window. NaN where guidance came before
    training, without a task loss.

    Args:
        history: the `history` table.
        replicates: the `replicates` table, for the steps in which guidance is on.
    """
    known = history[np.isfinite(history["value"])]
    windows = (
        known[known["metric"].isin([DISTANCE, _LOSS, _TASK_LOSS])]
        .drop_duplicates(["replicate_id", "step", "metric"], keep="last")
        .pivot(index=["replicate_id", "step"], columns="metric", values="value")
        .reindex(columns=[DISTANCE, _LOSS, _TASK_LOSS])
        .sort_index()
    )
    distance = windows[DISTANCE].groupby(level="replicate_id")
    summary: pd.DataFrame = distance.first().to_frame("distance_start")
    summary["distance_end"] = distance.last()
    summary["alignment_share"] = _alignment_share(windows, replicates)
    return summary


def _alignment_share(windows: pd.DataFrame, replicates: pd.DataFrame) -> pd.Series:
    """Mean share of alignment in the loss over the guided steps, by replicate."""
    schedules = replicates.drop_duplicates("replicate_id").set_index("replicate_id")
    stops, every = schedules["stop_step"], _every(schedules["schedule"])
    names, ends = (windows.index.get_level_values(level) for level in (0, 1))
    guided_windows = windows[DISTANCE].notna()
    # Before training, all of the loss is alignment: there is no share to speak of.
    before = (guided_windows & windows[_TASK_LOSS].isna()).groupby(level=0).transform("any")
    previous = ends.to_series(windows.index).groupby(level=0).shift()
    starts = previous.clip(lower=1).fillna(0).to_numpy()
    steps = np.maximum(ends, 1) - starts
    stop = stops.reindex(names).to_numpy(dtype=float, na_value=np.inf)
    interval = every.reindex(names).to_numpy(dtype=float, na_value=np.nan)
    until, since = (np.ceil(np.minimum(step, stop) / interval) for step in (starts + steps, starts))
    guided = until - since
    task_loss = windows[_TASK_LOSS]
    alignment = (windows[_LOSS] - task_loss) * steps / np.where(guided > 0, guided, np.nan)
    loss = alignment + task_loss
    share = (alignment / loss.where(loss != 0)).where(guided_windows & ~before)
    weights = share.notna() * guided
    total: pd.Series = (share * weights).groupby(level=0).sum()
    count = weights.groupby(level=0).sum()
    mean: pd.Series = total / count.where(count > 0)
    return mean


def _every(labels: pd.Series) -> pd.Series:
    """The interval of guided steps in labels of schedules; null where a search has chosen it."""
    found = labels.astype("string").str.extract(r"(?:^|,)every=(\w+)", expand=False).fillna("1")
    every: pd.Series = found.where(found.str.isdigit()).astype("Int64")
    return every

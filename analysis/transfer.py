"""The `transfer` table: the effect of guidance for each guided condition, control and metric."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis import cells, guidance_health, statistics
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.schema import frame_of, schema
from analysis.statistics import PairedDifference

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Context of a row beside its cell: a metric, the cells of its group, guidance summaries."""

    metric: Metric
    group: Sequence[Cell]
    guidance: Mapping[Hashable, Mapping[Hashable, float]]


def transfer_table(
    replicates: pd.DataFrame, history: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> pd.DataFrame:
    """One row for each guided or control condition and each test metric of its task.

    Args:
        replicates: the `replicates` table, a row for each planned replicate.
        history: the `history` table.
        tasks: task label to its metrics.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    all_cells = cells.cells(replicates)
    metrics = cells.metric_values(replicates, tasks)
    groups = cells.grouped(all_cells)
    summary = guidance_health.guidance_summary(history).to_dict("index")
    rows, tests = [], []
    for cell in all_cells:
        for metric in metrics[cell.condition.task]:
            context = _Context(metric=metric, group=groups[cell.condition.group], guidance=summary)
            rows.append(_row(cell, context))
            tests.append(frozenset((m.replicate_id, m.baseline_id) for m in cell.members.values()))
    frame = frame_of(rows, schema("transfer"))
    for _, family in frame[frame["control"] == "none"].groupby(["study", "metric"]):
        # A condition that stands in several places was tested once.
        keys = [tests[index] for index in family.index]
        once = dict(zip(keys, family["p_value"].to_numpy(dtype=float), strict=True))
        adjusted = statistics.adjust(np.array(list(once.values()), dtype=float))
        known = dict(zip(once, adjusted, strict=True))
        frame.loc[family.index, "p_adjusted"] = [known[key] for key in keys]
    return frame


def verdict(difference: PairedDifference, specifics: Mapping[str, PairedDifference]) -> str:
    """The verdict on a guided condition.

    `specifics` holds guided minus control for each control that was planned. Guidance is specific
    to the guide if the difference and all of these have intervals above zero, `shuffled` among
    them: each must hold, so no correction is needed (intersection-union). A control that was
    planned but has no interval, because it failed, leaves that open.
    """
    if difference.negative:
        return "hurts"
    if not difference.positive:
        return "not established"
    if not any(specific.n for specific in specifics.values()):
        return "helps, control not run"
    if "shuffled" in specifics and all(specific.positive for specific in specifics.values()):
        return "helps, guide-specific"
    return "helps, specificity not established"


def _row(cell: Cell, context: _Context) -> Row:
    metric = context.metric
    seeds = metric.shared(cell)
    guided, baseline = metric.of(cell, seeds), metric.at(seeds)
    difference = metric.better(guided, baseline)
    row: Row = {
        **cell.condition._asdict(),
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "n": len(seeds),
        "n_failed": len(cell.members) - len(seeds),
        "num_pairs": cell.num_pairs,
        "baseline": statistics.mean(baseline),
        "guided": statistics.mean(guided),
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p_value": difference.p_value,
        "effect_size": difference.effect_size,
        "interval": statistics.INTERVAL if difference.low is not None else None,
        "test": statistics.TEST if difference.p_value is not None else None,
    }
    row |= _gap(cell, metric, seeds) | _guidance(cell, context, seeds)
    compare = _compare_control if cell.condition.is_control else _compare_guided
    return row | compare(cell, context, difference)


def _gap(cell: Cell, metric: Metric, seeds: Sequence[str]) -> Row:
    """The guide alone, and the share of its lead over the baseline that guidance closes."""
    guides = {seed: cell.members[seed].guide_id for seed in seeds}
    known = {seed: guide for seed, guide in guides.items() if guide and guide in metric.values}
    guide = metric.at(known.values())
    baseline, guided = metric.at(known), metric.of(cell, known)
    sign = 1 if metric.higher_is_better else -1
    ratio = statistics.ratio_of_means(sign * (guided - baseline), sign * (guide - baseline))
    lead = metric.better(guide, baseline).mean
    return {
        "guide_alone": statistics.mean(guide),
        "gap_closed": ratio.estimate,
        "gap_closed_low": ratio.low,
        "gap_closed_high": ratio.high,
        "at_ceiling": None if lead is None else lead <= 0,
    }


def _guidance(cell: Cell, context: _Context, seeds: Sequence[str]) -> Row:
    found = [context.guidance.get(cell.members[seed].replicate_id, {}) for seed in seeds]
    row: Row = {}
    for column in guidance_health.COLUMNS:
        values = np.array([entry.get(column, np.nan) for entry in found], dtype=float)
        row[column] = statistics.mean(values[np.isfinite(values)])
    return row


def _compare_guided(cell: Cell, context: _Context, difference: PairedDifference) -> Row:
    """Columns of a guided row about its controls, and the verdict."""
    metric, controls = context.metric, cells.controls_of(cell, context.group)
    levels = {
        str(control.condition.control): statistics.mean(
            metric.of(control, metric.shared(cell, control))
        )
        for control in controls
    }
    specifics = metric.specifics(cell, controls)
    least, specific = cells.least_beaten(specifics)
    return {
        "shuffled": levels.get("shuffled"),
        "input": levels.get("input"),
        "specific": specific.mean,
        "specific_low": specific.low,
        "specific_high": specific.high,
        "specific_control": least,
        "verdict": verdict(difference, specifics),
    }


def _compare_control(cell: Cell, context: _Context, _: PairedDifference) -> Row:
    guided = cells.guided_of(cell, context.group)
    specific = PairedDifference(n=0) if guided is None else context.metric.compare(guided, cell)
    return {
        "specific": specific.mean,
        "specific_low": specific.low,
        "specific_high": specific.high,
        "verdict": "control",
    }

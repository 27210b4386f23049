"""The `transfer` table: the effect of each guided condition, rival and control on each metric."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import cells, equivalence, failures, guidance_health, statistics, verdicts
from analysis.answers import Answers
from analysis.baselines import Baselines
from analysis.cells import Cell, Condition, Metric, TaskMetrics
from analysis.contract import CONDITION_COLUMNS, GUIDANCE
from analysis.expectations import rules
from analysis.expectations.terms import select
from analysis.failures import Arms
from analysis.schema import frame_of, schema
from analysis.search import with_tuning
from analysis.statistics import PairedDifference, Values
from analysis.two_way import TwoWayIntervals
from analysis.verdicts import Evidence

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]
#: Columns of controls' levels in guided rows, and the labels of the controls.
LEVELS = {
    "shuffled": "shuffled",
    "input": "input",
    "labels": cells.LABELS,
    "labels_all": cells.LABELS_ALL,
    "class_shuffled": "class_shuffled",
    "reversed": "reversed",
    "self": "self",
}


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Context of a row beside its cell: a metric, the cells of its group, guidance summaries.

    `guides` are all guides of its task.
    """

    metric: Metric
    group: Sequence[Cell]
    guides: Sequence[str]
    guidance: Mapping[Hashable, Mapping[Hashable, float]]
    margin: float | None
    two_way: TwoWayIntervals


def transfer_table(
    replicates: pd.DataFrame,
    history: pd.DataFrame,
    tasks: Mapping[str, TaskMetrics],
    *,
    answers: Answers | None = None,
    margins: Mapping[str, float] = MappingProxyType({}),
    confirm: Sequence[Any] = (),
) -> pd.DataFrame:
    """One row for each guided, rival or control condition and each test metric of its task.

    Args:
        replicates: the `replicates` table, a row for each planned replicate; where it has a column
            `required_controls`, that says for guided rows which controls they must beat.
        history: the `history` table.
        tasks: task label to its metrics.
        answers: those of the replicates, for intervals over test examples too.
        margins: the largest difference that counts as none, by metric.
        confirm: the guided rows that were named before the study ran, as a spec has them.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    all_cells = cells.cells(replicates)
    metrics = cells.metric_values(replicates, tasks)
    groups = cells.grouped(all_cells)
    summary = guidance_health.guidance_summary(history, replicates).to_dict("index")
    two_way = TwoWayIntervals(answers)
    named = _named(confirm, replicates)
    baselines = Baselines.of(replicates, history, tasks)
    guides = _guides(all_cells)
    rows, tests = [], []
    for cell in all_cells:
        for metric in metrics[cell.condition.task]:
            context = _Context(
                metric=metric,
                group=groups[cell.condition.group],
                guides=guides[cell.condition.task],
                guidance=summary,
                margin=margins.get(metric.name),
                two_way=two_way,
            )
            row = baselines.added(_row(cell, context), cell, metric)
            rows.append(row | {"confirm": _confirms(cell, named)})
            tests.append(frozenset((m.replicate_id, m.baseline_id) for m in cell.members.values()))
    _adjust(rows, tests)
    return frame_of(with_tuning(rows, replicates), schema("transfer"))


def _guides(found: Sequence[Cell]) -> dict[str, list[str]]:
    """Ids of the guides of each task, each once."""
    guides: dict[str, dict[str, None]] = {}
    for cell in found:
        ids = (member.guide_id for member in cell.members.values())
        guides.setdefault(cell.condition.task, {}).update((name, None) for name in ids if name)
    return {task: list(ids) for task, ids in guides.items()}


def _named(confirm: Sequence[Any], replicates: pd.DataFrame) -> set[Condition]:
    """The conditions of rows to confirm. Raises UserError where one stands for several."""
    if not confirm:
        return set()
    rows = cells.records(replicates)
    found = [select(rules.read_confirm(each).row, rows) for each in confirm]
    return {
        Condition(*(row[column] for column in CONDITION_COLUMNS))
        for chosen in found
        if chosen is not None
        for row in chosen.rows.values()
    }


def _confirms(cell: Cell, named: set[Condition]) -> bool | None:
    return None if cell.condition.is_control else cell.condition in named


def _adjust(rows: Sequence[Row], tests: Sequence[Hashable]) -> None:
    """Add p values that are adjusted over a family of guided rows, and verdicts by these.

    `tests` says of each row what was tested: a condition that stands in several places was tested
    once. All primary metrics of a study form one family, apart from the rows named for
    confirmation and from rivals; each other metric has a family too, but no verdict.
    """
    families: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        if row["control"] == "none":
            metric = None if row["primary"] else row["metric"]
            of = row["treatment"] in (None, GUIDANCE)
            families.setdefault((row["study"], metric, row["confirm"], of), []).append(index)
    for members in families.values():
        once = {(tests[index], rows[index]["metric"]): rows[index]["p_value"] for index in members}
        adjusted = statistics.adjust(np.array(list(once.values()), dtype=float))
        known = dict(zip(once, adjusted.tolist(), strict=True))
        for index in members:
            row = rows[index]
            found = known[tests[index], row["metric"]]
            row["p_adjusted"] = None if np.isnan(found) else found
            if row["primary"]:
                row["verdict_adjusted"] = verdicts.adjusted(str(row["verdict"]), found)


def _row(cell: Cell, context: _Context) -> Row:
    metric = context.metric
    seeds = metric.shared(cell)
    guided, baseline = metric.of(cell, seeds), metric.at(seeds)
    difference = metric.better(guided, baseline)
    row: Row = {
        **cell.condition._asdict(),
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "primary": metric.primary,
        "n": len(seeds),
        "n_failed": len(cell.members) - len(seeds),
        "num_pairs": cell.num_pairs,
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p_value": difference.p_value,
        "effect_size": difference.effect_size,
        "interval": statistics.INTERVALS[metric.data] if difference.low is not None else None,
        "test": statistics.TEST if difference.p_value is not None else None,
        "margin": context.margin,
        "tost_p": equivalence.equivalence(difference, context.margin).p_value,
    }
    row |= _arm("baseline", baseline) | _arm("guided", guided)
    row |= context.two_way.columns(cell, seeds, metric)
    row |= _gap(cell, metric, seeds) | _guidance(cell, context, seeds)
    row |= failures.columns(cell, metric, len(seeds), context.guides)
    arms = Arms.of(cell, metric)
    worst = arms.worst()
    row |= {
        "n_failed_baseline": arms.num_failed_baseline,
        "n_failed_guided": arms.num_failed_guided,
        "difference_worst": worst.mean,
        "difference_worst_low": worst.low,
        "difference_worst_high": worst.high,
    }
    if cell.condition.is_control:
        return row | _compare_control(cell, context)
    num_failed = arms.num_failed_baseline + arms.num_failed_guided
    evidence = Evidence(
        difference=difference, worst=worst, best=arms.best(), num_failed=num_failed,
        margin=context.margin,
    )  # fmt: skip
    return row | _compare_guided(cell, context, evidence)


def _arm(name: str, values: Values) -> Row:
    return {
        name: statistics.mean(values),
        f"{name}_spread": failures.spread(values),
        f"{name}_median": failures.median(values),
    }


def _gap(cell: Cell, metric: Metric, seeds: Sequence[str]) -> Row:
    """The guide alone, and the share of its lead over the baseline that guidance closes."""
    guides = {seed: cell.members[seed].guide_id for seed in seeds}
    known = {seed: guide for seed, guide in guides.items() if guide and guide in metric.values}
    guide = metric.at(known.values())
    baseline, guided = metric.at(known), metric.of(cell, known)
    sign = 1 if metric.higher_is_better else -1
    ratio = statistics.ratio_of_means(sign * (guided - baseline), sign * (guide - baseline))
    lead = metric.better(guide, baseline)
    return {
        "guide_alone": statistics.mean(guide),
        "gap_closed": ratio.estimate,
        "gap_closed_low": ratio.low,
        "gap_closed_high": ratio.high,
        "at_ceiling": _at_ceiling(lead),
    }


def _at_ceiling(lead: PairedDifference) -> bool | None:
    """Whether the guide has no lead over the baseline; None where its interval holds zero."""
    if lead.positive:
        return False
    return True if lead.high is not None and lead.high <= 0 else None


def _guidance(cell: Cell, context: _Context, seeds: Sequence[str]) -> Row:
    found = [context.guidance.get(cell.members[seed].replicate_id, {}) for seed in seeds]
    row: Row = {}
    for column in guidance_health.COLUMNS:
        values = np.array([entry.get(column, np.nan) for entry in found], dtype=float)
        row[column] = statistics.mean(values[np.isfinite(values)])
    return row


def _compare_guided(cell: Cell, context: _Context, evidence: Evidence) -> Row:
    """Columns of a guided row or rival about its controls, and the verdict."""
    metric, controls = context.metric, cells.controls_of(cell, context.group)
    levels = {
        str(control.condition.control): statistics.mean(
            metric.of(control, metric.shared(cell, control))
        )
        for control in controls
    }
    specifics = metric.specifics(cell, controls)
    least, specific = cells.least_beaten(specifics)
    missing = verdicts.missing_controls(cell, controls, metric)
    found = verdicts.verdict(replace(evidence, specifics=specifics, missing=missing))
    if cell.condition.is_rival:
        found = verdicts.of_rival(found, cell)
    return {
        **{column: levels.get(label) for column, label in LEVELS.items()},
        **_specific(specific),
        "specific_n": specific.n if controls else None,
        "specific_control": least,
        "missing_controls": "; ".join(missing) or None,
        "uncompared_controls": "; ".join(verdicts.uncompared_controls(cell, controls)) or None,
        "verdict": found if metric.primary else verdicts.DESCRIPTIVE + found,
    }


def _compare_control(cell: Cell, context: _Context) -> Row:
    guided = cells.guided_of(cell, context.group)
    row: Row = {"verdict": verdicts.CONTROL}
    return row if guided is None else row | _specific(context.metric.compare(guided, cell))


def _specific(specific: PairedDifference) -> Row:
    return {
        "specific": specific.mean,
        "specific_low": specific.low,
        "specific_high": specific.high,
        "specific_n": specific.n,
    }

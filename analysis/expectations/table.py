"""The `expectations` table: a spec's rules and published numbers, beside measured values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis import statistics
from analysis.cells import records
from analysis.contract import Role, Status
from analysis.errors import UserError, unknown
from analysis.expectations import consistency_metric, rules
from analysis.expectations.alignment import Similarities
from analysis.expectations.consistency import Consistencies
from analysis.expectations.rules import ALIGNMENT, Published, Rule, Term
from analysis.expectations.terms import Selected, check_guides, distinct, nothing, select
from analysis.schema import METRIC_PREFIX, frame_of, metrics_of, schema
from analysis.statistics import Values

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]


def expectation_table(
    study: str, spec: Mapping[str, Any], table: Callable[[str], pd.DataFrame]
) -> pd.DataFrame:
    """One row for each entry of `expect` and `published` in a spec.

    Args:
        study: name of the study.
        spec: the spec, or its keys `expect` and `published` alone.
        table: gives a table of the study by its name: `replicates`, `transfer`, and for rules on
            alignment `alignment` and `history`, on consistency `consistency`.

    An entry that cannot be checked is a row with a `problem`. Raises UserError when `expect` or
    `published` is no list.
    """
    evidence = _Evidence(table("replicates"), table)
    rows = []
    for place, entry in rules.entries(spec):
        row: Row = {"study": study, "place": place, "n": 0}
        judge = _expected if place.startswith("expect") else _published
        try:
            row |= judge(entry, evidence)
        except UserError as error:
            row |= {"problem": str(error)}
        rows.append(_described(entry) | row)
    return frame_of(rows, schema("expectations"))


class _Measured(NamedTuple):
    """A mean, a difference or a ratio over n seeds, with its interval."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def columns(self) -> Row:
        return self._asdict()


class _Evidence:
    """The values of a study's tables that rules ask for."""

    def __init__(self, replicates: pd.DataFrame, table: Callable[[str], pd.DataFrame]) -> None:
        self.rows, self._metrics = records(replicates), metrics_of(replicates.columns)
        self._table = table

    @cached_property
    def _primary_metrics(self) -> dict[str, str]:
        # The primary metric is the first that a task's rows have.
        first = self._table("transfer").drop_duplicates("task")
        return dict(zip(first["task"], first["metric"], strict=True))

    @cached_property
    def _similarities(self) -> Similarities:
        return Similarities(self._table("alignment"), self._table("history"))

    @cached_property
    def _consistencies(self) -> Consistencies:
        return Consistencies(self._table("consistency"))

    def metric(self, metric: str | None, chosen: Sequence[Selected]) -> str:
        """The metric of a rule on these terms. Raises ValueError where there is none."""
        tasks = list(dict.fromkeys(each.task for each in chosen))
        if len(tasks) > 1:
            raise UserError(f"the terms are of different tasks: {', '.join(tasks)}")
        if metric is None:
            return self._primary_metrics[tasks[0]]
        if consistency_metric.is_consistency(metric):
            return metric
        if metric != ALIGNMENT and metric not in self._metrics:
            raise unknown("metric", metric, [*self._metrics, ALIGNMENT])
        return metric

    def consistency(self, term: Term, selected: Selected, metric: str) -> _Measured:
        """A column of the table `consistency`, in the row of a term."""
        known = consistency_metric.read(metric, term.name)
        return _Measured(*self._consistencies.of(term, selected, known))

    def values(self, metric: str, chosen: Sequence[Selected]) -> list[dict[int, float]]:
        """For each term its values by seed, without seeds that have none."""
        if metric == ALIGNMENT:
            return self._alignment(chosen)
        column = METRIC_PREFIX + metric
        return [
            {
                seed: float(row[column])
                for seed, row in each.rows.items()
                if row["status"] == Status.finished
                and row[column] is not None
                and np.isfinite(row[column])
            }
            for each in chosen
        ]

    def _alignment(self, chosen: Sequence[Selected]) -> list[dict[int, float]]:
        guided = [each for each in chosen if not _is_baseline(each)]
        whole = len(guided) < len(chosen)
        if whole and any(row["role"] == Role.control for each in guided for row in each.hosts):
            raise UserError(
                "the alignment of a control is measured in training, that of a baseline after it, "
                "on other examples: the two do not compare"
            )
        found = []
        for each in chosen:
            if _is_baseline(each):
                hosts = guided[0].hosts if guided else each.hosts
                found.append(self._similarities.of_baseline(each, hosts))
            else:
                found.append(self._similarities.of(each, whole=whole))
        return found


def _is_baseline(selected: Selected) -> bool:
    return any(row["role"] == Role.baseline for row in selected.rows.values())


def _expected(entry: Any, evidence: _Evidence) -> Row:
    rule = rules.read_rule(entry)
    chosen = [_selected(term, evidence) for term in rule.terms]
    metric = evidence.metric(rule.metric, chosen)
    check_guides(metric, [*zip(rule.terms, chosen, strict=True)])
    if consistency_metric.is_consistency(metric):
        measured = evidence.consistency(rule.left, chosen[0], metric)
        if measured.value is None:
            return {"metric": metric, "problem": f"{rule.left} has no {metric}"}
        return _judged(rule, metric, measured)
    values = evidence.values(metric, chosen)
    seeds = distinct(chosen, set.intersection(*map(set, values)))
    if not seeds:
        return {"metric": metric, "problem": _missing(rule, metric, values)}
    measured = _measured(rule, [np.array([each[seed] for seed in seeds]) for each in values])
    if measured.value is None:
        return {"metric": metric, "n": len(seeds), "problem": "the denominator is 0"}
    return _judged(rule, metric, measured)


def _judged(rule: Rule, metric: str, measured: _Measured) -> Row:
    assert measured.value is not None
    return measured.columns | {
        "metric": metric,
        "holds": rule.holds(measured.value),
        "established": rule.established(measured.low, measured.high),
    }


def _published(entry: Any, evidence: _Evidence) -> Row:
    number = rules.read_published(entry)
    chosen = select(number.of, evidence.rows)
    if chosen is None:
        return {"metric": number.metric}
    metric = evidence.metric(number.metric, [chosen])
    check_guides(metric, [(number.of, chosen)])
    if consistency_metric.is_consistency(metric):
        return {"metric": metric} | evidence.consistency(number.of, chosen, metric).columns
    (values,) = evidence.values(metric, [chosen])
    seeds = distinct([chosen], values)
    return {"metric": metric} | _mean(np.array([values[seed] for seed in seeds], float)).columns


def _selected(term: Term, evidence: _Evidence) -> Selected:
    chosen = select(term, evidence.rows)
    if chosen is None:
        raise nothing(term, evidence.rows)
    return chosen


def _measured(rule: Rule, values: Sequence[Values]) -> _Measured:
    """The quantity that a rule bounds, from the values (n,) of its terms, paired by seed."""
    if rule.operator is None:
        return _mean(values[0])
    first, second = values
    if rule.operator == "-":
        difference = statistics.paired_difference(first, second)
        return _Measured(difference.mean, difference.low, difference.high, len(first))
    denominator = float(second.mean())
    value = float(first.mean()) / denominator if denominator else None
    ratio = statistics.ratio_of_means(first, second)
    return _Measured(value, ratio.low, ratio.high, len(first))


def _mean(values: Values) -> _Measured:
    found = statistics.paired_difference(values, np.zeros_like(values))
    return _Measured(found.mean, found.low, found.high, found.n)


def _missing(rule: Rule, metric: str, values: Sequence[Mapping[int, float]]) -> str:
    empty = [str(term) for term, each in zip(rule.terms, values, strict=True) if not each]
    if not empty:
        return "no seed at which both sides have a value"
    return f"no finished replicate with a value of {metric}: {', '.join(empty)}"


def _described(entry: Any) -> Row:
    """The columns that describe an entry, as far as it can be read."""
    given = entry if isinstance(entry, Mapping) else {"rule": entry}
    try:
        number: Published | None = rules.read_published(entry) if "of" in given else None
    except UserError:
        number = None
    text = {key: given.get(key) for key in ("claim", "metric", "source")}
    return {
        "rule": " ".join(str(given.get("rule", given.get("of"))).split()),
        **{key: value if isinstance(value, str) else None for key, value in text.items()},
        "published": None if number is None else number.value,
        "published_spread": None if number is None else number.spread,
    }

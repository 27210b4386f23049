"""Failed seeds as outcomes: differences in the worst case, success rates, and bimodal arms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis import statistics
from analysis.cells import Cell, Metric
from analysis.statistics import PairedDifference, Values

#: A seed succeeds above this part of the way from chance to the guide.
SUCCESS = 0.1
#: From so many seeds on, Student's interval covers nearly as stated where an arm is bimodal.
ENOUGH_SEEDS = 12

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The two arms of a cell on one metric, failed seeds among them; seeds not yet run are not.

    `baselines` and `guided` are the ids of all planned replicates, paired by position.
    """

    metric: Metric
    baselines: tuple[str, ...]
    guided: tuple[str, ...]

    @classmethod
    def of(cls, cell: Cell, metric: Metric) -> Arms:
        """The arms of a guided or control cell."""
        members = cell.members.values()
        return cls(
            metric=metric,
            baselines=tuple(member.baseline_id for member in members),
            guided=tuple(member.replicate_id for member in members),
        )

    @property
    def num_failed_baseline(self) -> int:
        """Planned seeds at which the baseline failed."""
        return self._num_failed(self.baselines)

    @property
    def num_failed_guided(self) -> int:
        """Planned seeds at which the guided replicate failed, or was blocked by a failed guide."""
        return self._num_failed(self.guided)

    def worst(self) -> PairedDifference:
        """Guided minus baseline, positive is better, as if failed seeds spoke against guidance.

        Failed guided seeds are at chance, failed baselines at the best baseline of the row. Without
        failures it is the difference itself; n = 0 where a value that it needs is not known.
        """
        return self._with_failed(guided=self.metric.chance, baseline=self._best(self.baselines))

    def best(self) -> PairedDifference:
        """The same as if failed seeds spoke for guidance.

        Failed guided seeds are at the best guided one of the row, failed baselines at chance.
        """
        return self._with_failed(guided=self._best(self.guided), baseline=self.metric.chance)

    def _with_failed(self, *, guided: float | None, baseline: float | None) -> PairedDifference:
        """Guided minus baseline with these values of failed replicates; n = 0 if one is missing."""
        pairs = [
            (self._value(second, guided), self._value(first, baseline))
            for first, second in self._ended()
        ]
        if any(value is None for pair in pairs for value in pair):
            return PairedDifference(n=0)
        arms = np.array(pairs, dtype=float).reshape(-1, 2).T
        return self.metric.better(*arms)

    def successes(self, threshold: float) -> tuple[list[bool], list[bool]]:
        """Whether baseline and guided are better than `threshold`, at each seed that has ended.

        A failed replicate is no success.
        """
        pairs = self._ended()
        return (
            [self._succeeds(baseline, threshold) for baseline, _ in pairs],
            [self._succeeds(guided, threshold) for _, guided in pairs],
        )

    def _ended(self) -> list[tuple[str, str]]:
        pairs = zip(self.baselines, self.guided, strict=True)
        return [pair for pair in pairs if all(map(self._has_ended, pair))]

    def _has_ended(self, name: str) -> bool:
        return name in self.metric.values or name in self.metric.failed

    def _num_failed(self, replicates: Iterable[str]) -> int:
        return sum(name in self.metric.failed for name in replicates)

    def _best(self, replicates: Iterable[str]) -> float | None:
        found = [self.metric.values[name] for name in replicates if name in self.metric.values]
        best = max if self.metric.higher_is_better else min
        return best(found, default=None)

    def _value(self, name: str, otherwise: float | None) -> float | None:
        return self.metric.values.get(name, otherwise)

    def _succeeds(self, name: str, threshold: float) -> bool:
        value = self.metric.values.get(name)
        return value is not None and _better(self.metric, value, threshold)


def columns(cell: Cell, metric: Metric, n: int, guides: Iterable[str] = ()) -> Row:
    """The columns of `transfer` about the successes and failures of a cell with n paired seeds.

    They are null where chance or the guide is not known, or the guide is no better than chance.
    `guides` stand for the guide of a cell that has none, which is a rival's.
    """
    threshold = success_threshold(cell, metric, guides)
    row: Row = {"chance": metric.chance, "success_threshold": threshold}
    if threshold is None:
        return row
    baseline, guided = Arms.of(cell, metric).successes(threshold)
    if not baseline:
        return row
    return row | {
        "baseline_success": float(np.mean(baseline)),
        "guided_success": float(np.mean(guided)),
        "seeds_disagree": n < ENOUGH_SEEDS and any(len(set(arm)) > 1 for arm in (baseline, guided)),
        "mcnemar_p": mcnemar(baseline, guided),
    }


def success_threshold(cell: Cell, metric: Metric, guides: Iterable[str] = ()) -> float | None:
    """Value from which on a seed succeeds: chance, and `SUCCESS` of the way to the guide alone.

    The guide is the mean over the planned seeds at which it finished; `guides` as in `columns`.
    """
    chance = metric.chance
    own = dict.fromkeys(member.guide_id for member in cell.members.values() if member.guide_id)
    guides = own or dict.fromkeys(guides)
    guide = statistics.mean(metric.at(name for name in guides if name in metric.values))
    if chance is None or guide is None or not _better(metric, guide, chance):
        return None
    return chance + SUCCESS * (guide - chance)


def mcnemar(first: list[bool], second: list[bool]) -> float:
    """Exact two-sided p of McNemar's test (1947, Psychometrika 12) of paired successes, n >= 1.

    It is the binomial test of the pairs that differ; 1 where none does.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    num_discordant = only_first + only_second
    if not num_discordant:
        return 1.0
    # As in `statistics.adjust`: the command line imports this module.
    from scipy import stats

    return float(stats.binomtest(only_first, num_discordant, 0.5).pvalue)


def spread(values: Values) -> float | None:
    """Standard deviation of values (n,), with n - 1 in the denominator; None for n < 2."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def median(values: Values) -> float | None:
    """Median; None if empty."""
    return float(np.median(values)) if len(values) else None


def _better(metric: Metric, value: float, than: float) -> bool:
    return value > than if metric.higher_is_better else value < than

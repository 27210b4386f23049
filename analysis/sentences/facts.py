"""A row of the `transfer` table as a sentence needs it: words, and numbers with their unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from analysis.contract import arm_of, is_rival
from analysis.quantities import Unit, unit_of, with_interval
from analysis.transfer import LEVELS
from analysis.verdict_words import Kind, kind

#: Control's label to the column of its level.
_COLUMNS = {label: column for column, label in LEVELS.items()}
#: Differences of two differences that are smaller are rounding.
_ROUNDING = 1e-12


class ControlPhrase(NamedTuple):
    """A control in words, as the subject of a sentence."""

    text: str
    plural: bool = False

    def verb(self, verb: str) -> str:
        """A regular verb in its number."""
        return verb if self.plural else f"{verb}s"


_PHRASES = {
    "shuffled": ControlPhrase("the shuffled guide"),
    "input": ControlPhrase("the input alone"),
    "labels": ControlPhrase("labels alone", plural=True),
    "labels(at=all)": ControlPhrase("labels at all pairs", plural=True),
    "class_shuffled": ControlPhrase("the guide shuffled within classes"),
    "reversed": ControlPhrase("the guide with its layers in reverse"),
    "noise": ControlPhrase("the guide on noise"),
    "self": ControlPhrase("the target's own architecture as guide"),
    "uniform": ControlPhrase("label smoothing"),
    "permuted": ControlPhrase("the prior with its weights permuted"),
}


def control_phrase(label: str) -> ControlPhrase:
    """A control in words; one that has none is called by its label."""
    return _PHRASES.get(label, ControlPhrase(f"the control {label}"))


class RowFacts:
    """Columns of a row, and words for it. Columns that are null, NaN or absent are None."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row
        self.verdict: str = self.text("verdict")
        self.kind: Kind = kind(self.verdict)
        self.metric: str = self.text("metric")
        self.higher_is_better = bool(self["higher_is_better"])
        self.unit: Unit = unit_of(self.metric)
        self.n: int = int(self["n"] or 0)

    def __getitem__(self, column: str) -> Any:
        import pandas as pd

        value = self._row.get(column)
        return None if value is None or pd.isna(value) else value

    def text(self, column: str) -> str:
        """A column as text; empty where it is None."""
        value = self[column]
        return "" if value is None else str(value)

    @property
    def who(self) -> str:
        """The guide with its state, or the rival; the control in the row of one."""
        if self.is_rival:
            return f"the rival {self.text('treatment')}"
        return " ".join(word for word in ("the", self.text("state"), self.text("guide")) if word)

    @property
    def is_rival(self) -> bool:
        """Whether a rival treats the target."""
        return is_rival(self._row)

    @property
    def arm(self) -> str:
        """The word for seeds that are not the baseline's."""
        return arm_of(self._row)

    @property
    def owner(self) -> str:
        """The owner of an effect that no control has: the guide, or a rival's prior."""
        return "the prior's" if self.is_rival and self["num_pairs"] is None else "the guide's"

    @property
    def whom(self) -> str:
        """The target; of a metric other than accuracy, that metric of it."""
        target = f"the {self.text('target')}"
        return target if self.metric == "accuracy" else f"the {self.metric} of {target}"

    def change(self, *, better: bool) -> str:
        """A difference whose sign is known, in the metric's own direction: "lifts the fcn by"."""
        sized = self.amount("difference", flipped=not better)
        if self.metric == "accuracy" and not better:
            return f"costs {self.whom} {sized}"
        up = "lifts" if better else "raises"
        return f"{up if better == self.higher_is_better else 'lowers'} {self.whom} by {sized}"

    def amount(self, column: str, *, flipped: bool = False) -> str:
        """A difference and its interval, without a plus; with the other sign if `flipped`."""
        mean, low, high = self._interval(column)
        if flipped:
            mean = -mean
            low, high = (None, None) if low is None else (-high, -low)
        return with_interval(mean, low, high, unit=self.unit)

    def signed(self, column: str) -> str:
        """A difference and its interval with its sign, and which sign is good where it may mislead.

        Differences are signed so that positive is better, of a loss too.
        """
        text = with_interval(*self._interval(column), unit=self.unit, signed=True)
        return text if self.higher_is_better else f"{text} (positive is better)"

    def _interval(self, column: str) -> tuple[Any, Any, Any]:
        return self[column], self[f"{column}_low"], self[f"{column}_high"]

    def above_zero(self, column: str) -> bool:
        """Whether a difference has an interval, and that is above zero."""
        low = self[f"{column}_low"]
        return low is not None and bool(low > 0)

    def below_zero(self, column: str) -> bool:
        """Whether a difference has an interval, and that is below zero."""
        high = self[f"{column}_high"]
        return high is not None and bool(high < 0)

    @property
    def specific_control(self) -> str | None:
        """The control with the lowest lower limit; None without one."""
        control: str | None = self["specific_control"]
        return control

    def control_gain(self, control: str, *, at_all_seeds: bool = False) -> str:
        """A control with what it does to the target in place of the guide: "labels alone by 5.4".

        Without a number where the row does not hold it for its own seeds: that of other seeds would
        not compare. `at_all_seeds` says that the control has finished at each of them.
        """
        phrase = control_phrase(control)
        gain = self._control_difference(control, at_all_seeds=at_all_seeds)
        if gain is None:
            return phrase.text
        if gain >= 0:
            return f"{phrase.text} by {with_interval(gain, unit=self.unit, worded=False)}"
        verb = "cost" if self.higher_is_better else "add"
        sized = with_interval(-gain, unit=self.unit, worded=False)
        return f"{phrase.text} {phrase.verb(verb)} {sized}"

    def _control_difference(self, control: str, *, at_all_seeds: bool) -> float | None:
        """Control minus baseline over the seeds of the row, positive is better; None if unknown."""
        known = control == self.specific_control and self["specific_n"] == self.n
        if known and self["specific"] is not None:
            found = self["difference"] - self["specific"]
        else:
            level, baseline = self[_COLUMNS.get(control, "")], self["baseline"]
            if not at_all_seeds or level is None or baseline is None:
                return None
            found = (level - baseline) * (1 if self.higher_is_better else -1)
        return 0.0 if abs(found) < _ROUNDING else float(found)


def num_seeds(n: int) -> str:
    """Number of seeds, in words."""
    return f"{n} seed" if n == 1 else f"{n} seeds"

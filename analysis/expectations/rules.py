"""Rules and published numbers of a spec, as text and as data.

    rule  = side (">=" | "<=") number ["points"]
    side  = term | term "-" term | term "/" term
    term  = name [filter]

A name stands for a group of replicates (`TERMS`); a filter is a YAML flow mapping of columns that
describe conditions to their labels in the tables. A point is 1/100: rates are fractions of 1.
Needs neither NumPy nor pandas, so that a spec is read without them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import yaml

from analysis.errors import UserError, unknown
from analysis.expectations import consistency_metric

#: Names of terms, and the state and the control of the conditions that they stand for.
GUIDED: Mapping[str, tuple[str | None, str]] = {
    "trained": ("trained", "none"),
    "untrained": ("untrained", "none"),
    **{
        f"{state}.{control}": (state, control)
        for state in ("trained", "untrained")
        for control in ("shuffled", "noise", "self", "reversed")
    },
    "trained.class_shuffled": ("trained", "class_shuffled"),
    "input": (None, "input"),
    "labels": (None, "labels"),
    "labels_all": (None, "labels(at=all)"),
    "uniform": (None, "uniform"),
}
#: Terms beside guided conditions, found by the conditions whose baseline or guide they are.
UNGUIDED = ("baseline", "guide")
#: Names of terms of rivals, and the control in the place of their prior or guide.
RIVALS: Mapping[str, str] = {
    "rival": "none",
    **{
        f"rival.{control}": control
        for control in ("permuted", "shuffled", "input", "labels", "noise", "self")
    },
}
#: Term of the control that its filter names, such as one of a user.
CONTROL = "control"
TERMS = (*UNGUIDED, *GUIDED, *RIVALS, CONTROL)
#: Terms whose rows have a verdict, that of their difference to the baseline.
CONFIRMABLE = ("trained", "untrained", "rival")

#: A metric that is no test metric: final similarity, averaged over the mapped pairs.
ALIGNMENT = "alignment"

LABELS = ("task", "target", "guide", "distance", "mapping", "schedule", "treatment")
COLUMNS = (*LABELS, "alpha", "stop_step")
#: Further columns of filters of baselines and guides, whose guided conditions have them, and of
#: `CONTROL`.
_WHOSE = ("state", "control")

_BRACES = r"""\{(?:[^{}"']|"[^"]*"|'[^']*')*\}"""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SIDE = rf"(?P<%s>[A-Za-z_.]+)\s*(?P<%s_filter>{_BRACES})?"
_TERM = re.compile(rf"\s*{_SIDE % ('name', 'name')}\s*")
_RULE = re.compile(
    rf"\s*{_SIDE % ('left', 'left')}\s*"
    rf"(?:(?P<operator>[-/])\s*{_SIDE % ('right', 'right')}\s*)?"
    rf"(?P<relation>>=|<=)\s*(?P<number>{_NUMBER})(?:\s*(?P<points>points?))?\s*"
)
_FORMS = (
    "TERM >= NUMBER, TERM - TERM >= NUMBER or TERM / TERM >= NUMBER, with >= or <=, and 'points' "
    "after the number for hundredths"
)


class Filter(NamedTuple):
    """A column and the value that it must have."""

    column: str
    value: str | float | None

    def admits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the value."""
        found = row.get(self.column)
        if self.value is None or found is None:
            return found is self.value
        if self.column in LABELS:
            return str(found) == str(self.value)
        return bool(found == self.value)

    def __str__(self) -> str:
        value = "null" if self.value is None else str(self.value)
        return f'{self.column}: "{value}"' if "," in value else f"{self.column}: {value}"


@dataclass(frozen=True, kw_only=True)
class Term:
    """A group of replicates: its name, and filters where the name stands for several."""

    name: str
    filters: tuple[Filter, ...] = ()

    @property
    def unguided(self) -> bool:
        """Whether it is found by the conditions that it is baseline or guide of."""
        return self.name in UNGUIDED

    def __str__(self) -> str:
        if not self.filters:
            return self.name
        return f"{self.name} {{{', '.join(map(str, self.filters))}}}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A statement on the mean of a term, of a difference or of a ratio of two.

    `bound` is in the metric's own unit, whether `points` were given or not; `metric` None is the
    task's primary metric.
    """

    text: str
    left: Term
    operator: Literal["-", "/"] | None
    right: Term | None
    at_least: bool
    bound: float
    claim: str | None = None
    metric: str | None = None
    points: bool = False

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its terms, one or two."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def holds(self, value: float) -> bool:
        """Whether a value satisfies it; one that equals the bound up to rounding does."""
        close = math.isclose(value, self.bound, rel_tol=1e-9, abs_tol=1e-12)
        return close or (value > self.bound if self.at_least else value < self.bound)

    def established(self, low: float | None, high: float | None) -> bool:
        """Whether an interval satisfies it as a whole."""
        end = low if self.at_least else high
        return end is not None and self.holds(end)


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """A guided row that was named before the study ran, and the claim that it is to confirm."""

    row: Term
    claim: str | None = None

    def content(self) -> dict[str, Any]:
        """The row as data that `read_confirm` reads, whatever characters its labels have."""
        where = {each.column: each.value for each in self.row.filters}
        return {"row": self.row.name, "where": where, "claim": self.claim}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number that others published, and the term that stands for it here."""

    of: Term
    value: float
    source: str
    metric: str | None = None
    spread: float | None = None


def read_rule(content: Any) -> Rule:
    """A rule from what a spec holds: text, or a mapping with `rule`; raises ValueError."""
    if isinstance(content, Rule):
        return content
    given = _keys({"rule": content} if isinstance(content, str) else content, "rule")
    text = _text(given, "rule")
    assert text is not None
    where = _filters(given.get("where", {}), (*COLUMNS, *_WHOSE))
    part = _parts(text)
    if part["points"] and part["operator"] == "/":
        raise UserError("a ratio has no points; give a plain number")
    right = part["right"]
    rule = Rule(
        text=" ".join(text.split()),
        left=_term(part["left"], part["left_filter"], where),
        operator=part["operator"],
        right=None if right is None else _term(right, part["right_filter"], where),
        at_least=part["relation"] == ">=",
        bound=float(part["number"]) / (100 if part["points"] else 1),
        claim=_text(given, "claim"),
        metric=_text(given, "metric"),
        points=part["points"] is not None,
    )
    _check_metric(rule.terms, rule.metric)
    return rule


def read_published(content: Any) -> Published:
    """A published number from what a spec holds; raises ValueError."""
    if isinstance(content, Published):
        return content
    given = _keys(content, "of", "value", "source")
    found = _TERM.fullmatch(_text(given, "of") or "")
    if found is None:
        raise UserError(f"of: {given['of']!r} is not a term: NAME or NAME {{column: label}}")
    of, metric = _term(found["name"], found["name_filter"], ()), _text(given, "metric")
    _check_metric((of,), metric)
    source = _text(given, "source")
    assert source is not None
    value, spread = _number(given, "value"), _number(given, "spread")
    assert value is not None
    if spread is not None and spread < 0:
        raise UserError(f"spread is {spread:g}; allowed: 0 or more")
    return Published(of=of, value=value, source=source, metric=metric, spread=spread)


def read_confirm(content: Any) -> Confirm:
    """A row to confirm from what a spec holds: a term, or a mapping with `row`; raises UserError.

    Only terms of guided conditions are rows with a verdict.
    """
    if isinstance(content, Confirm):
        return content
    given = _keys({"row": content} if isinstance(content, str) else content, "row")
    where = _filters(given.get("where", {}), COLUMNS)
    text = _text(given, "row") or ""
    found = _TERM.fullmatch(text)
    if found is None:
        raise UserError(f"row: {text!r} is not a term: NAME or NAME {{column: label}}")
    row = _term(found["name"], found["name_filter"], where)
    if row.name not in CONFIRMABLE:
        raise UserError(f"row: {row.name!r} has no verdict; allowed: {', '.join(CONFIRMABLE)}")
    return Confirm(row=row, claim=_text(given, "claim"))


_KEYS = {
    "row": ("row", "claim", "where"),
    "rule": ("rule", "claim", "metric", "where"),
    "of": ("of", "metric", "value", "spread", "source"),
}


def _keys(content: Any, *needed: str) -> Mapping[str, Any]:
    allowed = _KEYS[needed[0]]
    if not isinstance(content, Mapping):
        text = "text, or " if len(needed) == 1 else ""
        raise UserError(f"give {text}a mapping with {', '.join(needed)}")
    for key in content:
        if key not in allowed:
            raise unknown("key", str(key), allowed)
    for key in needed:
        if content.get(key) is None:
            raise UserError(f"{key} is needed")
    return content


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key}: give text, not {value!r}")
    return value


def _number(given: Mapping[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{key}: give a finite number, not {value!r}")
    return float(value)


def _parts(text: str) -> dict[str, Any]:
    found = _RULE.fullmatch(text)
    if found is None:
        raise UserError(f"{_mistake(text)}; a rule is {_FORMS}")
    return found.groupdict()


def _mistake(text: str) -> str:
    """The likely mistake in a rule of the wrong form."""
    bare = re.sub(r"\{.*?\}", "", text)
    if not re.search(r"[<>]=", bare):
        return "neither >= nor <=" if not re.search(r"[<>=]", bare) else "use >= or <="
    if len(re.findall(r"[<>]=", bare)) > 1:
        return "more than one >= or <="
    number = re.split(r"[<>]=", bare)[1].strip()
    if not re.fullmatch(rf"{_NUMBER}(\s*points?)?", number):
        return f"{number!r} is not a number, or a number of points"
    if text.count("{") != text.count("}"):
        return "a brace is not closed"
    return f"{re.split(r'[<>]=', bare)[0].strip()!r} is not one term or two"


def _term(name: str, braces: str | None, where: tuple[Filter, ...]) -> Term:
    if name not in TERMS:
        state, _, control = name.partition(".")
        if state in ("trained", "untrained") and GUIDED.get(control, ("",))[0] is None:
            raise UserError(f"{name!r}: the control {control} has no state; write {control}")
        raise unknown("term", name, TERMS, more="docs/writing-a-study.md lists them")
    allowed = (*COLUMNS, *_WHOSE) if name in (*UNGUIDED, CONTROL) else COLUMNS
    in_braces = _filters({} if braces is None else _flow_mapping(braces), allowed)
    given = {each.column for each in in_braces}
    # A term that has its state by its name takes no filter on the state from the rule.
    shared = [each for each in where if each.column in allowed and each.column not in given]
    term = Term(name=name, filters=(*in_braces, *shared))
    if name == CONTROL and not any(each.column == "control" for each in term.filters):
        raise UserError(f"{term}: say which control in braces, as in control {{control: LABEL}}")
    return term


def _flow_mapping(text: str) -> dict[Hashable, Any]:
    try:
        content = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{text}: not a YAML mapping ({' '.join(str(error).split())})") from error
    assert isinstance(content, dict)
    assert isinstance(node, yaml.MappingNode)
    if len(node.value) > len(content):
        raise UserError(f"{text}: a column stands twice")
    return content


def _filters(content: Any, allowed: tuple[str, ...]) -> tuple[Filter, ...]:
    if not isinstance(content, Mapping):
        raise UserError(f"where: give a mapping of columns to labels, not {content!r}")
    return tuple(_filter(column, value, allowed) for column, value in content.items())


def _filter(column: Any, value: Any, allowed: tuple[str, ...]) -> Filter:
    if column not in allowed:
        if value is None and not re.fullmatch(r"\w+", str(column)):
            raise UserError(f"put quotes round labels that hold a comma: ...{column!r}")
        if column in _WHOSE:
            raise UserError(f"a term has its {column} by its name (terms: {', '.join(TERMS)})")
        raise unknown("column", str(column), allowed)
    if isinstance(value, bool) or not (value is None or isinstance(value, str | int | float)):
        raise UserError(f"{column}: give a label or a number, not {value!r}")
    if column in ("alpha", "stop_step") and isinstance(value, str):
        raise UserError(f"{column}: give a number, not {value!r}")
    return Filter(str(column), value)


def _check_metric(terms: tuple[Term, ...], metric: str | None) -> None:
    if metric == ALIGNMENT and any(term.name == "guide" for term in terms):
        raise UserError("alignment is that of a target with its guide; a guide alone has none")
    if metric is not None and consistency_metric.is_consistency(metric):
        for term in terms:
            consistency_metric.read(metric, term.name)
        if len(terms) > 1:
            raise UserError(
                f"{metric}: a rule on consistency has one term, because intervals are those of its "
                "rows; excess and own are differences"
            )


def entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Rules and published numbers as a spec holds them, each with its place: `expect[2]`."""
    for key in ("expect", "published"):
        entries = content.get(key) or []
        if not isinstance(entries, list | tuple):
            raise UserError(f"{key}: give a list (got {entries!r:.80})")
        yield from ((f"{key}[{index}]", entry) for index, entry in enumerate(entries))

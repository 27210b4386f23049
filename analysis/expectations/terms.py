"""Selects the replicates that a term of a rule stands for: those of one condition, by seed.

Rows are dictionaries with the columns of `replicates`, of a table or of a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from analysis.contract import is_rival
from analysis.errors import UserError, unknown
from analysis.expectations import consistency_metric
from analysis.expectations.consistency_metric import is_consistency
from analysis.expectations.rules import (
    ALIGNMENT,
    COLUMNS,
    CONTROL,
    GUIDED,
    LABELS,
    RIVALS,
    UNGUIDED,
    Filter,
    Term,
)
from analysis.mixture_labels import is_mixture, states_of

Row = Mapping[str, Any]

#: Columns that tell conditions apart.
DESCRIBED = ("task", "target", "guide", "state", "control", *COLUMNS[3:])
_POINTERS = {"baseline": "baseline_id", "guide": "guide_id"}


class Selected(NamedTuple):
    """The replicates of a term: their task, their rows by seed, and their hosts.

    A guide that was not trained for each seed, such as a pretrained one, stands at each seed of
    those that it guides. `hosts` are the guided rows and controls that a baseline or guide belongs
    to; of other terms they are its own rows.
    """

    task: str
    rows: Mapping[int, Row]
    hosts: Sequence[Row]


def select(term: Term, rows: Sequence[Row]) -> Selected | None:
    """The replicates that a term stands for; None where no condition matches.

    Raises UserError for labels that no condition has, and where several conditions match.
    """
    treated = [row for row in rows if row["role"] in ("guided", "control", "rival")]
    treatments = [each.value for each in term.filters if each.column == "treatment"]
    rivals = term.name in RIVALS or is_rival({"treatment": next(iter(treatments), None)})
    treated = [row for row in treated if is_rival(row) == rivals]
    _check_labels(term, treated)
    hosts = [row for row in treated if all(each.admits(row) for each in term.filters)]
    if term.name in UNGUIDED:
        wanted = {row[_POINTERS[term.name]] for row in hosts}
        found = [row for row in rows if row["replicate_id"] in wanted]
    else:
        found = hosts = [row for row in hosts if _is_named(row, term.name)]
    if not found:
        return None
    _check_one(term, found)
    by_seed = {row["seed"]: row for row in found}
    if term.name == "guide":
        by_id = {row["replicate_id"]: row for row in found}
        by_seed |= {
            row["seed"]: by_id[row["guide_id"]] for row in hosts if row["guide_id"] in by_id
        }
    return Selected(found[0]["task"], by_seed, hosts)


def distinct(chosen: Sequence[Selected], seeds: Iterable[int]) -> list[int]:
    """Those of the seeds, in order, at which the terms' replicates are not all those of another."""
    first: dict[tuple[Any, ...], int] = {}
    for seed in sorted(seeds):
        first.setdefault(tuple(each.rows[seed]["replicate_id"] for each in chosen), seed)
    return list(first.values())


def check_guides(metric: str | None, chosen: Sequence[tuple[Term, Selected]]) -> None:
    """Raise UserError where a rule asks how alike a mixture and its guide are.

    A mixture is more or less alike to each of its guides, and there is no measure of it to all.
    """
    if metric != ALIGNMENT and not is_consistency(metric):
        return
    # A baseline is compared with the guide of the guided term that stands beside it.
    guided: list[tuple[Term, Iterable[Row]]] = [
        (term, each.rows.values()) for term, each in chosen if not term.unguided
    ]
    for term, rows in guided or [(term, each.hosts) for term, each in chosen]:
        mixed = next((row["guide"] for row in rows if is_mixture(row["guide"])), None)
        if mixed is not None and _of_guide(metric, term):
            raise UserError(
                f"{term}: {metric} is of one guide, and the mixture {mixed} has several; give a "
                "term with one guide"
            )


def _of_guide(metric: str | None, term: Term) -> bool:
    """Whether alignment or consistency is that with a guide, not with other networks."""
    if metric is None or not is_consistency(metric):
        return True
    return consistency_metric.read(metric, term.name).other in ("guide", "other_guide")


def nothing(term: Term, rows: Iterable[Row]) -> UserError:
    """An error: no condition matches a term; it lists its labels, or the terms of the study."""
    rows = list(rows)
    named = [row for row in rows if _name(row) == term.name]
    if named and term.filters:
        columns = [each.column for each in term.filters]
        places = dict.fromkeys(
            ", ".join(str(Filter(column, row.get(column))) for column in columns) for row in named
        )
        return UserError(
            f"{term}: no condition of the study; {term.name} stands at {' | '.join(places)} (a "
            "control that several conditions share at the first)"
        )
    there = {_name(row) for row in rows}
    known = [name for name in (*GUIDED, *RIVALS, CONTROL) if name in there]
    return UserError(f"{term}: no condition of the study (it has {', '.join(known) or 'none'})")


def _is_named(row: Row, name: str) -> bool:
    if name == CONTROL:
        return bool(row["control"] != "none")
    return _name(row) == name


def _name(row: Row) -> str | None:
    """The name of the terms that a guided condition, rival or control is of; None for others."""
    if is_rival(row):
        return next((name for name, control in RIVALS.items() if control == row["control"]), None)
    # Guides of a mixture may have several states.
    state = "trained" if "trained" in states_of(row["state"]) else row["state"]
    kind = (state, row["control"])
    by_name = (name for name, meant in GUIDED.items() if meant == kind)
    return next(by_name, None if row["control"] in (None, "none") else CONTROL)


def _check_labels(term: Term, treated: Sequence[Row]) -> None:
    for each in term.filters:
        known = dict.fromkeys(row.get(each.column) for row in treated)
        if any(each.admits({each.column: value}) for value in known):
            continue
        if each.column in LABELS and each.value is not None:
            labels = [str(value) for value in known if value is not None]
            raise unknown(each.column, str(each.value), labels)
        shown = ", ".join("null" if value is None else str(value) for value in known)
        raise UserError(f"{term}: no condition has {each} (known: {shown or 'none'})")


def _check_one(term: Term, found: Sequence[Row]) -> None:
    """Raise ValueError where the rows are not those of one condition, each at a seed of its own."""
    conditions = dict.fromkeys(tuple(map(row.get, DESCRIBED)) for row in found)
    if len(conditions) > 1:
        values = [list(dict.fromkeys(column)) for column in zip(*conditions, strict=True)]
        varying = {c: v for c, v in zip(DESCRIBED, values, strict=True) if len(v) > 1}
        shown = "; ".join(f"{c}: {' | '.join(map(str, v))}" for c, v in varying.items())
        # A guide's own label stands among the targets: it learned.
        column = "guide" if term.name == "guide" else next(iter(varying))
        raise UserError(
            f"{term}: {len(conditions)} conditions, which differ in {shown}; say which one in "
            f"braces, as in {term.name} {{{column}: LABEL}}"
        )
    if len({row["seed"] for row in found}) < len(found):
        raise UserError(f"{term}: a seed stands twice, and no column tells the two apart")

"""A study's description in Markdown: its question, matrix and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis import markdown
from analysis.cells import records
from analysis.contract import arm_of, is_rival
from analysis.markdown import escape
from analysis.quantities import fixed
from analysis.short_labels import short_labels

if TYPE_CHECKING:
    import pandas as pd

#: Longest description in characters: every version and database of MLflow takes it.
LONGEST = 5000
#: Most columns of a matrix.
_MOST_TARGETS = 8
#: Columns that stand in the name of a cell only where they differ within the study.
_NAMED_IF_VARYING = ("distance", "mapping", "schedule")

Row = Mapping[str, Any]


def guided_rows(transfer: pd.DataFrame) -> list[dict[str, Any]]:
    """Guided conditions, then rivals, on the primary metric of their task, in the table's order."""
    chosen = transfer[transfer["primary"].astype(bool) & (transfer["control"] == "none")]
    return sorted(records(chosen), key=is_rival)


def cell_names(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Row and column of each condition in the matrix: how it is guided, and its target.

    Labels that are the same in all rows are left out, but guide, state and target; these are short.
    """
    guided = [row for row in rows if not is_rival(row)]
    differing = [c for c in _NAMED_IF_VARYING if len({row[c] for row in guided}) > 1]
    guides = short_labels(str(row["guide"]) for row in guided)
    targets = short_labels(str(row["target"]) for row in rows)
    names = []
    for row in rows:
        if is_rival(row):
            names.append((str(row["treatment"]), targets[str(row["target"])]))
            continue
        guide = f"{guides[str(row['guide'])]} {row['state']}"
        parts = [guide, *(str(row[c]) for c in differing)]
        names.append((", ".join(parts), targets[str(row["target"])]))
    return names


def note(question: str, transfer: pd.DataFrame) -> str:
    """The description of a study, at most 5,000 characters; what is cut off is counted."""
    rows = guided_rows(transfer)
    lines = [f"**{escape(question)}**"]
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += _of_task(task, [row for row in rows if row["task"] == task])
    lines += ["", "Tables are under `tables/`, figures under `figures/`."]
    return _cut(lines)


def asked(rows: Sequence[Row]) -> str:
    """The question of a study whose spec says none."""
    rows = [row for row in rows if not is_rival(row)]
    if not rows:
        return "What do these networks learn of these tasks, unguided?"
    guides, tasks, targets = (
        _listed(short_labels(str(row[name]) for row in rows).values()) for name in _ASKED
    )
    bring = "brings" if len({row["guide"] for row in rows}) == 1 else "bring"
    return f"How much of what {guides} {bring} to {tasks} can {targets} take over?"


_ASKED = ("guide", "task", "target")


def _of_task(task: str, rows: Sequence[Row]) -> list[str]:
    names = cell_names(rows)
    metric = rows[0]["metric"]
    targets = list(dict.fromkeys(target for _, target in names))
    lines = ["", f"### {escape(task)}", ""]
    if len(targets) <= _MOST_TARGETS:
        cells = {name: _effect(row) for name, row in zip(names, rows, strict=True)}
        body = [
            [escape(guide), *(cells.get((guide, target), "") for target in targets)]
            for guide in dict.fromkeys(guide for guide, _ in names)
        ]
        lines += markdown.table(["", *map(escape, targets)], body)
        lines += [
            "",
            f"Gain in {escape(metric)} over the unguided target, better is positive, with "
            f"{escape(str(rows[0]['interval']))}; bold where the interval leaves out 0.",
            "",
        ]
    for (guide, target), row in zip(names, rows, strict=True):
        lines.append(f"- {escape(f'{target} <- {guide}')}: {_verdict(row)}")
    return lines


def _effect(row: Row) -> str:
    found, low, high = (row[f"difference{part}"] for part in ("", "_low", "_high"))
    if found is None:
        return _failed(row) or "not finished"
    if low is None:
        return f"{found:+.3g} (n {row['n']})"
    text = f"{_signed(found)} [{_signed(low)}, {_signed(high)}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _signed(value: float) -> str:
    return fixed(value, 3, signed=True)


def _failed(row: Row) -> str:
    """Seeds that failed, by arm; empty where none did."""
    arms = ((arm_of(row), "n_failed_guided"), ("unguided", "n_failed_baseline"))
    return ", ".join(f"{row[column]} {arm} failed" for arm, column in arms if row[column])


def _verdict(row: Row) -> str:
    """The verdict with n, both levels, and the control that decided it."""
    facts = [f"n {row['n']}", *filter(None, [_failed(row)])]
    if row["baseline"] is not None and row["guided"] is not None:
        facts.append(f"{row['baseline']:.3f} unguided, {row['guided']:.3f} {arm_of(row)}")
    if row["specific"] is not None and row["specific_low"] is not None:
        limits = f"[{_signed(row['specific_low'])}, {_signed(row['specific_high'])}]"
        control = escape(str(row["specific_control"]))
        facts.append(f"over {control} {_signed(row['specific'])} {limits}")
    return f"{escape(str(row['verdict']))} ({'; '.join(facts)})"


def _listed(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return ", ".join(found[:6]) + more


def _cut(lines: Sequence[str]) -> str:
    """Lines up to the longest description; whole lines are left out, and counted."""
    text = "\n".join(lines)
    if len(text) <= LONGEST:
        return text
    kept: list[str] = []
    room = LONGEST - 80
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    more = len(lines) - len(kept)
    return "\n".join([*kept, "", f"... and {more} more lines: see the table `transfer`."])

"""Tables for papers: LaTeX and Markdown, with intervals beside their estimates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.contract import CONDITION_COLUMNS
from analysis.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a table that are shown after those of its condition; all columns of other tables.
SHOWN: dict[str, tuple[str, ...]] = {
    "transfer": (
        "metric", "n", "n_failed", "baseline", "guided", "difference", "specific",
        "specific_control", "verdict",
    ),
    "priors": (
        "metric", "total", "geometry", "architecture_beyond_input", "knowledge",
        "architecture_prior", "architecture_specific", "label_part", "trained_beyond_labels",
    ),
    "consistency": ("with", "n", "kappa", "kappa_matched", "excess", "own"),
    "trainability": (
        "metric", "n", "train", "test", "gap_difference", "train_difference", "success", "verdict",
    ),
    "expectations": ("rule", "claim", "metric", "value", "n", "holds", "established", "published"),
    "confirm": (
        "statement", "metric", "exploratory_value", "confirmed_value", "confirmed_n", "verdict",
    ),
}  # fmt: skip
#: Rows from which on a LaTeX table goes over several pages.
LONG = 40
#: What Markdown would take for markup. An underscore inside a word is none, nor are brackets that
#: no target of a link follows, as those of intervals.
_MARKUP = re.compile(r"[\\`*<>|~$&#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def presentable(
    frame: pd.DataFrame, table: str, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table as text for people, and what all its rows have in common.

    Estimates and limits become one column: `0.034 [0.021, 0.047]`. Missing values are `–`.

    Args:
        frame: a table of the schema.
        table: its name.
        columns: columns to show; by default the most telling ones. Columns of the condition that
            are the same in all rows are left out then, and stand in the second result.

    Raises UserError for a column that the table does not have.
    """
    common: dict[str, str] = {}
    if columns is None:
        condition = [c for c in CONDITION_COLUMNS if c in frame.columns]
        if table in SHOWN:
            condition = [c for c in condition if c not in ("alpha", "stop_step")]
            common = {
                c: _text(frame[c].iloc[0])
                for c in condition
                if len(frame) and frame[c].nunique(dropna=False) == 1
            }
            wanted = [c for c in SHOWN[table] if c in frame.columns]
            columns = [c for c in condition if c not in common] + wanted
            common = {c: value for c, value in common.items() if value != "–"}
        else:
            columns = [*frame.columns]
    for column in columns:
        if column not in frame.columns:
            raise unknown("column:", column, frame.columns)
    return _joined(frame, columns), common


def _joined(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns as text, each estimate with its interval."""
    import pandas as pd

    found: dict[str, list[str]] = {}
    limits = {low: high for low, high in map(_limits, frame.columns) if high in frame.columns}
    inside = {*limits, *limits.values()}
    for column in columns:
        low = _low(column)
        name = column.replace("_", " ")
        if low in limits:
            cells = [
                _with_interval(*values)
                for values in zip(frame[column], frame[low], frame[limits[low]], strict=True)
            ]
            found[f"{name} [95% interval]"] = cells
        elif column not in inside or _estimate(column) not in columns:
            found[name] = [_text(value) for value in frame[column]]
    return pd.DataFrame(found, dtype=object)


def _limits(column: str) -> tuple[str, str]:
    """A column, and the one that holds the upper limit where it holds the lower one."""
    stem = column.removesuffix("low")
    return (column, f"{stem}high") if column == "low" or column.endswith("_low") else (column, "")


def _low(column: str) -> str:
    """The column with the lower limit of an estimate: `value` has `low`."""
    return "low" if column == "value" else f"{column.removesuffix('_value')}_low"


def _estimate(column: str) -> str:
    """The column that a limit is of, if there is one."""
    stem = column.removesuffix("_low").removesuffix("_high")
    return {"low": "value", "high": "value"}.get(stem, stem)


def _with_interval(value: Any, low: Any, high: Any) -> str:
    if _missing(low) or _missing(high):
        return _text(value)
    return f"{_text(value)} [{_text(low)}, {_text(high)}]"


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _text(value: Any) -> str:
    """A value as a person reads it: three digits after the point, four in all of large numbers."""
    if _missing(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, float | np.floating):
        return " ".join(str(value).split())
    size = abs(float(value))
    form = ".3f" if 5e-4 <= size < 10 or size == 0 else ".3g" if size < 1 else ".4g"
    return format(float(value), form).replace("-", "−")


def latex(shown: pd.DataFrame, common: dict[str, str]) -> str:
    """A `tabular` with the rules of booktabs, all text escaped; `longtable` from 40 rows on.

    What all rows have in common stands in comments before it. Needs the packages `booktabs`, and
    `longtable` where it is long.
    """
    text: str = shown.to_latex(index=False, escape=True, longtable=len(shown) >= LONG)
    return "".join(f"% {line}\n" for line in _facts(common)) + text


def markdown(shown: pd.DataFrame, common: dict[str, str]) -> str:
    """A table in Markdown as GitHub and pandoc read it; no text in it is markup."""
    escaped = shown.map(_escaped).rename(columns=_escaped)
    text: str = escaped.to_markdown(index=False, tablefmt="github", disable_numparse=True)
    facts = "; ".join(map(_escaped, _facts(common)))
    return f"{facts}\n\n{text}\n" if facts else f"{text}\n"


def _facts(common: dict[str, str]) -> Iterator[str]:
    yield from (f"{column}: {value}" for column, value in common.items())


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: f"\\{found[0]}", text)

"""Rows of a table for one figure, and names that say what differs among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.contract import CONDITION_COLUMNS, GUIDANCE, Role
from analysis.errors import UserError, unknown
from analysis.mixture_labels import is_mixture, parts_of
from analysis.plots.style import missing

if TYPE_CHECKING:
    import pandas as pd

#: Columns that tell conditions apart in a name; the schedule's label has alpha and the stop step.
NAMING = tuple(name for name in CONDITION_COLUMNS if name not in ("alpha", "stop_step"))
#: Columns of how a guide guides, which controls and rivals may have no value of.
_OF_GUIDANCE = ("distance", "mapping", "schedule")
#: Values that go without saying in a name.
_UNSAID = (("control", "none"), ("treatment", GUIDANCE))


def need(frame: pd.DataFrame, figure: str, *columns: str) -> None:
    """Raise UserError unless the frame has the columns that a figure needs."""
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise UserError(
            f"{figure}: the table has no column {', '.join(map(repr, absent))} "
            f"(it has {', '.join(map(str, frame.columns))})"
        )


def where(frame: pd.DataFrame, **wanted: str | None) -> pd.DataFrame:
    """Rows with these values; None leaves a column as it is.

    Raises UserError, with the values there are, for a value that no row of the table has.
    """
    for column, value in wanted.items():
        if value is None or column not in frame.columns:
            continue
        known = frame[column].dropna().astype(str).unique()
        if value not in known and len(frame):
            order = _usual_first if column == "metric" else None
            raise unknown(f"{column}:", value, known, order=order)
        frame = frame[frame[column].astype("string").fillna("") == value]
    return frame


def with_guides_alone(replicates: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Rows of `chosen`, and of the guides alone that they have, in the order of `replicates`.

    Args:
        replicates: the table `replicates`.
        chosen: some of its rows that are no guides.
    """
    labels = chosen["guide"].dropna().unique()
    mixed = {part.name for label in labels if is_mixture(label) for part in parts_of(label)}
    # The replicates of a mixture have no one guide's id; it is told by architecture and task.
    of_mixtures = replicates["target"].isin(mixed) & replicates["task"].isin(chosen["task"])
    own = replicates["replicate_id"].isin(chosen["guide_id"].dropna())
    guides = (replicates["role"] == Role.guide) & (own | of_mixtures)
    return replicates[guides | replicates["replicate_id"].isin(chosen["replicate_id"])]


def _usual_first(metric: str) -> tuple[int, str]:
    """A key that sorts metrics: of the test split, of validation, of training, and all others."""
    group = metric.partition("/")[0] if "/" in metric else ""
    groups = ("", "test", "validation", "train")
    return (groups.index(group) if group in groups else len(groups), metric)


def one(frame: pd.DataFrame, column: str, figure: str) -> str | None:
    """The one value of a column; None where there is none.

    Raises UserError, with the values there are, where a figure would mix several.
    """
    values = [str(value) for value in frame[column].dropna().unique()]
    if len(values) > 1:
        raise UserError(f"{figure} is of one {column}: give {column}= ({', '.join(values)})")
    return values[0] if values else None


def of_metric(frame: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    """Rows of one metric: the one named, else the primary one, else the first of the table."""
    if metric is not None or frame.empty:
        return where(frame, metric=metric)
    if "primary" in frame.columns and frame["primary"].fillna(False).any():
        chosen = frame["primary"].fillna(False).astype(bool)
    else:
        chosen = frame["metric"] == frame["metric"].iloc[0]
    return frame.loc[chosen]


def differing(frame: pd.DataFrame, columns: Iterable[str] = NAMING) -> list[str]:
    """Those of the columns in which rows differ, in the columns' order."""
    return [
        column
        for column in columns
        if column in frame.columns and frame[column].nunique(dropna=False) > 1
    ]


def naming(frame: pd.DataFrame) -> list[str]:
    """Columns that tell the rows of a figure apart, in their order.

    One of `_OF_GUIDANCE` that is the same wherever it has a value is none of them: rows without
    one are controls and rivals, which have names of their own.
    """
    varying = differing(frame)
    few = [c for c in varying if c not in _OF_GUIDANCE or frame[c].nunique() > 1]
    told_apart = len(frame[few].drop_duplicates()) if few else 1
    return few if told_apart == len(frame[varying].drop_duplicates()) else varying


def treatments(frame: pd.DataFrame) -> list[str]:
    """Columns that name what treats a target: a guide, or a rival where a table knows of them."""
    return [column for column in ("treatment", "guide") if column in frame.columns]


def names(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """A name for each row: its values in `columns`, nulls left out; `-` where nothing is left."""
    # Of no columns, releases of pandas differ in whether there are records.
    rows = frame[list(columns)].to_dict("records") if columns else [{}] * len(frame)
    return [", ".join(_words(row)) or "-" for row in rows]


def _words(row: dict[Any, Any]) -> Iterable[str]:
    prefixes = {"control": "control ", "alpha": "alpha=", "stop_step": "stop="}
    for column, value in row.items():
        if not missing(value) and (column, value) not in _UNSAID:
            yield f"{prefixes.get(column, '')}{value}"


def num_seeds(row: Mapping[Any, Any], value: str) -> Any:
    """Number of seeds that a column of `transfer` or `priors` is over; None where it is not known.

    That is the column's own `_n` where it has one, else the `n` of the row.
    """
    of_baseline = f"{value.removeprefix('difference_')}_n"
    return next((row[name] for name in (f"{value}_n", of_baseline, "n") if name in row), None)


def conditions(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The columns that describe a condition of each row, as a key; nulls are None."""
    columns = [column for column in CONDITION_COLUMNS if column in frame.columns]
    plain = frame[columns].astype(object)
    return [*plain.where(plain.notna(), None).itertuples(index=False, name=None)]

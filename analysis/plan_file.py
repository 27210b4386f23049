"""The table of a plan as it is read: with our columns and facts, whoever wrote the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from analysis.contract import PLAN
from analysis.database import ARTIFACTS_FOLDER
from analysis.errors import DamagedFileError
from analysis.parquet_files import StorePath, filesystem_of, metadata_of
from analysis.schema.fields import CONDITION, TEXT
from analysis.store_files import WRITTEN_ANEW, StoreFiles

#: Columns that plans of every version have, the first without missing values.
_WHOLE, _ALWAYS = ("replicate_id", "role", "task", "target", "seed"), ("guide", "state", "control")
#: Other columns of texts, integers, reals and lists of texts; older plans lack some.
_TEXTS = ("replicate_id", "role", "baseline_id", "guide_id", "requires_id", "matched_id",
          "matched_full_id", "arm", "point", "select",
          *(field.name for field in CONDITION if field.type == TEXT))  # fmt: skip
_INTEGERS = ("seed", "stop_step", "num_pairs", "num_steps", "trial", "batch", "budget")
_REALS = ("alpha", "flops")
_LISTS = ("guide_ids", "requires_ids", "required_controls")


class _Task(BaseModel):
    model_config = ConfigDict(strict=True)

    primary_metric: str | None = None
    #: Its name in older plans.
    headline: str | None = None
    higher_is_better: dict[str, bool]
    chance: dict[str, float | None] = {}
    data: str = "fixed"
    answers: str = "classes"

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.primary_metric or self.headline):
            raise ValueError("it has no primary_metric")
        return self


class _Facts(BaseModel):
    """Facts in a plan's metadata, beside those that all tables have."""

    model_config = ConfigDict(strict=True)

    study: str | None = None
    tasks: dict[str, _Task]
    provenance: dict[str, str] = {}
    margin: dict[str, float] = {}
    confirm: list[dict[str, Any]] = []
    later: dict[str, int] = {}


def stored(study: str, store: StorePath) -> pa.Table | None:
    """The table of a study's plan; None where the store has none. Raises DamagedFileError.

    An older archprior wrote it to MLflow's artifacts alone; it is looked for there too.
    """
    place = StoreFiles(*filesystem_of(store))
    found = place.table(f"studies/{study}/{PLAN}", WRITTEN_ANEW)
    root = Path(place.root)
    if found is not None or not place.is_local:
        return found
    left = (root / ARTIFACTS_FOLDER / study).glob(f"*/artifacts/{PLAN}")
    newest = max(left, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or not (root / "replicates").is_dir():
        return None
    return place.table(str(newest.relative_to(root)), WRITTEN_ANEW)


def facts_of(table: pa.Table, source: str) -> dict[str, Any]:
    """The facts in the table of a plan, once these and its columns are as we write them.

    Raises UserError where a newer archprior wrote it, DamagedFileError where it is not a plan.
    """
    facts = metadata_of(table, source)
    try:
        _Facts.model_validate(facts)
        _check_columns(table)
    except (ValidationError, ValueError) as error:
        cause = _first(error) if isinstance(error, ValidationError) else str(error)
        raise DamagedFileError(f"{source} is damaged ({cause}): {WRITTEN_ANEW}") from error
    return facts


def _check_columns(table: pa.Table) -> None:
    names = table.column_names
    for name in (*_WHOLE, *_ALWAYS):
        if name not in names or (name in _WHOLE and table[name].null_count):
            raise ValueError(f"no column {name}, or values of it are missing")
    if len({*names}) < len(names):
        raise ValueError("a column stands twice")
    for field in table.schema:
        if not (pa.types.is_null(field.type) or _is_ours(field)):
            raise ValueError(f"column {field.name} is of {field.type}")
    # Texts that are none, in lists too: their bytes are looked at when they are taken out.
    table.validate(full=True)


def _is_ours(field: pa.Field) -> bool:
    """Whether a column has the type that we write; others than ours may have any."""
    if field.name in _LISTS:
        is_list = pa.types.is_list(field.type)
        return bool(is_list and pa.types.is_string(field.type.value_type))
    if field.name in _INTEGERS:
        return bool(pa.types.is_integer(field.type))
    if field.name in _REALS:
        return bool(pa.types.is_floating(field.type))
    return field.name not in _TEXTS or bool(pa.types.is_string(field.type))


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"

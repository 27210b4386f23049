"""Tables of a study for commands that show them: read, or made where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

import analysis
from analysis import from_store
from analysis.contract import RESULT, Status
from analysis.errors import DamagedFileError, UserError, unknown
from analysis.schema import SCHEMAS
from study.cli.checking import not_written
from study.run.descriptions import shown

if TYPE_CHECKING:
    import pandas as pd

    from trainers.store.store import Store


#: Tables that not every study has, or that another command writes.
_OPTIONAL = ("dials", "search", "budget_curve", "expectations", "confirm")


class KeptTables:
    """The tables of a study in a store, as `analyze` wrote them.

    Where a table is not there, or replicates have ended since, all are made anew, once.
    """

    def __init__(self, study: str, store: Store, tracking_uri: str | None) -> None:
        """`tracking_uri` is that of an MLflow; where it is given, tables can be made of it too."""
        self._study, self._store, self._tracking_uri = study, store, tracking_uri
        self._checked = self._made = False

    def __call__(self, table: str) -> pd.DataFrame:
        """A table by its name; UserError where there is no such study or table."""
        if table not in SCHEMAS:
            raise unknown("table:", table, SCHEMAS)
        if not self._checked:
            self._checked = True
            if self._can_make() and self._is_stale():
                self._make()
        try:
            return self._read(table)
        except DamagedFileError:
            raise
        except UserError:
            if self._made or table in _OPTIONAL or not self._can_make():
                raise
        self._make()
        return self._read(table)

    def absent(self) -> list[str]:
        """A line on replicates without a result, if there are any."""
        counts = self("replicates")["status"].value_counts().to_dict()
        lost = {str(s): counts.get(str(s), 0) for s in Status if s != Status.finished}
        lost = {state: count for state, count in lost.items() if count}
        if not lost:
            return []
        return [
            f"{sum(lost.values())} of {sum(counts.values())} replicates have no result: "
            f"{shown(lost)} (archprior status {self._study})"
        ]

    def _read(self, table: str) -> pd.DataFrame:
        return analysis.load(self._study, table, store=self._store.uri)

    def _can_make(self) -> bool:
        """Whether the tables can be made, from the store or from MLflow."""
        return bool(self._tracking_uri) or from_store.plan(self._study, self._store.uri) is not None

    def _is_stale(self) -> bool:
        """Whether there are no tables, or a replicate has ended since; in buckets the former."""
        try:
            replicates = self._read("replicates")
        except DamagedFileError:
            raise
        except UserError:
            return True
        if not self._store.root.is_local:
            return False
        unfinished = replicates["status"] != Status.finished
        folder = Path(self._store.uri) / "replicates"
        return any(
            (folder / name / RESULT).exists() for name in replicates[unfinished]["replicate_id"]
        )

    def _make(self) -> None:
        self._made = True
        typer.echo(f"making the tables of {self._study}", err=True)
        with not_written() as unsaid:
            analysis.analyze(self._study, store=self._store.uri, tracking_uri=self._tracking_uri)
        for line in unsaid:
            typer.echo(line, err=True)

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


class KeptTables:
    """The tables of a study in a store, as `analyze` wrote them.

    Where a table is not there, or replicates have ended since, all are made anew, once.
    """

    def __init__(self, study: str, store: Store) -> None:
        self._study, self._store = study, store
        self._fresh = False

    def __call__(self, table: str) -> pd.DataFrame:
        """A table by its name; UserError where there is no such study or table."""
        if table not in SCHEMAS:
            raise unknown("table:", table, SCHEMAS)
        try:
            found = self._read(table)
            if not self._fresh and self._is_stale():
                self._make()
                found = self._read(table)
        except DamagedFileError:
            raise
        except UserError:
            if self._fresh or from_store.plan(self._study, self._store.uri) is None:
                raise
            self._make()
            found = self._read(table)
        return found

    def absent(self) -> list[str]:
        """A line on replicates without a result, if there are any."""
        counts = self("replicates")["status"].value_counts().to_dict()
        total = sum(counts.values())
        lost = {str(s): counts.get(str(s), 0) for s in Status if s != Status.finished}
        lost = {state: count for state, count in lost.items() if count}
        if not lost:
            return []
        return [
            f"{sum(lost.values())} of {total} replicates have no result: {shown(lost)} "
            f"(archprior status {self._study})"
        ]

    def _read(self, table: str) -> pd.DataFrame:
        return analysis.load(self._study, table, store=self._store.uri)

    def _is_stale(self) -> bool:
        """Whether a replicate has ended since the tables were made; False for buckets."""
        self._fresh = True
        if not self._store.root.is_local:
            return False
        replicates = self._read("replicates")
        missing = replicates.loc[replicates["status"] != Status.finished, "replicate_id"]
        folder = Path(self._store.uri) / "replicates"
        return any((folder / identifier / RESULT).exists() for identifier in missing)

    def _make(self) -> None:
        self._fresh = True
        typer.echo(f"making the tables of {self._study}", err=True)
        with not_written() as unsaid:
            analysis.analyze(self._study, store=self._store.uri)
        for line in unsaid:
            typer.echo(line, err=True)

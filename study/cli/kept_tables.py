"""Tables of a study for commands that show them, brought up to date first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import typer

import analysis
from analysis import plan_file
from analysis.contract import Status
from analysis.errors import unknown
from analysis.hints import command
from analysis.schema import SCHEMAS
from study.cli.checking import not_written
from study.run.collecting import collecting
from study.run.descriptions import shown
from study.run.locations import existing_store, find_store

if TYPE_CHECKING:
    import pandas as pd

    from trainers.store.store import Store


def kept_tables(study: str, store: str, tracking_uri: str | None) -> KeptTables:
    """The tables of a study; raises SpecError where there is neither a store nor an MLflow."""
    place = existing_store(store) if tracking_uri is None else find_store(store)
    return KeptTables(study, place, tracking_uri)


class KeptTables:
    """The tables of a study as `analyze` would write them now, into a store that may be written.

    Where the store has no plan of the study, they are those of MLflow, if it is given, else as the
    store has them.
    """

    def __init__(self, study: str, store: Store, tracking_uri: str | None) -> None:
        self._study, self._store, self._tracking_uri = study, store, tracking_uri

    def __call__(self, table: str) -> pd.DataFrame:
        """A table by its name; UserError where there is no such study or table."""
        if table not in SCHEMAS:
            raise unknown("table:", table, SCHEMAS)
        return self._fresh(table)

    def absent(self) -> list[str]:
        """A line on replicates without a result, if there are any."""
        counts = self("replicates")["status"].value_counts().to_dict()
        lost = {str(s): counts.get(str(s), 0) for s in Status if s != Status.finished}
        lost = {state: count for state, count in lost.items() if count}
        if not lost:
            return []
        return [
            f"{sum(lost.values())} of {sum(counts.values())} replicates have no result: "
            f"{shown(lost)} ({command('status', self._study, store=self._store.uri)})"
        ]

    @cached_property
    def _fresh(self) -> Callable[[str], pd.DataFrame]:
        study, store = self._study, self._store.uri
        with not_written() as unsaid, collecting() as passed:
            if self._tracking_uri and plan_file.stored(study, store) is None:
                uri = self._tracking_uri
                made = analysis.analyze(study, store=store, tracking_uri=uri, passed=passed)
                tables = made.__getitem__
            else:
                tables = analysis.fresh(study, store=store, passed=passed)
        for line in unsaid:
            typer.echo(line, err=True)
        return tables

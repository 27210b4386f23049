"""The two sides of a comparison: a study of a store, perhaps of one state of the code alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import analysis
from analysis.cells import records
from analysis.comparison import Tables
from analysis.comparison_data import Data
from analysis.contract import Status
from analysis.names import NAME
from study.errors import SpecError
from study.run.locations import existing_store
from trainers.store.store import CorruptError, Store

if TYPE_CHECKING:
    import pandas as pd

_SIDE = re.compile(rf"(?:(?P<store>.+):)?(?P<study>{NAME})(?:@(?P<commit>[0-9a-f]{{4,40}}))?")


@dataclass(frozen=True)
class Side:
    """One side: name in words, tables, git commits that trained its replicates, and their data."""

    name: str
    tables: Tables
    commits: tuple[str, ...]
    data: Data


def side(text: str, store: str) -> Side:
    """The side that `[STORE:]STUDY[@COMMIT]` names; `store` is where a study without STORE is.

    COMMIT takes the replicates that this state of the code trained, by the first digits of its
    hash. The study's tables are brought up to date first. Raises SpecError or UserError where there
    is no such study, or it has no tables.
    """
    found = _SIDE.fullmatch(text)
    if found is None:
        raise SpecError(f"{text!r}: give STUDY, STORE:STUDY or STUDY@COMMIT")
    place = existing_store(found["store"] or store)
    name, commit = found["study"], found["commit"]
    fresh = analysis.fresh(name, store=place.uri)
    tables = Tables(*(fresh(table) for table in Tables._fields))
    commits = _commits(tables.replicates, place)
    if commit is not None:
        kept = {each for each, of in commits.items() if of.startswith(commit)}
        if not kept:
            known = ", ".join(sorted({of[:12] for of in commits.values()})) or "none is known"
            raise SpecError(f"{text}: no replicate of it was trained by {commit} (by: {known})")
        tables = _only(tables, kept)
        commits = {each: commits[each] for each in kept}
    return Side(
        f"{place.uri}:{text.rpartition(':')[2]}",
        tables,
        tuple(sorted({*commits.values()})),
        _data(tables.replicates, place),
    )


def _commits(replicates: pd.DataFrame, store: Store) -> dict[str, str]:
    """The git commit that trained each finished replicate, where it is known."""
    finished = replicates.loc[replicates["status"] == Status.finished, "replicate_id"]
    found = {name: store.replicate(name).provenance().get("git_commit", "") for name in finished}
    return {name: commit for name, commit in found.items() if commit}


def _data(replicates: pd.DataFrame, store: Store) -> Data:
    """Fingerprints of the data that finished replicates were trained on, where they are known."""
    found: dict[str, dict[int | None, frozenset[str]]] = {}
    rows = records(replicates[replicates["status"] == Status.finished])
    began = store.surveyed({row["replicate_id"] for row in rows})
    for row in rows:
        stored = began.get(row["replicate_id"])
        try:
            result = None if stored is None else stored.result()
        except CorruptError:
            # Analysis has said so where it matters.
            continue
        if result is not None:
            seeds = found.setdefault(row["task"], {})
            fingerprints = seeds.get(row["seed"], frozenset())
            seeds[row["seed"]] = fingerprints | {result.data_fingerprint}
    return found


def _only(tables: Tables, kept: set[str]) -> Tables:
    """Tables with the results of some replicates alone; the others count as missing.

    Verdicts, which are of all replicates, are null where some are left out.
    """
    replicates, transfer = tables.replicates.copy(), tables.transfer.copy()
    left_out = ~replicates["replicate_id"].isin(kept)
    if (replicates.loc[left_out, "status"] == Status.finished).any():
        transfer["verdict"] = None
    replicates.loc[left_out, "status"] = Status.missing.value
    return Tables(replicates, transfer)

"""Reads a study from its store: the plan, and the files that replicates wrote."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from analysis.collect import Collected, Outcome, Planned, Survey, assemble
from analysis.contract import (
    ALIGNMENTS,
    FAILURE,
    GUIDE_TAPS,
    HISTORY,
    MLFLOW_RUNS,
    PLAN,
    PROVENANCE,
    RESULT,
    VALIDATION,
    Status,
    blocked_by,
    required_guides,
)
from analysis.errors import DamagedFileError, DamagedFileWarning
from analysis.measured import TABLES, Kept, Source
from analysis.parquet_files import StorePath, contents, filesystem_of
from analysis.plan_file import stored
from analysis.store_files import AGAIN, WRITTEN_ANEW, StoreFiles
from trainers.secrets import masked

READS_AT_ONCE = 8
_READS_A_TASK = 16
A = TypeVar("A")
B = TypeVar("B")


def collect(study: str, store: StorePath) -> Collected | None:
    """Read a study from a store; None where the store has no plan of it. Raises as `survey`."""
    found = survey(study, store)
    return None if found is None else assemble(found)


def survey(study: str, store: StorePath) -> Survey | None:
    """See how the replicates of a study ended; None where the store has no plan of it.

    Raises UserError where a newer archprior wrote the plan, DamagedFileError where a file is not
    whole.
    """
    table = stored(study, store)
    if table is None:
        return None
    place = _Store(*filesystem_of(store))
    planned = Planned.of(table, f"{PLAN} of study {study!r}")
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        ends = dict(zip(planned.ids, _each(pool, place.end, planned.ids), strict=True))
        tried = _each(pool, place.candidate, planned.candidate_ids)
        outcomes = dict(zip(planned.candidate_ids, tried, strict=True))
    outcomes |= {name: outcome for name, (outcome, _) in ends.items()}
    _mark_blocked([*planned.rows, *planned.candidates], outcomes)
    runs = place.run_ids(study)
    outcomes = {name: replace(each, run_id=runs.get(name)) for name, each in outcomes.items()}
    return Survey(
        plan=table,
        planned=planned,
        outcomes=outcomes,
        sources=[source for _, source in ends.values() if source is not None],
        compared=place.table(f"studies/{study}/{ALIGNMENTS}", WRITTEN_ANEW),
        guide_taps=place.table(f"studies/{study}/{GUIDE_TAPS}", WRITTEN_ANEW),
        read=place.tables,
        kept=lambda: Kept(contents(store, study, TABLES)),
    )


def _each(
    pool: ThreadPoolExecutor, function: Callable[[A], B], arguments: Sequence[A]
) -> Iterator[B]:
    """Results of a function in their order; many a task, because files are small."""
    parts = [arguments[at : at + _READS_A_TASK] for at in range(0, len(arguments), _READS_A_TASK)]
    for found in pool.map(lambda part: [function(each) for each in part], parts):
        yield from found


def _mark_blocked(rows: Iterable[Mapping[str, Any]], outcomes: dict[str, Outcome]) -> None:
    """Mark missing replicates whose guide has failed as blocked; guides come first in a plan."""
    for row in rows:
        name = row["replicate_id"]
        for guide_id in required_guides(row):
            guide = outcomes.get(guide_id, Outcome())
            if guide.status == Status.failed and outcomes[name].status == Status.missing:
                cause = blocked_by(guide_id, guide.error or "unknown cause")
                outcomes[name] = Outcome(status=Status.blocked, error=cause)


class _Store(StoreFiles):
    """A store, whose files are read as what became of replicates."""

    def candidate(self, identifier: str) -> Outcome:
        """Outcome of a candidate, with its last validation metrics; raises DamagedFileError."""
        folder = f"replicates/{identifier}"
        result = self.json(f"{folder}/{RESULT}")
        if result is None:
            failed = self.json(f"{folder}/{FAILURE}") is not None
            return Outcome(status=Status.failed if failed else Status.missing)
        history = self.table(f"{folder}/{HISTORY}", AGAIN)
        with self._typed(f"{folder}/{HISTORY}"):
            last = {} if history is None else _last(history)
        return Outcome(status=Status.finished, validation=last)

    def end(self, identifier: str) -> tuple[Outcome, Source | None]:
        """Outcome of a replicate, and its tables if it is finished; raises DamagedFileError."""
        folder = f"replicates/{identifier}"
        result = self.json(f"{folder}/{RESULT}")
        if result is not None:
            with self._typed(f"{folder}/{RESULT}"):
                return _finished(result), Source(identifier, self._keys(folder, result["files"]))
        failure = self.json(f"{folder}/{FAILURE}")
        if failure is None:
            return Outcome(), None
        facts = self.json(f"{folder}/{PROVENANCE}") or {}
        version = facts.get("torch_version")
        with self._typed(f"{folder}/{FAILURE}"):
            error = masked(_of(str, failure["error"]))
        return Outcome(
            status=Status.failed, error=error,
            torch_version=version if isinstance(version, str) else None,
        ), None  # fmt: skip

    @contextmanager
    def _typed(self, path: str) -> Iterator[None]:
        """Raise what values of other types lead to as DamagedFileError."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{self.root}/{path} is damaged ({error!r}): {AGAIN}") from error

    def _keys(self, folder: str, files: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Digests of a replicate's tables; of a file that is cut off, with its size."""
        keys = {}
        for name in TABLES:
            if f"{name}.parquet" in files:
                size, digest = files[f"{name}.parquet"]
                keys[name] = _of(str, digest)
                if self.is_local:
                    there = self.size(f"{folder}/{name}.parquet")
                    keys[name] += "" if there == size else f" {there}"
        return keys

    def tables(self, sources: Sequence[Source]) -> Iterator[dict[str, pa.Table]]:
        """Tables of replicates, in their order; raises DamagedFileError."""
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from _each(pool, self._tables, sources)

    def _tables(self, source: Source) -> dict[str, pa.Table]:
        folder = f"replicates/{source.replicate_id}"
        read = {
            name: self.table(f"{folder}/{name}.parquet", AGAIN, key=key)
            for name, key in source.keys.items()
        }
        return {name: table for name, table in read.items() if table is not None}

    def run_ids(self, study: str) -> Mapping[str, str]:
        """Ids of MLflow's runs by replicate id, as far as the store has them.

        MLflow has them itself: of a damaged file they are left out, with a warning.
        """
        path = f"studies/{study}/{MLFLOW_RUNS}"
        remedy = "tables name no runs of MLflow until archprior run SPEC writes it anew"
        try:
            found = self.json(path, remedy) or {}
            if not all(isinstance(each, str) for each in found.values()):
                raise DamagedFileError(f"{self.root}/{path} is damaged (no ids of runs): {remedy}")
        except DamagedFileError as error:
            warnings.warn(str(error), DamagedFileWarning, stacklevel=2)
            return {}
        return found


def _last(history: pa.Table) -> dict[str, float]:
    """The last value of each validation metric."""
    columns = (history["metric"].to_pylist(), history["value"].to_pylist())
    pairs = zip(*columns, strict=True)
    return {name: value for name, value in pairs if name.startswith(VALIDATION)}


def _finished(result: Mapping[str, Any]) -> Outcome:
    """The outcome in `result.json`; TypeError, KeyError and others where it has other values."""
    metrics = {name: _number(value) for name, value in result["metrics"].items()}
    return Outcome(
        status=Status.finished,
        train_seconds=_number(result["train_seconds"]),
        steps=_of(int, result["steps"]),
        torch_version=_of(str, result["torch_version"]),
        device=_of(str, result["device"]),
        data_fingerprint=_of(str, result["data_fingerprint"]),
        scores={name: value for name, value in metrics.items() if math.isfinite(value)},
    )


def _of(kind: type[A], value: Any) -> A:
    """A value of JSON that must be of this type; raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} is no {kind.__name__}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise TypeError("a number that no table can hold")
    return value


def _number(value: Any) -> float:
    """A number of JSON; raises TypeError."""
    return float(_of(int, value)) if isinstance(value, int) else _of(float, value)

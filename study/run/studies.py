"""The studies of a store at a glance: questions, states, verdicts, sizes; training is not read.

Everything is from listings and two tables a study, so that hundreds of studies take a second.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.contract import FAILURE, PLAN, RESULT, SPEC, Role, Status, required_guides
from analysis.hints import command
from analysis.names import is_name
from analysis.parquet_files import METADATA_KEY
from analysis.questions import question
from analysis.verdict_words import Kind, kind
from study.errors import SpecError
from trainers.errors import first_line
from trainers.store.folder import Folder
from trainers.store.lease import LEASE, holder

_READS_AT_ONCE = 8
_TRANSFER = "transfer.parquet"
_VERDICTS = ["primary", "control", "verdict"]
_PLAN = ["replicate_id", "role", "requires_ids", "requires_id"]


@dataclass(frozen=True, kw_only=True)
class StudyEntry:
    """One study of a store.

    `counts` are replicates by status, `verdicts` guided rows on primary metrics by kind of verdict.
    `num_bytes` is the size of its folder and of its replicates, also of those that other studies
    share; `last_run` is when its tables or, without any, its plan was written, in seconds since
    1970. `problem` says what of it could not be read.
    """

    name: str
    question: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[Kind, int] = field(default_factory=dict)
    num_bytes: int = 0
    last_run: float | None = None
    running: bool = False
    problem: str | None = None

    def content(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return {
            "study": self.name,
            "question": self.question,
            "counts": dict(self.counts),
            "verdicts": {each.value: count for each, count in self.verdicts.items()},
            "bytes": self.num_bytes,
            "last_run": self.last_run,
            "running": self.running,
            "problem": self.problem,
        }


def entries(store: Folder) -> list[StudyEntry]:
    """Every study of a store, by name; one that is damaged is listed with its problem.

    Raises SpecError where the store cannot be read.
    """
    try:
        replicates = _Replicates(store)
        names = sorted(filter(is_name, (store / "studies").names()))
    except OSError as error:
        raise SpecError(f"--store: {store.uri} cannot be read: {error}") from error
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        return list(pool.map(lambda name: _entry(name, store, replicates), names))


class _Replicates:
    """Files of all replicates of a store, by listing alone."""

    def __init__(self, store: Folder) -> None:
        self._sizes: Counter[str] = Counter()
        self._ended: dict[str, Status] = {}
        for path, size in (store / "replicates").sizes():
            identifier, _, name = path.partition("/")
            self._sizes[identifier] += size
            if name == RESULT:
                self._ended[identifier] = Status.finished
            elif name == FAILURE:
                self._ended.setdefault(identifier, Status.failed)

    def num_bytes(self, identifiers: Iterable[str]) -> int:
        """Size of some replicates, in bytes."""
        return sum(self._sizes[name] for name in identifiers)

    def counts(self, rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
        """Number of replicates by status; those that a failed guide blocks are `blocked`."""
        states: dict[str, Status] = {}
        for row in rows:
            name = row["replicate_id"]
            state = self._ended.get(name, Status.missing)
            if state == Status.missing and any(
                states.get(guide) == Status.failed for guide in required_guides(row)
            ):
                state = Status.blocked
            states[name] = state
        return Counter(states.values())


def _entry(name: str, store: Folder, replicates: _Replicates) -> StudyEntry:
    folder = store / "studies" / name
    sizes = dict(folder.sizes())
    facts: dict[str, Any] = {"num_bytes": sum(sizes.values())}
    try:
        if SPEC in sizes:
            facts["question"] = question(folder.read(SPEC).decode("utf-8", "replace"))
        facts["running"] = LEASE in sizes and holder(folder) is not None
        if PLAN in sizes:
            plan = _read(folder.read(PLAN), _PLAN)
            rows = plan.to_pylist()
            own = [row for row in rows if row["role"] != Role.candidate]
            facts["counts"] = replicates.counts(own)
            facts["num_bytes"] += replicates.num_bytes({row["replicate_id"] for row in rows})
        if _TRANSFER in sizes:
            transfer = _read(folder.read(_TRANSFER), _VERDICTS)
            facts["verdicts"] = Counter(_kinds(transfer.to_pylist()))
            facts["last_run"] = _created(transfer)
        elif PLAN in sizes:
            facts["last_run"] = folder.modified(PLAN)
    except (
        pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError
    ) as error:  # fmt: skip
        # Tables follow from the plan, and the plan from the spec.
        again = command("analyze", name, store=store.uri)
        remedy = again if "counts" in facts else "archprior run SPEC"
        facts["problem"] = f"a file of it is damaged ({first_line(error)}): {remedy}"
    if not sizes.keys() & {SPEC, PLAN}:
        facts["problem"] = f"it has neither {SPEC} nor {PLAN}"
    return StudyEntry(name=name, **facts)


def _read(content: bytes, columns: list[str]) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content))
    names = set(file.schema_arrow.names)
    known = [column for column in columns if column in names]
    return file.read(columns=known, use_threads=False)


def _kinds(rows: Iterable[Mapping[str, Any]]) -> Iterator[Kind]:
    for row in rows:
        if row["primary"] and row["control"] == "none":
            yield kind(row["verdict"])


def _created(table: pa.Table) -> float | None:
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    created = json.loads(raw).get("created") if raw else None
    return None if created is None else datetime.fromisoformat(created).timestamp()

"""The plan as a table with a row for each place of a replicate; in the store and in MLflow.

Readers of a study use this table and do not plan anew: today's code may give other ids.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.contract import CONDITION_COLUMNS, REQUIRED_CONTROLS, required_guides
from analysis.errors import DamagedFileError
from analysis.plan_file import facts_of, stored
from analysis.schema import SCHEMA_VERSION
from analysis.store_files import WRITTEN_ANEW
from trainers.store.store import Store

if TYPE_CHECKING:
    from study.plan.build import Plan

SCHEMA = pa.schema(
    [("replicate_id", pa.string()), ("role", pa.string()), ("seed", pa.int64())]
    + [(name, pa.string()) for name in CONDITION_COLUMNS if name not in ("alpha", "stop_step")]
    + [("alpha", pa.float64()), ("stop_step", pa.int64()), ("num_pairs", pa.int64())]
    + [(name, pa.string()) for name in ("baseline_id", "guide_id")]
    + [(name, pa.list_(pa.string())) for name in ("guide_ids", "requires_ids", REQUIRED_CONTROLS)]
    + [("num_steps", pa.int64())]
    + [("matched_id", pa.string()), ("matched_full_id", pa.string()), ("flops", pa.float64())]
    + [("arm", pa.string()), ("trial", pa.int64()), ("batch", pa.int64())]
    + [("point", pa.string()), ("budget", pa.int64()), ("select", pa.string())]
)


@dataclass(frozen=True)
class StoredReplicate:
    """A replicate as the table lists it; see `study.plan.replicates.Listed`."""

    id: str
    seed: int
    role: str
    labels: dict[str, Any]
    num_steps: int
    requires: frozenset[str]


@dataclass(frozen=True)
class StoredPlan:
    """A plan as the last run of its study wrote it."""

    name: str
    rows: list[dict[str, Any]]
    #: Numbers of replicates that a search asks for later: `candidates` and `winners`.
    later: Mapping[str, int] = field(default_factory=dict)
    #: Labels of tasks whose data each seed draws.
    drawn_tasks: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.replicates)

    @cached_property
    def replicates(self) -> list[StoredReplicate]:
        """Every replicate of the study, guides first, with the labels of its first place."""
        first = {row["replicate_id"]: row for row in reversed(self.rows)}
        order = dict.fromkeys(row["replicate_id"] for row in self.rows)
        return [_replicate(first[identifier]) for identifier in order]


def _replicate(row: Mapping[str, Any]) -> StoredReplicate:
    return StoredReplicate(
        id=row["replicate_id"],
        seed=row["seed"],
        role=row["role"],
        labels={name: row.get(name) for name in CONDITION_COLUMNS},
        # Older tables have no such column; 0 would say that weights are evaluated alone.
        num_steps=1 if row.get("num_steps") is None else row["num_steps"],
        requires=frozenset(required_guides(row)),
    )


def encode(plan: Plan, facts: Mapping[str, str]) -> bytes:
    """The table of a plan as Parquet; `facts` are the provenance of the code that planned it."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "study": plan.name,
        "tasks": plan.tasks(),
        "margin": dict(plan.margin),
        "confirm": [each.content() for each in plan.confirm],
        "provenance": dict(facts),
        "later": {"candidates": plan.later.num_candidates, "winners": plan.later.num_winners},
    }
    schema = SCHEMA.with_metadata({"archprior": json.dumps(content)})
    table = pa.Table.from_pylist(list(plan.rows()), schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read(study: str, store: Store) -> StoredPlan | None:
    """The plan of a study in a store; None where there is none. Raises DamagedFileError."""
    table = stored(study, store.uri)
    if table is None:
        return None
    facts = facts_of(table, f"the plan of study {study!r}")
    tasks = facts.get("tasks", {})
    drawn = frozenset(
        label for label, each in tasks.items() if each.get("data", "fixed") != "fixed"
    )
    plan = StoredPlan(study, table.to_pylist(), facts.get("later", {}), drawn)
    _check_order(plan)
    return plan


def _check_order(plan: StoredPlan) -> None:
    """Raise DamagedFileError unless what a replicate requires is listed before it."""
    listed = set[str]()
    for replicate in plan.replicates:
        if not replicate.requires <= listed:
            raise DamagedFileError(
                f"the plan of study {plan.name!r} is damaged (a guide of replicate {replicate.id} "
                f"is not listed before it): {WRITTEN_ANEW}"
            )
        listed.add(replicate.id)

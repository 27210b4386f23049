"""A study as tidy tables: plan, outcomes and measurements of its replicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis.cells import TaskMetrics
from analysis.contract import GUIDANCE, GUIDE_MOMENTS, REQUIRED_CONTROLS, Role
from analysis.parquet_files import metadata_of
from analysis.schema import METRIC_PREFIX, conform, frame_of, schema, to_frame
from analysis.search import search_table

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("history", "predictions", "alignment")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one planned replicate; `scores` are by bare name of the test metric.

    Candidates of a search have `validation` in their place: metrics at the last step by full name.
    """

    status: str = "missing"
    error: str | None = None
    train_seconds: float | None = None
    steps: int | None = None
    torch_version: str | None = None
    device: str | None = None
    run_id: str | None = None
    data_fingerprint: str | None = None
    scores: Mapping[str, float] | None = None
    validation: Mapping[str, float] | None = None

    def columns(self) -> dict[str, object]:
        """Its values in the table `replicates`, by column."""
        names = (
            "status", "error", "train_seconds", "steps", "torch_version", "device", "run_id",
        )  # fmt: skip
        scores = self.scores or {}
        return {name: getattr(self, name) for name in names} | {
            METRIC_PREFIX + name: value for name, value in scores.items()
        }


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A study's plan and the four tables without statistics.

    `uses` has a row for each place of a replicate among the conditions, with the column
    `required_controls` of the plan; `replicates` has one for each replicate. `margins` and
    `confirm` are those of the spec: the largest difference that counts as none, by metric, and the
    rows that were named before the study ran. `search` has the trials of a search, whose candidates
    are in no other table.
    """

    tasks: Mapping[str, TaskMetrics]
    provenance: Mapping[str, str]
    uses: pd.DataFrame
    replicates: pd.DataFrame
    history: pd.DataFrame
    predictions: pd.DataFrame
    alignment: pd.DataFrame
    search: pd.DataFrame
    margins: Mapping[str, float]
    confirm: Sequence[Any]


@dataclass(frozen=True)
class Planned:
    """A study's plan as its table has it; the rows of `candidates` are apart."""

    rows: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    tasks: Mapping[str, TaskMetrics]
    provenance: Mapping[str, str]
    margins: Mapping[str, float] = field(default_factory=dict)
    confirm: Sequence[Any] = ()

    @classmethod
    def of(cls, table: pa.Table, source: str) -> Planned:
        """The plan in a table; raises UserError where a newer archprior wrote it."""
        metadata = metadata_of(table, source)
        tasks = {
            name: TaskMetrics(
                primary_metric=entry.get("primary_metric") or entry["headline"],
                higher_is_better=entry["higher_is_better"],
                chance=_known(entry.get("chance", {})),
                data=entry.get("data", "fixed"),
            )
            for name, entry in metadata["tasks"].items()
        }
        rows, candidates = list[dict[str, Any]](), list[dict[str, Any]]()
        for row in table.to_pylist():
            row["chosen"] = row.get("point")
            if "treatment" not in row:
                # Older plans have guidance alone.
                row["treatment"] = GUIDANCE if row["guide"] is not None else None
            (candidates if row["role"] == Role.candidate else rows).append(row)
        return cls(
            rows,
            candidates,
            tasks,
            metadata.get("provenance", {}),
            metadata.get("margin", {}),
            metadata.get("confirm", ()),
        )

    @property
    def ids(self) -> list[str]:
        """Ids of its replicates, each once, in their order."""
        return list(dict.fromkeys(row["replicate_id"] for row in self.rows))

    @property
    def candidate_ids(self) -> list[str]:
        """Ids of candidates of a search and of their guides, each once, in their order."""
        return list(dict.fromkeys(row["replicate_id"] for row in self.candidates))

    @property
    def metrics(self) -> list[str]:
        """Bare names of all metrics of its tasks."""
        return list(dict.fromkeys(name for entry in self.tasks.values() for name in entry.names))


def assemble(
    planned: Planned,
    outcomes: Mapping[str, Outcome],
    tables: Mapping[str, pa.Table],
    compared: pa.Table | None,
) -> Collected:
    """The tables of a plan, from the outcomes of its replicates and the tables that they wrote.

    `outcomes` are those of candidates too, `tables` are not.
    """
    rows = [
        {**row, **outcomes.get(row["replicate_id"], Outcome()).columns()} for row in planned.rows
    ]
    uses = frame_of(rows, schema("replicates", planned.metrics))
    replicates = uses.drop_duplicates("replicate_id", ignore_index=True)
    uses[REQUIRED_CONTROLS] = [row.get(REQUIRED_CONTROLS) for row in planned.rows]
    frames = {name: to_frame(tables[name]) for name in TABLES}
    frames["alignment"] = _alignment(frames["alignment"], planned.rows, compared)
    return Collected(
        tasks=planned.tasks,
        provenance=dict(planned.provenance) | _fingerprints(planned.rows, outcomes),
        uses=uses,
        replicates=replicates,
        search=search_table(planned.candidates, planned.rows, outcomes, planned.tasks),
        margins=planned.margins,
        confirm=planned.confirm,
        **frames,
    )


def concatenated(parts: Iterable[Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    """The tables of several replicates as one of each kind, in their order."""
    found = list(parts)
    tables = {}
    for name in TABLES:
        present = [conform(each[name], schema(name)) for each in found if name in each]
        tables[name] = pa.concat_tables(present) if present else schema(name).empty_table()
    return tables


def _known(chance: Mapping[str, float | None]) -> dict[str, float]:
    return {metric: value for metric, value in chance.items() if value is not None}


def _fingerprints(
    planned: Iterable[Mapping[str, Any]], outcomes: Mapping[str, Outcome]
) -> dict[str, str]:
    """Fingerprints of the data that replicates were trained on, by `data_fingerprint TASK`."""
    found: dict[str, set[str]] = {}
    for row in planned:
        outcome = outcomes.get(row["replicate_id"], Outcome())
        if outcome.data_fingerprint is not None:
            found.setdefault(f"data_fingerprint {row['task']}", set()).add(outcome.data_fingerprint)
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _alignment(
    measured: pd.DataFrame, planned: Sequence[Mapping[str, Any]], compared: pa.Table | None
) -> pd.DataFrame:
    """Alignments that replicates measured in training, and comparisons made after it."""
    import pandas as pd

    guided = {row["replicate_id"]: row for row in planned if row["state"] in GUIDE_MOMENTS}
    taps = zip(measured["replicate_id"], measured["guide_tap"], strict=True)
    measured["guide_id"] = [
        _guide_of(guided[name], tap) if name in guided else None for name, tap in taps
    ]
    measured["guide_moment"] = [
        GUIDE_MOMENTS[guided[name]["state"]] if name in guided else None
        for name in measured["replicate_id"]
    ]
    if compared is None:
        return measured
    other = to_frame(conform(compared, schema("alignment")))
    other = other[other["replicate_id"].isin({row["replicate_id"] for row in planned})]
    return pd.concat([measured, other], ignore_index=True)


def required(row: Mapping[str, Any]) -> list[str]:
    """Ids of the guides that the replicate of a plan's row waits for; of plans of any version."""
    if row.get("requires_ids") is not None:
        return list(row["requires_ids"])
    return [row["requires_id"]] if row.get("requires_id") is not None else []


def _guide_of(row: Mapping[str, Any], tap: str) -> str | None:
    """Id of the replicate that guided; for `self` it is not the guide the row is compared with."""
    if row["control"] == "self":
        found = required(row)
        return found[0] if found else None
    if row.get("guide_id") is not None:
        guide: str = row["guide_id"]
        return guide
    # Taps of several guides are `number:tap`.
    ids, number = row.get("guide_ids") or [], tap.partition(":")[0]
    return str(ids[int(number) - 1]) if number.isdecimal() and ids else None

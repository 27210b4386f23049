"""A study as tidy tables: plan, outcomes and measurements of its replicates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.cells import TaskMetrics
from analysis.code_version import code_version
from analysis.contract import (
    ALIGNMENTS,
    GUIDANCE,
    GUIDE_MOMENTS,
    REQUIRED_CONTROLS,
    Role,
    required_guides,
)
from analysis.measured import TABLES, Kept, Source, Tables, Writer, conformed, gather
from analysis.mixture_labels import is_mixture, parts_of, states_of
from analysis.parquet_files import decode, told
from analysis.plan_file import facts_of
from analysis.schema import METRIC_PREFIX, SCHEMA_VERSION, frame_of, schema
from analysis.search import search_table

if TYPE_CHECKING:
    import pandas as pd


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
    """A study's plan, the outcomes of its replicates, and what they measured.

    `uses` has a row for each place of a replicate among the conditions, with the column
    `required_controls` of the plan; `replicates` has one for each replicate. `margins` and
    `confirm` are those of the spec: the largest difference that counts as none, by metric, and the
    rows that were named before the study ran. `search` has the trials of a search, whose candidates
    are in no other table. `measured` are the files of the tables of `measured.TABLES`, which may be
    larger than all others: frames are made of them when they are asked for. `guide_taps` are the
    comparisons of guides with labels.
    """

    tasks: Mapping[str, TaskMetrics]
    provenance: Mapping[str, str]
    uses: pd.DataFrame
    replicates: pd.DataFrame
    measured: Mapping[str, bytes]
    guide_taps: pa.Table | None
    search: pd.DataFrame
    margins: Mapping[str, float]
    confirm: Sequence[Any]

    @property
    def history(self) -> pd.DataFrame:
        """The table `history`."""
        return self._frame("history")

    @property
    def predictions(self) -> pd.DataFrame:
        """The table `predictions`."""
        return self._frame("predictions")

    @property
    def alignment(self) -> pd.DataFrame:
        """The table `alignment`."""
        return self._frame("alignment")

    def _frame(self, name: str) -> pd.DataFrame:
        return decode(self.measured[name], name, name)


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
        """The plan in a table; raises UserError as `plan_file.facts_of`."""
        metadata = facts_of(table, source)
        tasks = {
            name: TaskMetrics(
                primary_metric=entry.get("primary_metric") or entry["headline"],
                higher_is_better=entry["higher_is_better"],
                chance=_known(entry.get("chance", {})),
                data=entry.get("data", "fixed"),
                answers=entry.get("answers", "classes"),
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
    def has_mixtures(self) -> bool:
        """Whether several guides guide a target at once."""
        return any(is_mixture(row["guide"]) for row in self.rows)

    @property
    def has_search(self) -> bool:
        """Whether there are trials of a search among its candidates."""
        return any(row["trial"] is not None for row in self.candidates)

    @property
    def metrics(self) -> list[str]:
        """Bare names of all metrics of its tasks."""
        return list(dict.fromkeys(name for entry in self.tasks.values() for name in entry.names))


@dataclass(frozen=True, kw_only=True)
class Survey:
    """How the replicates of a study ended, and where what they measured is to be read.

    `plan` is the table of the study's plan, `compared` that of comparisons after training,
    `guide_taps` that of comparisons of guides with labels.
    `outcomes` are those of candidates too, `sources` are not. `kept` gives earlier tables.
    """

    plan: pa.Table
    planned: Planned
    outcomes: Mapping[str, Outcome]
    sources: Sequence[Source]
    compared: pa.Table | None
    guide_taps: pa.Table | None
    read: Callable[[Sequence[Source]], Iterable[Tables]]
    kept: Callable[[], Kept]

    @property
    def provenance(self) -> dict[str, str]:
        """Facts of the plan, and fingerprints of the data that replicates were trained on."""
        return dict(self.planned.provenance) | _fingerprints(self.planned.rows, self.outcomes)

    def digest(self) -> str:
        """Digest of all that the tables of the study follow from, apart from its spec."""
        digest = hashlib.sha256(f"{SCHEMA_VERSION} {code_version()}".encode())
        for table in (self.plan, self.compared, self.guide_taps):
            digest.update(b"" if table is None else _serialized(table))
        ends = {name: vars(outcome) for name, outcome in self.outcomes.items()}
        digest.update(json.dumps([ends, self.sources], default=dict).encode())
        return digest.hexdigest()


def _serialized(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    content: bytes = sink.getvalue().to_pybytes()
    return content


def assemble(
    survey: Survey,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    passed: Callable[[int, int], object] | None = None,
) -> Collected:
    """The tables of a study; `metadata` is what their files say of themselves.

    `passed`, if given, is called with the numbers of replicates that were read and that ended.
    """
    planned, outcomes = survey.planned, survey.outcomes
    rows = [
        {**row, **outcomes.get(row["replicate_id"], Outcome()).columns()} for row in planned.rows
    ]
    uses = frame_of(rows, schema("replicates", planned.metrics))
    replicates = uses.drop_duplicates("replicate_id", ignore_index=True)
    uses[REQUIRED_CONTROLS] = [row.get(REQUIRED_CONTROLS) for row in planned.rows]
    return Collected(
        tasks=planned.tasks,
        provenance=survey.provenance,
        uses=uses,
        replicates=replicates,
        search=search_table(planned.candidates, planned.rows, outcomes, planned.tasks),
        margins=planned.margins,
        confirm=planned.confirm,
        measured=_measured(survey, metadata, passed),
        guide_taps=survey.guide_taps,
    )


def _measured(
    survey: Survey, metadata: Mapping[str, Any], passed: Callable[[int, int], object] | None
) -> dict[str, bytes]:
    """Files of the tables that replicates wrote, and of the comparisons made after training."""
    writers = {name: Writer(name, told(name, metadata)) for name in TABLES}
    complete = {"alignment": _Guides(survey.planned.rows).added}
    done = 0
    for sources, tables in gather(survey.sources, survey.read, survey.kept()):
        for name, writer in writers.items():
            writer.add(sources, tables, complete.get(name, lambda _, table: table))
        done += len(sources)
        if passed is not None:
            passed(done, len(survey.sources))
    if survey.compared is not None:
        other = conformed(survey.compared, "alignment", ALIGNMENTS)
        known = pa.array(list({row["replicate_id"] for row in survey.planned.rows}), pa.string())
        writers["alignment"].append(other.filter(pc.is_in(other["replicate_id"], known)))
    return {name: writer.close() for name, writer in writers.items()}


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


class _Guides:
    """Guides of replicates that measured their alignment with one in training."""

    def __init__(self, planned: Iterable[Mapping[str, Any]]) -> None:
        self._guided = {row["replicate_id"]: row for row in planned if states_of(row["state"])}

    def added(self, replicate_ids: Sequence[str], measured: pa.Table) -> pa.Table:
        """Alignments, of a replicate each, with the columns `guide_id` and `guide_moment`."""
        pairs = list(zip(replicate_ids, measured["guide_tap"].to_pylist(), strict=True))
        known = {pair: self._guide(*pair) for pair in dict.fromkeys(pairs)}
        for index, name in enumerate(("guide_id", "guide_moment")):
            values = [known[pair][index] for pair in pairs]
            place = measured.schema.get_field_index(name)
            field = measured.schema.field(place)
            measured = measured.set_column(place, field, pa.array(values, field.type))
        return measured

    def _guide(self, replicate_id: str, tap: str) -> tuple[str | None, str | None]:
        row = self._guided.get(replicate_id)
        return (None, None) if row is None else _guide_of(row, tap)


def _guide_of(row: Mapping[str, Any], tap: str) -> tuple[str | None, str | None]:
    """Id and moment of the replicate that guided; for `self` it is not the guide of the row."""
    parts = parts_of(str(row["guide"]), row["state"])
    # Taps of several guides are `number:tap`.
    number = tap.partition(":")[0]
    index = int(number) - 1 if len(parts) > 1 and number.isdecimal() else 0
    state = parts[index].state
    if state not in GUIDE_MOMENTS:
        # None, or of a plan that is not ours.
        return None, None
    if row["control"] == "self":
        found = required_guides(row)
        return found[0] if len(found) == 1 else None, GUIDE_MOMENTS[state]
    ids = row.get("guide_ids") or [row.get("guide_id")]
    return ids[index] if index < len(ids) else None, GUIDE_MOMENTS[state]

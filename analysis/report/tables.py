"""The tables that a report is made from: those in a store, read when asked for, or in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from analysis.cells import records
from analysis.code_version import code_version
from analysis.contract import EXPECTED_SECONDS, PLAN, SPEC, is_rival
from analysis.errors import UserError
from analysis.names import check_name
from analysis.parquet_files import METADATA_KEY, StorePath, damage, filesystem_of, read, read_file
from analysis.questions import question
from analysis.report.numbers import present
from analysis.schema import frame_of, schema

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
_REMEDY = "archprior analyze STUDY writes tables anew"


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study. One that the study does not have is an empty frame.

    `made` are tables in memory, in place of those of the store.
    """

    study: str
    store: StorePath
    made: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.study)

    @cached_property
    def files(self) -> dict[str, int]:
        """Files beside the report that it links to, with their sizes in bytes."""
        filesystem, root = filesystem_of(self.store)
        folder = f"{root}/studies/{self.study}"
        if not filesystem.isdir(folder):
            return {}
        filesystem.invalidate_cache(folder)
        entries = {
            entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry
            for entry in filesystem.ls(folder, True)
        }
        return {
            name: int(entry["size"] or 0)
            for name, entry in sorted(entries.items())
            if name.endswith((".parquet", ".yaml")) and not name.startswith(".")
        }

    @cached_property
    def digest(self) -> str:
        """Digest of the files that a page is made of, and of the code that makes it."""
        digest = hashlib.sha256(code_version().encode())
        for name in [*self.files, EXPECTED_SECONDS]:
            content = hashlib.sha256(self.read(name) or b"").hexdigest()
            digest.update(f"{name} {content}\n".encode())
        return digest.hexdigest()[:32]

    def has(self, table: str) -> bool:
        """Whether the study has a table."""
        return table in self.made or (not self.made and f"{table}.parquet" in self.files)

    def frame(self, table: str) -> pd.DataFrame:
        """A table as a frame; without rows where the study has none."""
        if table not in self._frames:
            self._frames[table] = self._frame(table)
        return self._frames[table]

    def rows(self, table: str) -> list[Row]:
        """A table's rows as dictionaries; missing values are None."""
        if table not in self._rows:
            self._rows[table] = records(self.frame(table))
        return self._rows[table]

    @cached_property
    def distinct(self) -> list[Row]:
        """Rows of `replicates`, each replicate once: at its first place of several."""
        found: dict[str, Row] = {}
        for row in self.rows("replicates"):
            found.setdefault(row["replicate_id"], row)
        return list(found.values())

    @cached_property
    def _frames(self) -> dict[str, pd.DataFrame]:
        return {}

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return {}

    def _frame(self, table: str) -> pd.DataFrame:
        if table in self.made:
            return self.made[table]
        if not self.has(table):
            return frame_of([], schema(table))
        return read(self.store, self.study, table)

    @cached_property
    def primary_metrics(self) -> dict[str, str]:
        """The primary metric of each task that guided rows have."""
        transfer = self.frame("transfer")
        primary = transfer[transfer["primary"]].drop_duplicates("task")
        return dict(zip(primary["task"], primary["metric"], strict=True))

    def guided(self, task: str | None = None) -> list[Row]:
        """Guided rows of `transfer` on the primary metric, of a task or of all."""
        return [row for row in self._treated(task) if not is_rival(row)]

    def rivals(self, task: str | None = None) -> list[Row]:
        """Rows of rivals in `transfer` on the primary metric, of a task or of all."""
        return [row for row in self._treated(task) if is_rival(row)]

    def _treated(self, task: str | None) -> list[Row]:
        return [
            row
            for row in self.rows("transfer")
            if row["primary"] and row["control"] == "none" and task in (None, row["task"])
        ]

    def pairs(self, task: str, target: str) -> pd.DataFrame | None:
        """Rows of `pairs` of a target of a task, on the primary metric; None without any."""
        frame = self.frame("pairs")
        of_target = (frame["task"] == task) & (frame["target"] == target)
        found = frame[of_target & frame["primary"].astype(bool)]
        return found if len(found) else None

    @cached_property
    def tasks(self) -> list[str]:
        """Labels of the study's tasks, in its order."""
        return self.frame("replicates")["task"].drop_duplicates().tolist()

    @cached_property
    def spec_text(self) -> str:
        """The text of the study's spec as the store has it; empty where there is none."""
        return (self.read(SPEC) or b"").decode("utf-8", "replace")

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The study's spec as data; empty where there is none, or it cannot be read."""
        try:
            content = yaml.safe_load(self.spec_text)
        except (yaml.YAMLError, RecursionError):
            return {}
        return content if isinstance(content, Mapping) else {}

    @cached_property
    def question(self) -> str:
        """The question of the study, as its spec begins; empty where it says nothing."""
        return question(self.spec_text)

    @cached_property
    def expected_seconds(self) -> Mapping[str, float]:
        """Training seconds that were expected before training, by replicate id."""
        try:
            content = json.loads(self.read(EXPECTED_SECONDS) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, Mapping) else {}

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata in the file of `replicates`, else in that of the plan."""
        for name in ("replicates.parquet", PLAN):
            data = self.read(name)
            if data is not None:
                raw = (pq.read_schema(pa.BufferReader(data)).metadata or {}).get(METADATA_KEY)
                found: Mapping[str, Any] = json.loads(raw) if raw is not None else {}
                return found
        return {}

    def batches(self, table: str, columns: list[str], each: Callable[[pa.Table], None]) -> None:
        """Pass columns of a table on in parts, texts as dictionaries, so that memory is bounded.

        Raises DamagedFileError where the file is not whole.
        """
        if table in self.made:
            frame = self.made[table][columns]
            if len(frame):
                each(pa.Table.from_pandas(_without_zones(frame), preserve_index=False))
            return
        if not self.has(table):
            return
        filesystem, root = filesystem_of(self.store)
        path = f"{root}/studies/{self.study}/{table}.parquet"
        texts = [field.name for field in schema(table) if pa.types.is_string(field.type)]
        with damage(path, _REMEDY), filesystem.open(path) as file:
            source = pq.ParquetFile(file, read_dictionary=[t for t in texts if t in columns])
            known = [name for name in columns if name in source.schema_arrow.names]
            for group in range(source.num_row_groups):
                each(source.read_row_group(group, columns=known))

    def read(self, name: str) -> bytes | None:
        """A file of the study; None where it has none."""
        return read_file(self.store, self.study, name)

    def check(self) -> None:
        """Raise UserError, with what to do, where the study has no tables to report."""
        if not self.has("transfer") or not self.has("replicates"):
            read(self.store, self.study, "transfer")
            raise UserError(f"study {self.study!r} has no table replicates: {_REMEDY}")


def _without_zones(frame: pd.DataFrame) -> pd.DataFrame:
    zoned = frame.select_dtypes("datetimetz")
    return frame.assign(**{str(name): zoned[name].dt.tz_convert(None) for name in zoned})


def targets_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Each task and target of a table, in its order."""
    found = frame[["task", "target"]].drop_duplicates()
    return [(str(task), str(target)) for task, target in found.itertuples(index=False)]


def condition_of(row: Mapping[str, Any], *without: str) -> tuple[Any, ...]:
    """The columns that describe a row's condition, as a key; nulls are None."""
    columns = (
        "task", "target", "treatment", "guide", "state", "control", "distance", "mapping",
        "schedule",
    )  # fmt: skip
    return tuple(
        row[name] if present(row[name]) else None for name in columns if name not in without
    )

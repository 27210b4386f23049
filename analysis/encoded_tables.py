"""The tables of a study as the content of their files, which are smaller than frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.contract import Status
from analysis.errors import UserError
from analysis.parquet_files import StorePath, checked, contents, damage, decode, metadata_of, read
from analysis.schema import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

    from analysis.collect import Outcome


class _Tables(Mapping[str, "pd.DataFrame"]):
    """Frames by the name of the table; each is made when it is first asked for, and kept."""

    def __init__(self, names: Iterable[str], make: Callable[[str], pd.DataFrame]) -> None:
        self._frames: dict[str, pd.DataFrame | None] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> pd.DataFrame:
        frame = self._frames[name]
        if frame is None:
            frame = self._frames[name] = self._make(name)
        return frame

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, name: object) -> bool:
        return name in self._frames


class EncodedTables(_Tables):
    """Tables as the content of their files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """`files`: content of the tables' files by name; None of them is damaged."""
        super().__init__(files, lambda name: decode(files[name], name, name))
        #: Content of the tables' files, by name.
        self.files = files


class StoredTables(_Tables):
    """Tables of a study in its store."""

    def __init__(self, study: str, store: StorePath, names: Iterable[str]) -> None:
        super().__init__(names, lambda name: read(store, study, name))


def unchanged(study: str, store: StorePath, inputs: str) -> EncodedTables | None:
    """The tables in a store, where all are whole and follow from `inputs`; else None."""
    files = contents(store, study, SCHEMAS)
    try:
        told = {name: checked(content) for name, content in files.items()}
    except (ValueError, OSError, pa.ArrowException):
        return None
    made = {name for name, facts in told.items() if facts.get("inputs") == inputs}
    if not made or any(set(told[name]["made"]) != made for name in made):
        return None
    return EncodedTables({name: files[name] for name in SCHEMAS if name in made})


def num_gone(study: str, store: StorePath, outcomes: Mapping[str, Outcome]) -> int | None:
    """Number of replicates that are gone and that the tables in a store have as finished.

    None where the store has no tables.
    """
    content = contents(store, study, ["replicates"]).get("replicates")
    if content is None:
        return None
    source = f"replicates of study {study!r}"
    try:
        with damage(source, "archprior analyze STUDY writes tables anew"):
            # Two columns of many: the frame is made where somebody asks for it.
            file = pq.ParquetFile(pa.BufferReader(content))
            table = file.read(columns=["replicate_id", "status"], use_threads=False)
        metadata_of(table, source)
        rows = table.select(["replicate_id", "status"]).to_pylist()
    except (UserError, KeyError):
        # Damaged, or of another version: it is made anew.
        return 0
    before = {row["replicate_id"] for row in rows if row["status"] == Status.finished}
    # Of a missing replicate whose guide has failed, nothing is left either.
    left = (Status.missing, Status.blocked)
    return sum(each.status in left and name in before for name, each in outcomes.items())

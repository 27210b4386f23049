"""Rows of an earlier `consistency` table that follow from the same answers: they take longest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from analysis.cells import records
from analysis.code_version import code_version
from analysis.parquet_files import checked, decode

Row = dict[str, object]
#: What a table's file says: digest and number of the rows of each condition, in its order.
GROUPS = "groups"


class KnownRows:
    """Rows by the digest of what they follow from, and those digests of the table that is made.

    Args:
        keys: key of the answers of each replicate; two with one key have the same answers.
        content: that of an earlier table's file; None, or a damaged one, holds nothing.
    """

    def __init__(self, keys: Mapping[str, str], content: bytes | None = None) -> None:
        self._keys = keys
        self._rows: dict[str, list[Row]] = {}
        #: Digest and number of rows of each condition of the new table.
        self.groups: list[tuple[str, int]] = []
        if content is None:
            return
        try:
            groups = checked(content).get(GROUPS, [])
            rows = records(decode(content, "consistency", "consistency"))
        except (ValueError, OSError, pa.ArrowException):
            return
        at = 0
        for digest, number in groups:
            self._rows[digest] = rows[at : at + number]
            at += number

    def digest(self, content: Mapping[str, Any], replicates: Iterable[str | None]) -> str:
        """Digest of a condition and of the answers of all replicates that take part."""
        answers = {name: self._keys.get(name) for name in replicates if name is not None}
        text = json.dumps([code_version(), content, answers], sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def find(self, digest: str) -> list[Row] | None:
        """The earlier rows of this digest."""
        return self._rows.get(digest)

    def note(self, digest: str, rows: list[Row]) -> None:
        """Note the rows of the next condition."""
        self.groups.append((digest, len(rows)))

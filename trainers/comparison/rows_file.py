"""A file of a store that holds the rows of one comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.store.folder import Folder
from trainers.store.tables import Columns, read_rows, rows_table

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class RowsFile:
    """Rows with these columns, in a file of a folder."""

    folder: Folder
    name: str
    columns: Columns

    def read(self) -> Rows | None:
        """The rows that were written; None if there are none, or they are damaged."""
        try:
            return read_rows(self.folder.read(self.name), self.columns)
        except (FileNotFoundError, ValueError):
            return None

    def write(self, rows: Rows) -> Rows:
        """Write rows; returns them as a reader gets them."""
        content = rows_table(rows, self.columns, checksums=True)
        self.folder.write(self.name, content)
        return read_rows(content, self.columns)

"""Texts in the column `text` of Parquet files, and their download from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainers.data import atomic, data_root
from trainers.errors import UserError

COLUMN = "text"


def num_texts(file: Path) -> int:
    """Number of texts in a file, of which only the footer is read; raises UserError as `texts`."""
    import pyarrow.parquet

    with _reading(file), file.open("rb") as opened:
        return int(pyarrow.parquet.read_metadata(opened).num_rows)


def texts(file: Path) -> list[str]:
    """The texts of a file, each with a line end after it.

    Raises UserError if the file is damaged, cannot be read, or has rows without a text.
    """
    import pyarrow.parquet

    with _reading(file):
        column: Any = pyarrow.parquet.read_table(file, columns=[COLUMN])[COLUMN]
    if column.null_count:
        raise UserError(f"{file}: {column.null_count} of {len(column)} rows have no text")
    rows = column.to_pylist()
    return [row if row.endswith("\n") else f"{row}\n" for row in rows]


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    import pyarrow

    try:
        with data_root.reading(file):
            yield
    except pyarrow.ArrowInvalid as error:
        raise UserError(
            f"{file} is no Parquet file with a column text, or is damaged; replace it"
        ) from error


def download(
    repository: str, patterns: Sequence[str], folder: Path, missing: FileNotFoundError
) -> None:
    """Download the files of a hub's data set that match `patterns` into a folder.

    They lie in it by their own names, without the folders of the data set. Raises FileNotFoundError
    that adds the reason to the message of `missing` if the download fails.
    """
    try:
        from huggingface_hub import snapshot_download

        snapshot = snapshot_download(repository, repo_type="dataset", allow_patterns=list(patterns))
        found = {file for pattern in patterns for file in Path(snapshot).glob(pattern)}
        # Validation comes last, so that an incomplete download is not taken for the data set.
        for file in sorted(found):
            with atomic.replaced(folder / file.name) as temporary:
                temporary.write_bytes(file.read_bytes())
    except Exception as error:  # Network libraries raise exceptions of many kinds.
        raise FileNotFoundError(f"{missing}; it could not be downloaded: {error}") from error

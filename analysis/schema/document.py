"""The part of docs/tables.md that lists every column, written from the schemas.

    python -m analysis.schema.document [PAGE]

writes it anew after the mark in the page; what stands before the mark is written by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analysis.schema import SCHEMAS, describe
from analysis.schema.about import about

MARK = "<!-- From here on written by `python -m analysis.schema.document`: change the schemas. -->"
PAGE = Path("docs/tables.md")


def page(current: str) -> str:
    """The page with the descriptions of all tables after the mark.

    Raises ValueError where it has no mark.
    """
    before, mark, _ = current.partition(MARK)
    if not mark:
        raise ValueError(f"the page has no line {MARK}")
    return "\n\n".join([before + mark, *map(section, SCHEMAS)]) + "\n"


def section(table: str) -> str:
    """The heading of a table, what its rows are, and a line for each column."""
    columns = "\n".join(
        f"- `{column}` ({kind}): {description}"
        for column, kind, _, description in describe(table).itertuples(index=False)
    )
    return f"### `{table}.parquet`\n\n{about(table)}\n\n{columns}"


def main(arguments: list[str]) -> None:
    """Write the page named first, or docs/tables.md."""
    path = Path(arguments[0]) if arguments else PAGE
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

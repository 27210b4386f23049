"""A Sphinx extension: reports of the studies whose tables are in docs/, and a page that lists them.

A study is a folder of tables, as a store has it at studies/<study>: `replicates.parquet`,
`transfer.parquet`, whatever other tables it has, and `spec.yaml` with its question.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError
from sphinx.util.logging import getLogger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.util.typing import ExtensionMetadata

    from analysis.report import StudyTables

#: Folders of docs/ that hold studies.
PLACES = ("examples", "reproduction")


def studies(docs: Path) -> dict[str, Path]:
    """Folders of the studies by name, in order; raises ExtensionError for a name met twice."""
    found: dict[str, Path] = {}
    tables = [path for place in PLACES for path in docs.glob(f"{place}/*/transfer.parquet")]
    for folder in sorted({path.parent for path in tables}, key=lambda path: path.name):
        other = found.setdefault(folder.name, folder)
        if other != folder:
            raise ExtensionError(f"study {folder.name!r} is in {other} and in {folder}")
    return found


def entry(tables: StudyTables) -> Iterator[str]:
    """The lines of a study: its question, what came out in sentences, its report and tables."""
    from analysis.markdown import escape
    from analysis.report.claims import most_telling
    from analysis.sentences import sentences

    place = f"studies/{tables.study}"
    yield from (f"## {tables.study}", "", escape(tables.question), "")
    rows = most_telling(tables.guided())
    yield from (f"- {escape(text)}" for text in sentences(rows))
    rules = [row for row in tables.rows("expectations") if row["place"].startswith("expect")]
    if rules:
        holding = sum(bool(row["holds"]) for row in rules)
        yield from ("", f"{holding} of {len(rules)} rules of its spec hold.")
    yield from ("", f"**[The report of {tables.study}]({place}/report.html){{.external}}**", "")
    files = ", ".join(f"[`{name}`]({place}/{name}){{.external}}" for name in tables.files)
    yield from (f"Its files: {files}.", "")


def write(app: Sphinx, _config: Config) -> None:
    """Write the reports, and the list that docs/examples.md includes."""
    from analysis import report

    generated = app.srcdir / "generated"
    store, parts = generated / "files", generated / "parts"
    shutil.rmtree(store, ignore_errors=True)
    parts.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for name, folder in studies(Path(app.srcdir)).items():
        getLogger(__name__).info("report of %s", name)
        shutil.copytree(folder, store / "studies" / name)
        tables = report.StudyTables(name, store)
        report.save(tables)
        lines += entry(tables)
    (parts / "examples.md").write_text("\n".join(lines), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register with Sphinx."""
    app.connect("config-inited", write)
    return {"parallel_read_safe": True}

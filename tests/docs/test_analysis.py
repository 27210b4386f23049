"""The page on analysis and its notebook: the examples hold, and both are the same."""

from __future__ import annotations

import doctest
from pathlib import Path

import nbformat
import pytest

from tests.helpers import notebook


def test_the_examples_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notebook.PAGE.parent)
    failed, tried = doctest.testfile(
        str(notebook.PAGE), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert tried > 20
    assert failed == 0


def test_the_notebook_is_the_page() -> None:
    kept = nbformat.read(notebook.NOTEBOOK, as_version=4)
    expected = notebook.made(notebook.PAGE.read_text(encoding="utf-8"))
    assert [(c.cell_type, c.source) for c in kept.cells] == [
        (c.cell_type, c.source) for c in expected.cells
    ], "run python -m tests.helpers.notebook"


def test_the_figure_of_the_readme_is_drawn_from_the_example() -> None:
    assert notebook.figure() == notebook.FIGURE.read_bytes(), "run python -m tests.helpers.notebook"


def outputs(cells: list[nbformat.NotebookNode]) -> list[list[tuple[str, str | None]]]:
    """Text of each output, and whether there is a picture."""
    return [
        [
            (each.get("text") or each["data"]["text/plain"],
             "picture" if "image/svg+xml" in each.get("data", {}) else None)
            for each in cell.outputs
        ]
        for cell in cells if cell.cell_type == "code"
    ]  # fmt: skip


@pytest.mark.processes
def test_the_notebook_runs_to_what_it_shows() -> None:
    kept = nbformat.read(notebook.NOTEBOOK, as_version=4)
    again = notebook.run(notebook.made(notebook.PAGE.read_text(encoding="utf-8")))
    assert outputs(again.cells) == outputs(kept.cells)
    pictures = [each for cell in outputs(kept.cells) for each in cell if each[1]]
    assert len(pictures) == 5
    assert Path(notebook.NOTEBOOK).stat().st_size < 600_000

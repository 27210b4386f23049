"""The notebook docs/analysis.ipynb, made of the page docs/analysis.md and run; README's figure.

    python -m tests.helpers.notebook

writes both anew, from the tables in docs/examples.

Text of the page becomes text, each block of examples a cell of code, other blocks text.
"""

from __future__ import annotations

import doctest
import os
import re
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

from analysis import plots

ROOT = Path(__file__).parents[2]
PAGE, NOTEBOOK = ROOT / "docs" / "analysis.md", ROOT / "docs" / "analysis.ipynb"
FIGURE = ROOT / "docs" / "figures" / "quickstart.svg"
EXAMPLES = ROOT / "docs" / "examples" / "quickstart"

_EXAMPLES = re.compile(r"^```python\n(>>> .*?)^```\n", re.M | re.S)
_PICTURE = re.compile(r'plots\.svg\(.*"(\w+)"\)$', re.S)
_TO_ITSELF = re.compile(r" It is a\nnotebook, too: .*? with its figures\.", re.S)


def made(page: str) -> NotebookNode:
    """The notebook of a page, not run."""
    text, *rest = _EXAMPLES.split(_TO_ITSELF.sub("", page))
    cells = [v4.new_markdown_cell(text.strip())]
    for code, following in zip(rest[::2], rest[1::2], strict=True):
        cells.append(v4.new_code_cell(source(code), metadata=_described(source(code))))
        if following.strip():
            cells.append(v4.new_markdown_cell(following.strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _described(code: str) -> dict[str, object]:
    """Metadata of a cell, by which the documentation's site names its picture, if it has one."""
    picture = _PICTURE.search(code)
    return {} if picture is None else {"mystnb": {"image": {"alt": f"Figure: {picture[1]}"}}}


def source(examples: str) -> str:
    """The code of examples as it would be typed."""
    return "".join(each.source for each in doctest.DocTestParser().get_examples(examples)).rstrip()


def run(notebook: NotebookNode) -> NotebookNode:
    """Run a notebook in the folder of the page, and drop what differs between two runs."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(PAGE.parent)}},
    )  # fmt: skip
    client.execute(env=os.environ | {"PYTHONPATH": path})
    notebook["metadata"].pop("language_info", None)
    return notebook


def figure() -> bytes:
    """README's figure: effects in the quickstart's digits, each seed a dot."""
    drawn = plots.study_figure(
        "forest",
        lambda table: pd.read_parquet(EXAMPLES / f"{table}.parquet"),
        plots.Choice(task="translated_digits"),
    )
    return plots.encoded(drawn, ".svg", name="quickstart: forest")


def main() -> None:
    """Write the notebook and the figure anew."""
    FIGURE.write_bytes(figure())
    nbformat.write(run(made(PAGE.read_text(encoding="utf-8"))), NOTEBOOK)


if __name__ == "__main__":
    main()

"""Docstrings begin with their subject."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: First words of docstrings that have no subject.
REFUSED = {"What", "Of"}


def first_words(source: str) -> dict[str, str]:
    """First word of each docstring in a file, by the name of what it documents and its line."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            name = f"{getattr(node, 'name', 'module')}, line {getattr(node, 'lineno', 1)}"
            if text:
                found[name] = text.split()[0].strip(".,:;")
    return found


def test_first_words_are_found() -> None:
    source = '"""What it is."""\nclass A:\n    """A."""\n    def f(self):\n        """Of it."""\n'
    words = {"module, line 1": "What", "A, line 2": "A", "f, line 4": "Of"}
    assert first_words(source) == words


@pytest.mark.parametrize("package", ["trainers", "study", "analysis"])
def test_docstrings_begin_with_their_subject(package: str) -> None:
    refused = [
        f"{path.relative_to(ROOT)}: {name}: {word}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, word in first_words(path.read_text()).items()
        if word in REFUSED
    ]
    assert refused == []

"""Files and functions are short enough to be read in one look."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("study", "trainers", "analysis", "tests")
MAX_LINES_OF_FILE = 400
#: Those of signature and docstring included.
MAX_LINES_OF_FUNCTION = 50
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function, method and function within another."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_lines_of_functions_are_counted_anywhere() -> None:
    source = """
class A:
    @property
    def a(
        self,
    ) -> int:
        '''Say one.'''
        async def b(): return 1

        return b

"""
    assert set(functions(source)) == {("a", 7), ("b", 1)}


def test_no_file_is_long() -> None:
    lines = {name: source.count("\n") for name, source in FILES.items()}
    assert {name: n for name, n in lines.items() if n > MAX_LINES_OF_FILE} == {}


def test_no_function_is_long() -> None:
    long = {
        f"{name}: {function}": n
        for name, source in FILES.items()
        for function, n in functions(source)
        if n > MAX_LINES_OF_FUNCTION
    }
    assert long == {}

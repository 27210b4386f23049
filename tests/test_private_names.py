"""Tests reach into no private name: they use what users of a module use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Names that Python documents with their underscore.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_make", "_replace"}
#: Functions that take names as strings.
BY_NAME = {"delattr", "getattr", "hasattr", "object", "patch", "setattr"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in {"_", *DOCUMENTED}


def defined(tree: ast.AST) -> Iterator[str]:
    """Names that a file defines itself, attributes of `self` among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) == "self" else []


def is_part(module: str, package: str) -> bool:
    """Whether a module is a file of a package: `_x.py` holds what entries of the package share."""
    path = TESTS.parent.joinpath(*module.split(".")).with_suffix(".py")
    return path.is_file() and module.rpartition(".")[0] == package


def used(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and name of what may be private; a file of `package` is not, to tests of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            # `super()` has what a class of a module defines, whatever a test's class defines too.
            inherited = ast.unparse(node.value) == "super()"
            yield node.lineno, f"super().{node.attr}" if inherited else node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            source = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if not is_part(f"{source}{alias.name}", package):
                    whole = alias.name if is_part(source[:-1], package) else source + alias.name
                    yield from ((node.lineno, part) for part in whole.split("."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_NAME:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from ((node.lineno, part) for part in argument.value.split("."))


def foreign(source: str, package: str = "") -> list[tuple[int, str]]:
    """Line and name of what is private to another module than that of `source`."""
    tree = ast.parse(source)
    own = set(defined(tree))
    return [
        (line, name)
        for line, name in used(tree, package)
        if private(name.removeprefix("super().")) and name not in own
    ]


@pytest.mark.parametrize(
    "line",
    [
        "module._x",
        "thing.part._x()",
        "from module import _x",
        "from module._x import y",
        "import module._x",
        'monkeypatch.setattr(module, "_x", 1)',
        'monkeypatch.setattr("module._x", 1)',
        'patch.object(Thing, "_x")',
        'getattr(thing, "_x")',
        "class A(B):\n    def f(self): return self._x",
        "class A(B):\n    def _x(self): return super()._x()",
        "thing._x = 1",
    ],
)
def test_private_names_are_found(line: str) -> None:
    assert [name.removeprefix("super().") for _, name in foreign(line)] == ["_x"]


@pytest.mark.parametrize(
    "line",
    [
        "class A:\n    def __init__(self): self._x = 1\n    def f(self, other): return other._x",
        "def _x(): pass\npatch.object(here, '_x')",
        "point._replace(value=1)",
        "from __future__ import annotations",
        "thing.__dict__",
        "for _ in x: print(_)",
        "column = '_low'",
    ],
)
def test_a_test_may_have_private_names_of_its_own(line: str) -> None:
    assert foreign(line) == []


def test_parts_of_a_package_are_for_its_tests() -> None:
    line = "from trainers.tasks._text import TextTask"
    assert foreign(line, "trainers.tasks") == []
    assert foreign(line, "trainers.data") == [(1, "_text")]
    assert foreign("from trainers.tasks._text import _DIGEST_LENGTH", "trainers.tasks") == [
        (1, "_DIGEST_LENGTH")
    ]


def test_tests_reach_into_no_private_name() -> None:
    found = [
        f"{path.relative_to(TESTS.parent)}:{line}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in foreign(
            path.read_text(encoding="utf-8"), ".".join(path.relative_to(TESTS).parent.parts)
        )
    ]
    assert found == []

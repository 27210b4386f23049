"""Packages depend one way, and training needs PyTorch alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("trainers", "study", "analysis")
#: What a package must not import, but in the files named.
FORBIDDEN: dict[str, dict[str, set[str]]] = {
    "trainers": {
        "study": set(),
        "analysis": set(),
        "mlflow": set(),
        "pydantic": set(),
        "pandas": set(),
        "ray": {"trainers/ray_worker.py"},
    },
    "study": {},
    "analysis": {"trainers": set(), "study": set(), "ray": set(), "torch": set()},
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(source: str) -> Iterator[str]:
    """Top-level packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield str(argument.value).partition(".")[0]


def test_imports_are_found_anywhere() -> None:
    source = """
import a.b
def f():
    from c.d import e
    importlib.import_module("g.h")
if TYPE_CHECKING:
    import i
"""
    assert set(imports(source)) == {"a", "c", "g", "i"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layering(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    forbidden = FORBIDDEN[name.partition("/")[0]]
    found = set(imports(path.read_text()))
    assert {other for other in found & forbidden.keys() if name not in forbidden[other]} == set()


def import_without(blocked: list[str], statement: str) -> None:
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
{statement}
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_import_blocker_blocks() -> None:
    with pytest.raises(AssertionError, match="blocked: json"):
        import_without(["json"], "import json.decoder")


def test_trainers_need_pytorch_alone() -> None:
    statement = """
import trainers, trainers.loop, trainers.distances, trainers.comparison
from trainers.architectures import ARCHITECTURES
from trainers.distances import DISTANCES
from trainers.measures import MEASURES
from trainers.tasks import TASKS
for registry in (ARCHITECTURES, DISTANCES, MEASURES, TASKS):
    assert registry.names()
"""
    import_without(
        ["ray", "mlflow", "pydantic", "pandas", "pyarrow", "sklearn", "scipy"], statement
    )


def test_the_package_is_imported_without_pytorch() -> None:
    import_without(["torch"], "import trainers")

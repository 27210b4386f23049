"""The house: which room may import which, as data; no circles; PyTorch alone for training."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("trainers", "study", "analysis")
#: Rooms from the top down: each may import those of its own and of later lines. A file of a package
#: that is in no folder is a room of its own; `__init__` and `__main__` may import all.
LAYERS: dict[str, list[set[str]]] = {
    "trainers": [
        {"testing"},
        {"trial"},
        {"comparison"},
        {"cost"},
        {"training"},
        {"controls", "rivals"},
        {"guides"},
        {"store"},
        {"conditions", "extensions"},
        {"architectures", "measures", "mappings"},
        {"tasks", "distances"},
        {"data", "runtime"},
        {"registry", "parallel"},
        {"messages"},
        {"options"},
        {"errors", "secrets"},
    ],
    "study": [
        {"cli"},
        {"waste"},
        {"advice", "confirm", "bundle", "cluster"},
        {"study"},
        {"run"},
        {"tracking"},
        {"plan"},
        {"search"},
        {"spec"},
        {"errors"},
    ],
    "analysis": [
        {"report"},
        {"tables"},
        {"listing"},
        {"study_run"},
        {"to_mlflow"},
        {"plots", "publication", "study_note", "saved_view", "encoded_tables", "large_tables"},
        {"from_store", "from_mlflow"},
        {"artifacts"},
        {"collect"},
        {"confirmation"},
        {"sentences"},
        {"comparison_page"},
        {"comparison"},
        {
            "transfer",
            "priors",
            "dials",
            "pairs",
            "consistency",
            "guide_similarity",
            "predictors",
            "trainability",
            "expectations",
        },
        {"verdicts", "failures", "search"},
        {"baselines"},
        {"plan_file"},
        {"store_files"},
        {"cells", "guidance_health", "learning_curves", "parquet_files", "two_way"},
        {"answers", "equivalence", "measured"},
        {"schema", "statistics", "database", "replicate_rows"},
        {"hints"},
        {
            "alignment_rows",
            "code_version",
            "names",
            "metric_names",
            "markdown",
            "short_labels",
            "quantities",
            "questions",
            "servers",
            "verdict_words",
        },
        {"mixture_labels"},
        {"contract", "errors"},
    ],
}
#: Modules of which every package may import: they import the standard library alone.
SHARED = {"trainers.secrets"}
#: What a package imports of the others, and of these libraries only in the files named.
OTHERS: dict[str, dict[str, set[str]]] = {
    "trainers": {
        "study": set(),
        "analysis": set(),
        "mlflow": set(),
        "pydantic": set(),
        "pandas": set(),
        "ray": {f"trainers/trial/ray_{name}.py" for name in ("failures", "trainer", "worker")},
    },
    "study": {},
    "analysis": {"trainers": set(), "study": set(), "ray": set(), "torch": set()},
}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(source: str) -> Iterator[str]:
    """Modules that a file imports, wherever in it; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield str(argument.value)


EDGES = {
    module: {name for name in imports(path.read_text()) if name != module}
    for module, path in FILES.items()
}


def layer(module: str) -> int:
    """How far down a module is in its package; -1 for what may import all of it."""
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if room in ("", "__main__"):
        return -1
    found = [number for number, rooms in enumerate(LAYERS[package]) if room in rooms]
    assert found, f"{module} is in no room of the layers"
    return found[0]


def test_imports_are_found_anywhere() -> None:
    source = """
import a.b
def f():
    from c.d import e
    importlib.import_module("g.h")
if TYPE_CHECKING:
    import i
"""
    assert set(imports(source)) == {"a.b", "c.d", "g.h", "i"}


def test_every_import_points_down() -> None:
    wrong = [
        f"{module} -> {other}"
        for module, others in EDGES.items()
        for other in others & FILES.keys()
        if module.partition(".")[0] == other.partition(".")[0] and layer(module) > layer(other) >= 0
    ]
    assert wrong == []


def test_only_tests_use_contracts() -> None:
    users = {
        module for module, others in EDGES.items()
        if not module.startswith("trainers.testing")
        and any(other.startswith("trainers.testing") for other in others)
    }  # fmt: skip
    assert users == set()


def test_there_are_no_circles() -> None:
    graph = {module: others & FILES.keys() for module, others in EDGES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_packages_and_libraries_keep_apart() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {top}"
        for module, path in FILES.items()
        for top, allowed in OTHERS[module.partition(".")[0]].items()
        if top in {other.partition(".")[0] for other in EDGES[module] - SHARED}
        and path.relative_to(ROOT).as_posix() not in allowed
    ]
    assert wrong == []


def test_what_all_packages_share_brings_nothing_along() -> None:
    needed = {other.partition(".")[0] for module in SHARED for other in EDGES[module]}
    assert needed <= sys.stdlib_module_names


def test_no_room_is_a_heap() -> None:
    """A stranger finds the room of a line in one look: there are few loose files."""
    loose = {
        package: sum(module.count(".") == 1 and path.stem != "__init__" for module, path in
                     FILES.items() if module.startswith(f"{package}."))
        for package in ("trainers", "study")
    }  # fmt: skip
    assert max(loose.values()) <= 8, loose


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
import trainers, trainers.training.train, trainers.distances, trainers.comparison, trainers.testing
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

"""The files of docs/extending.md inside the package: they register, plan and train as they stand.

That they do so outside of it, as the page has it, is tests/end_to_end/test_tutorial.py.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import trainers
from study.study import Study
from tests.helpers.conditions import guidance_of
from tests.helpers.registries import restored
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.registries import CONTROLS
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.registry import Registry
from trainers.tasks import TASKS

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"
FILE = re.compile(r"^## An? (\w+): `my_priors/(\w+)\.py`\n\n```python\n(.*?)^```$", re.M | re.S)
FOLDERS = {
    "architecture": "architectures",
    "task": "tasks",
    "distance": "distances",
    "control": "controls",
}
REGISTRIES: dict[str, Registry[Any]] = {
    "architectures": ARCHITECTURES,
    "tasks": TASKS,
    "distances": DISTANCES,
    "controls": CONTROLS,
}
FILES = {FOLDERS[kind]: (name, code) for kind, name, code in FILE.findall(PAGE.read_text("utf-8"))}


@contextmanager
def added(folder: Path) -> Iterator[None]:
    """Load every file of the page; afterwards the registries are what they were."""
    with restored():
        for package, (name, code) in FILES.items():
            file = folder / f"{name}.py"
            file.write_text(code, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(f"trainers.{package}.{name}", file)
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        yield


@pytest.fixture
def files(tmp_path: Path) -> Iterator[None]:
    with added(tmp_path):
        yield


def component(package: str, **options: Any) -> Any:
    return REGISTRIES[package].component(FILES[package][0], **options)


def trained(**parts: Any) -> dict[str, float]:
    """Final metrics after two steps on small networks; `parts` replace those of the default."""
    target = parts.get("target", ARCHITECTURES.component("fcn", depth=2, width=8))
    guide = parts.get("guide", ARCHITECTURES.component("resnet2d", width=2, blocks=1))
    condition = Condition(
        task=parts.get("task", TASKS.component("translated_digits", places=1)),
        target=target,
        train=TrainSettings(steps=2, batch_size=20),
        treatment=guidance_of(
            guide=Guide(architecture=guide, state="untrained", batch_norm="calibrated"),
            distance=parts.get("distance", DISTANCES.component("linear_cka")),
            control=parts.get("control", CONTROLS.component("none")),
        ),
    )
    result = trainers.train(condition, report=lambda _payload: None)
    assert result.steps == 2
    last = {point.metric: point.value for point in result.history.points if point.step == 2}
    return last | {f"test/{name}": value for name, value in result.metrics.items()}


def test_every_kind_has_a_file() -> None:
    assert FILES.keys() == REGISTRIES.keys()


def test_what_was_added_is_gone_afterwards(tmp_path: Path) -> None:
    before = [registry.names() for registry in REGISTRIES.values()]
    with added(tmp_path):
        for package, registry in REGISTRIES.items():
            assert FILES[package][0] in registry.names()
    assert [registry.names() for registry in REGISTRIES.values()] == before


@pytest.mark.usefixtures("files")
def test_entries_say_what_they_are() -> None:
    for package, registry in REGISTRIES.items():
        entry = registry[FILES[package][0]]
        assert (entry.version, bool(entry.summary)) == (1, True)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("package", "part"),
    [
        ("architectures", "target"),
        ("architectures", "guide"),
        ("tasks", "task"),
        ("distances", "distance"),
        ("controls", "control"),
    ],
)
def test_each_file_trains(package: str, part: str) -> None:
    metrics = trained(**{part: component(package)})
    assert metrics["train/distance"] > 0
    assert all(math.isfinite(value) for value in metrics.values())
    assert 0 <= metrics["test/accuracy"] <= 1


@pytest.mark.usefixtures("files")
def test_a_spec_may_name_them() -> None:
    names = {package: name for package, (name, _) in FILES.items()}
    study = Study(
        name="new",
        task=names["tasks"],
        targets=[{"name": names["architectures"], "depth": [1, 2]}],
        guides="resnet2d",
        controls=names["controls"],
        states="untrained",
        distances=names["distances"],
        seeds=1,
        train={"steps": 2},
    )
    labels = [planned.labels for planned in study.plan().conditions]
    guided = [row for row in labels if row["control"] == "none"]
    assert [row["target"] for row in guided] == [
        f"{names['architectures']}(depth={n})" for n in (1, 2)
    ]
    assert {row["distance"] for row in guided} == {names["distances"]}
    assert {row["control"] for row in labels} == {None, "none", names["controls"]}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("package", "option"), [("architectures", "depth"), ("tasks", "size")])
def test_bad_options_are_refused(package: str, option: str) -> None:
    entry = REGISTRIES[package][FILES[package][0]]
    spec = tasks.build(TASKS.component("translated_digits"))
    arguments = (spec.input, spec.output) if package == "architectures" else ()
    with pytest.raises(ValueError, match=f"{option}.* 0"):
        entry.factory(*arguments, **{option: 0})

"""The specs in the documentation are good, and its tables of keys say what the code says."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.plan.build import Plan
from study.spec import strict_yaml
from study.spec.read import Block, Resources, Spec, read
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITING = ROOT / "docs" / "writing-a-study.md"
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| ", re.M)


def blocks(page: Path) -> list[str]:
    return YAML.findall(page.read_text(encoding="utf-8"))


SPECS = [
    pytest.param(text, id=f"{page.name}-{index}")
    for page in PAGES
    for index, text in enumerate(blocks(page))
    if text.startswith("name:")
    # With modules beside them: see tests/end_to_end/test_tutorial.py.
    and "\nimports:" not in text
]


def section(heading: str) -> dict[str, str]:
    """Key to default, as the table that follows `heading` has them."""
    text = WRITING.read_text(encoding="utf-8")
    table = text.split(f"\n{heading}", 1)[1].split("\n\n", 2)[1]
    return {key: default.strip("`") for key, default in ROW.findall(table)}


def test_pages_have_examples() -> None:
    for name in ("README.md", "writing-a-study.md"):
        assert any(str(spec.id).startswith(name) for spec in SPECS), name
    assert all(text.startswith("name:") for text in blocks(WRITING))


@pytest.mark.parametrize("text", SPECS)
def test_spec_is_good_and_plans(text: str) -> None:
    plan = Plan(read(strict_yaml.parse(text, "example")))
    roles = {planned.condition.role for planned in plan.conditions}
    assert {"guide", "baseline", "guided"} <= roles


def test_table_of_the_top_level() -> None:
    assert section("At the top level").keys() | {"blocks"} == {*Spec.model_fields, "grids"}


def _plain(block: Block) -> Block:
    """With the schedules that its entries stand for: a default may be given or not."""
    return block.model_copy(update={"schedule": [entry.points for entry in block.schedule]})


def test_table_of_a_block() -> None:
    documented = section("In a block")
    assert documented.keys() == {*Block.model_fields, "axes"}
    least: dict[str, Any] = {"task": "mnist1d", "targets": "fcn"}
    assert {key for key, default in documented.items() if default == "required"} == least.keys()
    # Guidance or a rival is needed, too, and a length of the training.
    least |= {"guides": "cnn1d", "train": {"steps": 1}}
    as_it_is = Block.model_validate(least)
    for key in documented.keys() - least.keys() - {"axes"}:
        given = Block.model_validate(least | {key: yaml.safe_load(documented[key])})
        assert _plain(given) == _plain(as_it_is), key


@pytest.mark.parametrize(
    ("heading", "config"), [("In `schedule`", Schedule), ("In `train`", TrainSettings)]
)
def test_table_of_settings(heading: str, config: Any) -> None:
    defaults = {item.name: item.default for item in fields(config)}
    assert MISSING not in defaults.values()
    documented = {key: yaml.safe_load(value) for key, value in section(heading).items()}
    assert documented == defaults


def test_table_of_resources() -> None:
    documented = {key: yaml.safe_load(value) for key, value in section("In `resources`").items()}
    assert documented == Resources().model_dump()

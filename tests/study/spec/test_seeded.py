"""A spec at other seeds: everywhere, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from study.spec.read import read
from study.spec.seeded import at_seeds, tuning_seeds

SPEC: dict[str, Any] = {
    "name": "a",
    "task": "translated_digits",
    "targets": "fcn",
    "guides": "resnet2d",
    "seeds": 5,
    "train": {"steps": 1},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seeds": [7, 8]},
        {"grids": [{"seeds": 2}, {"train": {"steps": 2}}]},
        {"axes": {"seeds": [[0], [1, 2]], "train.lr": [0.1, 0.2]}},
        {"axes": {"seeds": [[0], [1, 2]]}},
        {"grids": [{"axes": {"seeds": [[0], [4]], "train.lr": [0.1]}}]},
    ],
)
def test_every_block_has_these_seeds_alone(changes: dict[str, Any]) -> None:
    content = SPEC | changes
    before = copy.deepcopy(content)
    found = read(at_seeds(content, "b", (3, 4)))
    assert content == before
    assert found.name == "b"
    assert [block.seeds for block in found.blocks] == [[3, 4]] * len(found.blocks)
    settings = {block.model_copy(update={"seeds": []}).model_dump_json() for block in found.blocks}
    assert settings == {
        block.model_copy(update={"seeds": []}).model_dump_json() for block in read(content).blocks
    }


def test_tuning_seeds() -> None:
    search = {"seeds": [100, 101]}
    assert tuning_seeds(SPEC) == set()
    assert tuning_seeds(SPEC | {"search": search}) == {100, 101}
    assert tuning_seeds(SPEC | {"grids": [{}, {"search": search}]}) == {100, 101}

"""Conditions that a replicate keeps, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study import Study
from trainers.conditions.encoding import to_json
from trainers.store.store import CorruptError, Store


@pytest.mark.parametrize("state", [None, "untrained"])
def test_a_guide_that_contradicts_its_state_is_damage(tmp_path: Path, state: str | None) -> None:
    """Found by the fuzzer: a whole JSON file of something that no condition can be."""
    replicate = Store(tmp_path).replicate("0" * 16)
    plan = Study(
        name="a", task="digits", targets="fcn", guides="resnet2d", train={"steps": 1}
    ).plan()
    guided = next(r for r in plan.replicates if r.condition.role == "guided")
    content: dict[str, Any] = to_json(guided.condition)
    text = json.dumps(content).replace('"state": "trained"', f'"state": {json.dumps(state)}')
    assert text != json.dumps(content)
    replicate.folder.write("condition.json", text.encode())
    with pytest.raises(CorruptError, match=r"condition\.json is damaged"):
        replicate.condition()

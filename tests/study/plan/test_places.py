"""Parts that do not fit are named with the spec and their place in it, as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study import Study
from study.spec.read import SpecError

SPEC: dict[str, Any] = {
    "name": "places",
    "task": "mnist1d",
    "targets": ["fcn"],
    "guides": ["cnn1d"],
    "states": "untrained",
    "controls": [],
    "seeds": 1,
    "train": {"steps": 2},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ["fcn", {"name": "fcn", "depth": -2}]}, "targets[1]: architecture fcn: "),
        ({"targets": {"name": "fcn", "depth": -2}}, "targets: architecture fcn: "),
        (
            {"guides": ["cnn1d", "transformer"]},
            "guides[1]: architecture 'transformer' takes tokens ",
        ),
        ({"grids": [{}, {"targets": ["transformer"]}]}, "grids[1].targets[0]: architecture "),
        (
            {"mapping": {"name": "explicit", "pairs": {"stem": "hidden.layer1"}}},
            "mapping: unknown guide tap in mapping explicit: 'stem'",
        ),
        ({"task": {"name": "mnist1d", "train_size": -3}}, "task: "),
        ({"resources": {"workers": 9000}}, "train.batch_size: "),
    ],
)
def test_file_and_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "places.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    with pytest.raises(SpecError) as caught:
        Study.load(path).plan()
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_spec_in_python_is_called_spec() -> None:
    with pytest.raises(SpecError, match=r"^spec: targets\[0\]: architecture fcn: "):
        Study(**SPEC | {"targets": [{"name": "fcn", "depth": -2}]}).plan()


def test_what_is_tried_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Study(**SPEC).validate()
    assert capsys.readouterr().err == "checking 2 networks and 1 task ...\n"

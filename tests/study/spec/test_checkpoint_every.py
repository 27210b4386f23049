"""How often checkpoints are written: a key of the spec, and in no id."""

from __future__ import annotations

from typing import Any

import pytest

from study import Study
from study.errors import SpecError
from trainers.store.checkpoint import CheckpointEvery

SPEC: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "translated_digits", "places": 1},
    "targets": {"name": "fcn", "depth": 2, "width": 8},
    "guides": {"name": "resnet2d", "width": 2, "blocks": 1},
    "controls": [],
    "seeds": 1,
    "train": {"steps": 4},
}


def test_it_is_in_no_id() -> None:
    ids = [replicate.id for replicate in Study(**SPEC).plan().replicates]
    for setting in ({"steps": 2}, {"seconds": 1.5}, {}):
        study = Study(**SPEC, checkpoint_every=setting)
        assert [replicate.id for replicate in study.plan().replicates] == ids
        assert study.spec.checkpoint_every.value == CheckpointEvery(**setting)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"steps": 0}, "checkpoint_every.steps: Input should be greater than or equal to 1"),
        ({"seconds": "soon"}, "checkpoint_every.seconds: .*got 'soon'"),
        ({"steps": 1, "seconds": 1}, "checkpoint_every: give steps or seconds, not both"),
        ({"minutes": 1}, "checkpoint_every.minutes: .*minutes"),
        (5, "checkpoint_every: give a mapping of keys to values"),
    ],
)
def test_what_it_may_be(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Study(**SPEC, checkpoint_every=value)

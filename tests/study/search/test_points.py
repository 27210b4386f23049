"""Points in conditions."""

from __future__ import annotations

from typing import Any

import pytest

from study.search import points
from tests.helpers.plans import plan_of
from trainers.conditions.condition import Condition


def condition(role: str, **changes: Any) -> Condition:
    found = (planned.condition for planned in plan_of(**changes).conditions)
    return next(each for each in found if each.role == role)


#: Keys of a spec with their values, and the same written into the spec.
POINTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"train.lr": 0.5}, {"train": {"epochs": 2, "lr": 0.5}}),
    ({"train.lr": 1}, {"train": {"epochs": 2, "lr": 1}}),
    ({"train.steps": 7}, {"train": {"steps": 7}}),
    ({"targets.dropout": 0.1}, {"targets": [{"name": "fcn", "dropout": 0.1}]}),
    (
        {"targets.depth": 3, "targets.width": 8, "train.weight_decay": 0.1},
        {
            "targets": [{"name": "fcn", "depth": 3, "width": 8}],
            "train": {"epochs": 2, "weight_decay": 0.1},
        },
    ),
]
GUIDED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"schedule.alpha": 3}, {"schedule": {"alpha": 3}}),
    ({"schedule.stop_step": None}, {}),
    (
        {"schedule.every": 8, "schedule.scale_alpha": True},
        {"schedule": {"every": 8, "scale_alpha": True}},
    ),
    (
        {"schedule.alpha": 3.0, "schedule.stop_step": 9},
        {"schedule": {"alpha": 3, "stop_step": 9}},
    ),
    ({"schedule.align_first.steps": 5}, {"schedule": {"align_first": {"steps": 5}}}),
    ({"distances.unbiased": True}, {"distances": [{"name": "linear_cka", "unbiased": True}]}),
]


@pytest.mark.parametrize(("point", "written"), POINTS)
@pytest.mark.parametrize("role", ["baseline", "guided", "control"])
def test_a_point_is_the_same_as_the_spec_with_its_values(
    role: str, point: dict[str, Any], written: dict[str, Any]
) -> None:
    guides = {"states": "untrained"}
    plain, wanted = condition(role, **guides), condition(role, **guides, **written)
    assert points.applied(plain, point) == wanted


@pytest.mark.parametrize(("point", "written"), GUIDED)
@pytest.mark.parametrize("role", ["guided", "control"])
def test_so_is_one_with_keys_of_guidance(
    role: str, point: dict[str, Any], written: dict[str, Any]
) -> None:
    assert points.applied(condition(role), point) == condition(role, **written)


def test_the_guide_keeps_the_settings_of_the_spec() -> None:
    plain = condition("guided", states="trained")
    tuned = points.applied(plain, {"train.lr": 0.5, "targets.dropout": 0.1})
    assert tuned.guide_conditions == plain.guide_conditions
    assert [guide.train.lr for guide in tuned.guide_conditions] == [1e-3]


def test_values_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="align_first"):
        points.applied(
            condition("guided"), {"schedule.align_first.steps": 5, "schedule.stop_step": 2}
        )


def test_a_point_is_json() -> None:
    assert points.encoded({"train.lr": 1e-05, "schedule.stop_step": None}) == (
        '{"train.lr": 1e-05, "schedule.stop_step": null}'
    )

"""Conditions by name are those that a study plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import Study
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.training.named import condition, seed
from trainers.training.train import train

PARTS: dict[str, Any] = {
    "task": {"name": "translated_digits", "places": 1},
    "train": {"steps": 4, "lr": 1e-2},
}
FCN = {"name": "fcn", "depth": 2, "width": 8}
RESNET = {"name": "resnet2d", "width": 2, "blocks": 1}


def planned(**changes: Any) -> dict[tuple[Any, ...], Condition]:
    """The conditions of a study by role, state and control."""
    study = Study(
        **{"name": "tiny", "targets": FCN, "guides": RESNET, "seeds": 1} | PARTS | changes
    )
    found = {}
    for replicate in study.plan().replicates:
        labels = replicate.labels
        whose = (labels["state"], labels["control"])
        found[(replicate.condition.role, *whose)] = replicate.condition
    return found


@pytest.mark.parametrize("state", ["trained", "untrained"])
@pytest.mark.parametrize("control", ["none", "shuffled", "input", "noise", "reversed", "self"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "distance": {"name": "ridge", "rows": "pooled"},
            "mapping": {"name": "last", "k": 1},
            "reduction": "mean",
            "schedule": {"alpha": 2.0, "stop_step": 3},
            "guide_train": {"epochs": 2},
        },
    ],
    ids=["defaults", "given"],
)
def test_taps(state: str, control: str, more: dict[str, Any]) -> None:
    changes = dict(more)
    if "distance" in changes:
        changes["distances"] = changes.pop("distance")
    plan = planned(**changes, states=[state], controls=[control] if control != "none" else [])
    given = {"guide": RESNET, "state": state, "control": control} | more
    named = condition(PARTS | {"target": FCN} | given)
    role = "guided" if control == "none" else "control"
    whose = (None if control == "input" else state, control)
    assert named == plan[(role, *whose)]


def test_answers_baseline_and_guide_alone() -> None:
    plan = planned(distances="distillation", controls=["uniform"])
    given = PARTS | {"target": FCN}
    assert condition(given) == plan["baseline", None, None]
    assert condition(PARTS | {"target": RESNET, "role": "guide"}) == plan["guide", None, None]
    for control, state in (("none", "trained"), ("none", "untrained"), ("uniform", None)):
        named = {"guide": RESNET, "distance": "distillation", "control": control}
        role = "guided" if control == "none" else "control"
        assert (
            condition(given | named | ({"state": state} if state else {}))
            == plan[role, state, control]
        )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"guid": RESNET}, "unknown key 'guid'; did you mean 'guide'"),
        ({"guide": {"name": "resnet2d", "depth": 2}}, "unknown option of architecture 'resnet2d'"),
        ({"guide": 3}, "architecture: give a name, or a mapping with name and options .got 3"),
        ({"guide": RESNET, "state": "half"}, "state is 'half'; allowed: trained, untrained"),
        ({"guide": RESNET, "control": "loud"}, "unknown control 'loud'"),
        ({"guide": RESNET, "control": "uniform"}, "'uniform' has no meaning for .*of taps"),
        ({"guide": RESNET, "schedule": {"alfa": 1}}, "unknown key of schedule: 'alfa'"),
        ({"guide": RESNET, "guide_train": {"lrs": 1}}, "unknown key of train: 'lrs'"),
        ({"guide": RESNET | {"weights": "x.pt"}}, "guide.weights is for specs"),
        ({"state": "trained"}, "state needs a guide"),
        ({"role": "guide", "state": "trained"}, "role: guide is a network alone"),
        ({"role": "baseline"}, "role is 'baseline'; allowed: guide"),
        ({"train": 5}, "train: give a mapping"),
        ({"train": {"steps": 1, "epochs": 1}}, "give exactly one"),
        ({"train": {"steps": "3"}}, "train: steps is '3'; give a whole number"),
        ({"train": {"steps": 2.5}}, "train: steps is 2.5; give a whole number"),
        ({"train": {"steps": True}}, "train: steps is True; give a whole number"),
        ({"train": {"steps": 3, "lr": None}}, "train: lr is None; give a number"),
        ({"train": {"steps": 3, "compile": 3}}, "train: compile is 3; give True or False"),
        ({"train": {"steps": 3, "optimizer": 3}}, "train: optimizer is 3; allowed: adam, adamw"),
        ({"target": FCN | {"width": "8"}}, "architecture 'fcn': width is '8'; give a whole number"),
        ({"target": FCN | {8: "width"}}, "unknown option of architecture 'fcn': 8"),
        ({"guide": RESNET, "schedule": {"alpha": [1]}}, r"alpha is \[1\]; give a number"),
        ({"guide": RESNET, "schedule": {"align_first": {}}}, "align_first: steps is needed"),
        ({"guide": RESNET, "schedule": {"align_first": 3}}, "align_first: give a mapping"),
        (
            {"guide": RESNET, "schedule": {"align_first": {"foo": 1}}},
            "unknown key of align_first: 'foo' .known: inputs, steps",
        ),
        (
            {"guide": RESNET | {"batch_norm": "eval"}},
            "guide: batch_norm is 'eval', which is for an untrained guide",
        ),
    ],
)
def test_mistakes(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        condition(PARTS | {"target": FCN} | more)


@pytest.mark.parametrize("key", ["task", "target", "train"])
def test_what_is_needed(key: str) -> None:
    given = PARTS | {"target": FCN}
    del given[key]
    with pytest.raises(UserError, match=f"{key} is needed"):
        condition(given)


@pytest.mark.parametrize("control", ["class_shuffled", "labels", {"name": "labels", "at": "all"}])
def test_controls_of_trained_guides(control: Any) -> None:
    plan = planned(controls=[control], states=["trained"])
    given = PARTS | {"target": FCN, "guide": RESNET, "control": control}
    named = condition(given)
    assert [c for (role, *_), c in plan.items() if role == "control"] == [named]
    with pytest.raises(ValueError, match="has no meaning for a guide that is untrained"):
        condition(
            PARTS | {"target": FCN, "guide": RESNET, "control": control, "state": "untrained"}
        )


@pytest.mark.parametrize("given", [True, 0.0, -1, 1.5, 2**63, "0", None])
def test_a_seed_that_no_spec_may_have_is_refused(given: Any, tmp_path: Path) -> None:
    content = PARTS | {"target": FCN}
    for store in (None, tmp_path / "store"):
        with pytest.raises(UserError, match=r"^seed is .*; allowed: integers from 0 to"):
            train(content, seed=given, store=store)
    assert not (tmp_path / "store").exists()


def test_a_seed_may_be_of_numpy() -> None:
    assert seed(np.int32(7)) == 7


def test_a_key_that_is_nearly_role_is_told_so() -> None:
    with pytest.raises(UserError, match="did you mean 'role'"):
        condition(PARTS | {"target": FCN, "rol": "guide"})

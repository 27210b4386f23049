"""Treatments: guidance by several weighted terms, and rivals; the form of before is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.conditions import term_of
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.guidance import Guidance, Guide, Term
from trainers.conditions.ids import identity, replicate_id
from trainers.cost import flops
from trainers.errors import UserError
from trainers.messages import silent
from trainers.rivals import RIVALS
from trainers.training.rehearsal import Rehearsal
from trainers.training.setup import RunSetup, initial

MakeCondition = Callable[..., Condition]


def weighted(condition: Condition, *weights: float) -> Condition:
    """The condition with its term once for each weight."""
    term = term_of(condition)
    return condition.with_terms(*(replace(term, weight=weight) for weight in weights))


def mixture(make: MakeCondition) -> Condition:
    """Guidance by an untrained residual network and a trained plain one."""
    first = term_of(make(control="none"))
    second = term_of(make(control="none", state="trained"))
    other = replace(second.guide, architecture=ARCHITECTURES.component("fcn", depth=2, width=8))
    second = replace(second, guide=other)
    return make(control="none").with_terms(
        replace(first, weight=0.75), replace(second, weight=0.25)
    )


def points(result: Any) -> dict[tuple[int, str], float]:
    return {(p.step, p.metric): p.value for p in result.history.points}


def test_roles_follow_from_the_treatment(make: MakeCondition) -> None:
    rival = replace(make(), treatment=Rival(method=RIVALS.component("orthogonal")))
    assert [each.role for each in (make(), rival, make(control="none"), make(control="self"))] == [
        "baseline", "rival", "guided", "control",
    ]  # fmt: skip
    assert replace(make(), is_guide=True).role == "guide"
    none, shuffled = term_of(make(control="none")), term_of(make(control="shuffled"))
    assert make(control="none").with_terms(shuffled, shuffled).role == "control"
    assert make(control="none").with_terms(none, shuffled).role == "guided", "part of a mixture"


def test_one_term_of_weight_1_is_guidance_as_it_was(make: MakeCondition) -> None:
    condition = make(control="none")
    assert "terms" not in identity(condition)["guidance"]
    assert replicate_id(weighted(condition, 1.0), 0) == replicate_id(condition, 0)
    ids = {replicate_id(weighted(condition, *w), 0) for w in ((1,), (0.5,), (1, 1), (0.5, 0.5))}
    assert len(ids) == 4
    with pytest.raises(UserError, match="weight is 0; allowed: above 0"):
        weighted(condition, 0)
    with pytest.raises(UserError, match="terms is empty; give 1 guide or more"):
        Guidance(terms=())


def test_conditions_of_before_are_read(make: MakeCondition) -> None:
    condition = make(control="shuffled", state="trained", stop_step=3)
    written = to_json(condition)
    (term,) = written["treatment"]["terms"]
    old = {key: written[key] for key in ("task", "target", "train", "weights")}
    old["role"] = "control"
    old["guidance"] = {
        **{k: v for k, v in term.items() if k not in ("weight", "shown_at", "control")},
        "control": "shuffled", "schedule": written["treatment"]["schedule"],
        "guide_inputs": "same",
    }  # fmt: skip
    assert from_json(json.loads(json.dumps(old))) == condition
    alone = {**old, "role": "guide", "guidance": None}
    assert from_json(alone).is_guide


def test_round_trip(make: MakeCondition) -> None:
    rival = replace(make(), treatment=Rival(method=RIVALS.component("orthogonal", gain=2.0)))
    shown = make(control="none").with_terms(
        replace(term_of(make(control="none")), shown_at=(("a", 1.0), ("b", 0.5)))
    )
    for condition in (mixture(make), rival, shown):
        assert from_json(json.loads(json.dumps(to_json(condition)))) == condition


def test_halves_of_one_guide_are_the_guide(make: MakeCondition) -> None:
    whole = trainers.train(make(control="none"), report=silent)
    halves = trainers.train(weighted(make(control="none"), 0.5, 0.5), report=silent)
    expected, found = points(whole), points(halves)
    last = max(step for step, _ in expected)
    assert found[last, "train/distance"] == pytest.approx(
        expected[last, "train/distance"], rel=1e-4
    )
    assert halves.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-4)
    for number in (1, 2):
        assert found[last, f"train/distance_{number}"] == pytest.approx(
            found[last, "train/distance"], rel=1e-5
        )


def test_a_mixture_trains_and_reports_each_guide(
    make: MakeCondition, tmp_path: Path, same_result: Any
) -> None:
    condition = mixture(make)
    Rehearsal().try_out(condition)
    (guide,) = condition.guide_conditions
    assert guide.target.name == "fcn"
    result = trainers.train(condition, store=tmp_path, report=silent)
    found = points(result)
    last = result.steps
    assert found[last, "train/distance"] == pytest.approx(
        0.75 * found[last, "train/distance_1"] + 0.25 * found[last, "train/distance_2"], rel=1e-5
    )
    numbers = {m.split("/")[2].partition(":")[0] for _, m in found if m.startswith("distance/")}
    assert numbers == {"1", "2"}
    same_result(trainers.train(condition, report=silent), result)
    whole = flops.training(condition)
    parts = [flops.training(condition.with_terms(term)) for term in condition.terms]
    assert whole == pytest.approx(sum(parts) - flops.training(make()))


def test_a_rival_starts_otherwise(make: MakeCondition) -> None:
    rival = replace(make(), treatment=Rival(method=RIVALS.component("orthogonal", gain=1.0)))
    assert replicate_id(rival, 0) != replicate_id(make(), 0)
    Rehearsal().try_out(rival)
    weights = dict(initial(RunSetup.of(rival, 0)).named_parameters())
    plain = dict(initial(RunSetup.of(make(), 0)).named_parameters())
    square = [name for name, w in weights.items() if w.dim() == 2]
    assert square
    for name in square:
        weight = weights[name]
        gram = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
        assert not torch.equal(weight, plain[name])
    changed, unchanged = (trainers.train(c, report=silent) for c in (rival, make()))
    assert changed.metrics["loss"] != unchanged.metrics["loss"]


def test_no_guide_has_a_weight_that_is_not_a_number(make: MakeCondition) -> None:
    guide = Guide(architecture=make().target, state=None)
    with pytest.raises(UserError, match="weight is nan"):
        Term(guide=guide, weight=float("nan"))

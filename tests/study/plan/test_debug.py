"""Plans of `--debug`: every condition cut, and rules of the study as it is declared."""

from __future__ import annotations

import pytest

from study import Study
from study.spec.read import SpecError
from tests.helpers.plans import IMAGES


def test_debug_cuts_every_condition() -> None:
    plan = Study.load("quickstart").plan(debug=True)
    assert {p.condition.train.steps for p in plan.conditions} == {2}
    assert {r.seed for r in plan.replicates} == {0}
    assert len(plan) == len(plan.conditions)
    by_id = {r.id for r in plan.replicates}
    assert all(r.requires <= by_id for r in plan.replicates)


def test_debug_keeps_rules_that_name_steps() -> None:
    rule = "untrained {{schedule: 'alpha=1,align_first={steps}'}} - baseline >= 0"
    spec = IMAGES | {"schedule": {"alpha": 1, "align_first": {"steps": 5}}}
    study = Study(**spec, expect=[rule.format(steps=5)])
    schedules = {str(row["schedule"]) for row in study.plan(debug=True).first_rows()}
    assert any("align_first=2" in schedule for schedule in schedules)
    with pytest.raises(SpecError, match="expect"):
        Study(**spec, expect=[rule.format(steps=2)]).plan(debug=True)

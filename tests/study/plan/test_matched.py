"""Baselines at equal compute in plans: who shares them, their labels, and what stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from study.plan import table
from study.plan.build import Plan
from study.plan.cost import Estimate
from study.plan.replicates import PlannedCondition
from study.spec.read import SpecError
from study.tracking.names import run_name
from study.tracking.params import params_of
from tests.helpers.plans import IMAGES, TOKENS, plan_of
from trainers.cost import matched
from trainers.cost.matched import guided_flops, matched_baseline

MATCHED: dict[str, Any] = {"baselines": ["matched"], "controls": ["shuffled"]}


def baselines(plan: Plan, *, matched: bool) -> list[PlannedCondition]:
    return [
        planned
        for planned in plan.conditions
        if planned.condition.role == "baseline" and planned.use.is_matched == matched
    ]


def guided(plan: Plan, state: str = "trained") -> list[PlannedCondition]:
    found = [planned for planned in plan.conditions if planned.condition.role == "guided"]
    return [planned for planned in found if planned.labels["state"] == state]


def test_nothing_is_asked_for_by_default() -> None:
    plan = plan_of()
    assert not baselines(plan, matched=True)
    for row in plan.rows():
        assert row.get("matched_id") is None
    assert not any(planned.best_validation for planned in plan.conditions)


def test_a_guided_condition_brings_its_matched_baselines() -> None:
    plan = plan_of(**MATCHED)
    (trained,), (untrained,) = guided(plan), guided(plan, "untrained")
    by_id = {r.id: r for r in plan.replicates}
    for seed, identifier in trained.ids.items():
        row = trained.use.row(seed)
        assert row["replicate_id"] == identifier
        assert by_id[row["matched_id"]].condition == matched_baseline(trained.condition)
        full = matched_baseline(trained.condition, guide_training=True)
        assert by_id[row["matched_full_id"]].condition == full
        assert {by_id[row[n]].seed for n in ("matched_id", "matched_full_id")} == {seed}
        assert row["flops"] == guided_flops(trained.condition)
    # The two states cost the same, and the study trains no untrained guide.
    assert untrained.use.row(0)["matched_id"] == trained.use.row(0)["matched_id"]
    assert untrained.use.row(0)["matched_full_id"] is None
    assert len(baselines(plan, matched=True)) == 2
    assert all(
        "matched_id" not in row for row in plan.rows() if row["role"] in ("control", "guide")
    )


def test_all_else_is_as_without() -> None:
    with_matched, without = plan_of(**MATCHED), plan_of(controls=["shuffled"])
    for column in ("replicate_id", "target", "guide", "baseline_id", "num_steps"):
        before = {(r["replicate_id"], r[column]) for r in without.rows()}
        assert before <= {(r["replicate_id"], r[column]) for r in with_matched.rows()}
    extra = {r.id for r in with_matched.replicates} - {r.id for r in without.replicates}
    found = baselines(with_matched, matched=True)
    assert extra == {identifier for planned in found for identifier in planned.ids.values()}


def test_its_steps_are_in_its_label_alone() -> None:
    plan = plan_of(**MATCHED)
    labels = {planned.labels["target"] for planned in baselines(plan, matched=True)}
    steps = {planned.condition.train.steps for planned in baselines(plan, matched=True)}
    assert labels == {f"fcn(train.steps={number})" for number in steps}
    assert {p.labels["target"] for p in baselines(plan, matched=False)} == {"fcn"}
    (name, *_) = (run_name(r) for r in plan.replicates if r.planned.use.is_matched)
    assert name.startswith("baseline fcn(train.steps=")


def test_settings_that_differ_are_in_its_label_too() -> None:
    plan = plan_of(**MATCHED, train={"epochs": [2, 3], "lr": [0.1, 0.2]}, states=["untrained"])
    labels = [planned.labels["target"] for planned in baselines(plan, matched=True)]
    assert len(set(labels)) == len(labels) == 4
    assert all("train.lr=" in label for label in labels)
    assert not any("epochs" in label for label in labels)
    plain = {planned.labels["target"] for planned in baselines(plan, matched=False)}
    assert "fcn(train.epochs=2,train.lr=0.1)" in plain


def test_an_ordinary_baseline_of_that_length_is_shared() -> None:
    (found,) = baselines(plan_of(TOKENS, **MATCHED, states=["untrained"]), matched=True)
    steps = found.condition.train.steps
    train = {"steps": [10, steps]}
    plan = plan_of(TOKENS, **MATCHED, states=["untrained"], train=train)
    (short, *_) = guided(plan, "untrained")
    ordinary = [p for p in baselines(plan, matched=False) if p.condition.train.steps == steps]
    assert [p.ids for p in ordinary] == [found.ids]
    assert short.use.row(0)["matched_id"] == ordinary[0].ids[0]
    assert ordinary[0].labels["target"] == f"rnn(train.steps={steps})"


def test_only_blocks_that_ask_have_them() -> None:
    grids = [{"seeds": [0, 1], "baselines": "matched"}, {"seeds": [2]}]
    plan = plan_of(grids=grids, states=["untrained"])
    (one,) = guided(plan, "untrained")
    assert list(one.seeds) == [0, 1, 2]
    rows = [one.use.row(seed)["matched_id"] for seed in one.seeds]
    assert [row is None for row in rows] == [False, False, True]
    (matched,) = baselines(plan, matched=True)
    assert list(matched.seeds) == [0, 1]


def test_the_plans_table_has_them() -> None:
    plan = plan_of(**MATCHED)
    rows = table.pa.BufferReader(table.encode(plan, {}))
    found = table.pq.read_table(rows).to_pylist()
    expected = [row.get("matched_id") for row in plan.rows()]
    assert [row["matched_id"] for row in found] == expected
    assert any(expected)
    assert {row["flops"] is None for row in found if row["matched_id"]} == {False}


def test_mlflow_tells_them_apart() -> None:
    plan = plan_of(**MATCHED)
    marked = {
        r.id for r in plan.replicates if any(param.key == "matched" for param in params_of(r))
    }
    assert marked == {r.id for r in plan.replicates if r.planned.use.is_matched}
    assert marked


def test_best_validation_is_of_both_arms() -> None:
    plan = plan_of(baselines=["best_validation"], controls=["shuffled"])
    asked = {p.condition.role for p in plan.conditions if p.best_validation}
    rest = {p.condition.role for p in plan.conditions if not p.best_validation}
    assert (asked, rest) == ({"baseline", "guided", "control"}, {"guide"})
    without = plan_of(controls=["shuffled"])
    assert [r.id for r in plan.replicates] == [r.id for r in without.replicates]


def test_a_target_without_counted_operations_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "operations", lambda _: 0.0)
    with pytest.raises(SpecError, match="baselines: matched: target 'fcn' has no operations"):
        plan_of(**MATCHED)


def test_a_plan_says_what_they_cost(tmp_path: Any) -> None:
    from study.cli.console import plan_lines
    from study.plan.progress import Progress
    from trainers.store.store import Store

    plan = plan_of(IMAGES, **MATCHED)
    progress = Progress(plan, Store(tmp_path))
    seconds = {r.id: 60.0 if r.planned.use.is_matched else 1.0 for r in plan.replicates}
    lines = plan_lines(progress, Estimate(seconds, sum(seconds.values())), 1)
    assert "baselines at equal compute: 2 conditions, 4 replicates, 4 min of that time" in lines
    without = Progress(plan_of(), Store(tmp_path))
    estimate = Estimate({r.id: 1.0 for r in without.plan.replicates}, 1.0)
    assert not any("equal compute" in line for line in plan_lines(without, estimate, 1))

"""Controls of a study: those that a claim needs, those that a row cannot have, what is shared."""

from __future__ import annotations

from typing import Any

import pytest

from study.plan.build import Plan
from study.spec.read import SpecError
from tests.helpers.conditions import term_of
from tests.helpers.plans import TOKENS, plan_of
from trainers import controls
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.ids import replicate_id
from trainers.conditions.registries import CONTROLS
from trainers.distances import DISTANCES
from trainers.training.rehearsal import Rehearsal

TAPS, ANSWERS = DISTANCES.component("linear_cka"), DISTANCES.component("distillation")
EVERY = ["standard", "class_shuffled", "noise", "reversed", "self", {"name": "labels", "at": "all"}]


def planned(plan: Plan) -> set[tuple[str | None, str]]:
    """State and control of every guided condition and control."""
    return {(u.labels["state"], u.labels["control"]) for u in plan.uses if u.condition.guidance}


def test_what_a_claim_needs_by_the_kind_of_row() -> None:
    def names(distance: Any, state: Any) -> list[str]:
        return [control.name for control in controls.standard(distance, state)]

    assert names(TAPS, "trained") == ["shuffled", "input", "labels"]
    assert names(TAPS, "untrained") == ["shuffled", "input"]
    assert names(ANSWERS, "trained") == names(ANSWERS, "untrained") == ["shuffled", "uniform"]


def test_standard_is_the_default_and_stands_beside_others() -> None:
    default = plan_of(controls="standard", distances=["linear_cka", "distillation"])
    assert planned(default) == {
        ("trained", "none"), ("untrained", "none"), ("trained", "shuffled"), (None, "input"),
        ("untrained", "shuffled"), (None, "labels"), (None, "uniform"),
    }  # fmt: skip
    more = planned(
        plan_of(controls=["standard", "self", {"name": "labels", "at": ["all", "last"]}])
    )
    assert more - planned(default) == {
        ("trained", "self"), ("untrained", "self"), (None, "labels(at=all)"),
    }  # fmt: skip
    assert planned(plan_of(controls=[])) == {("trained", "none"), ("untrained", "none")}


def test_rows_say_what_they_need() -> None:
    plan = plan_of(controls=["standard", "self"], distances=["linear_cka", "distillation"])
    needed = {
        (row["distance"], row["state"], row["control"]): row["required_controls"]
        for row in plan.rows()
    }
    assert needed["linear_cka", "trained", "none"] == ["shuffled", "input", "labels"]
    assert needed["linear_cka", "untrained", "none"] == ["shuffled", "input"]
    assert needed["distillation", "trained", "none"] == ["shuffled", "uniform"]
    rest = {key: names for key, names in needed.items() if key[2] != "none"}
    assert set(map(type, rest.values())) == {type(None)}


def test_a_named_control_that_fits_no_row_is_refused() -> None:
    for changes, words in (
        ({"controls": "class_shuffled", "states": "untrained"}, "guide that is untrained; it is f"),
        ({"controls": "labels", "distances": "distillation"}, "of answers; it is for taps"),
        ({"controls": "uniform"}, "'linear_cka', which is of taps; it is for answers"),
    ):
        with pytest.raises(SpecError, match=rf"controls: {changes['controls']} .*{words}.*allowed"):
            plan_of(**changes)
    with pytest.raises(SpecError, match=r"class_shuffled .* on task 'copy_paste': it needs"):
        plan_of(TOKENS, controls="class_shuffled")
    with pytest.raises(SpecError, match=r"control reversed: in reverse order .* the same pairs"):
        plan_of(controls="reversed", mapping="all_pairs")


def test_what_a_row_cannot_have_is_left_out_and_told() -> None:
    assert plan_of(controls="standard").notes() == []
    plan = plan_of(controls=["shuffled", "input"], distances=["linear_cka", "distillation"])
    assert (None, "uniform") not in planned(plan)
    notes = plan.notes()
    assert [note.split(";")[0] for note in notes] == [
        "note: taps of trained guides (all guided conditions): no control labels",
        "note: answers of trained guides (all guided conditions): no control uniform",
        "note: answers of untrained guides (all guided conditions): no control uniform",
    ]
    some = plan_of(controls="standard", grids=[{}, {"schedule": {"alpha": 2}, "controls": "noise"}])
    assert (
        "taps of untrained guides (1 of 2 guided conditions): no control shuffled, input;"
        in (some.notes()[1])
    )


def test_a_control_that_lacks_a_seed_of_its_row_is_told() -> None:
    plan = plan_of(
        states=["untrained"],
        grids=[{"seeds": 2, "controls": ["standard"]}, {"seeds": 3, "controls": ["input"]}],
    )
    (note,) = plan.notes()
    assert "no control shuffled;" in note


def test_one_control_of_labels_serves_every_guide() -> None:
    plan = plan_of(
        guides=["resnet2d", {"name": "resnet2d", "blocks": 4}],
        mapping=["evenly_spaced", {"name": "last", "k": 2}],
        controls=["labels", {"name": "labels", "at": "all"}],
        states=["trained"],
        seeds=1,
    )
    last, everywhere = (
        [use for use in plan.uses if use.labels["control"] == control]
        for control in ("labels", "labels(at=all)")
    )
    assert len(last) == 4
    assert len({use.planned.ids[0] for use in last}) == 1
    assert {use.num_pairs for use in last} == {1}
    assert {use.labels["mapping"] for use in last} == {"evenly_spaced", "last(k=2)"}
    # Six taps, ten, and two of either: three sets of pairs.
    assert sorted(use.num_pairs or 0 for use in everywhere) == [2, 2, 6, 10]
    assert len({use.planned.ids[0] for use in everywhere}) == 3
    term = term_of(last[0].condition)
    assert (term.guide.state, term.guide.architecture) == (None, last[0].condition.target)
    assert term.shown_at == (("hidden.layer4", 1.0),)


def test_pairs_of_self_are_those_of_the_guide() -> None:
    plan = plan_of(controls="self", states=["untrained"], seeds=1)
    (own,) = [use for use in plan.uses if use.labels["control"] == "self"]
    assert own.num_pairs == 6
    shown = term_of(own.condition).shown_at
    assert shown is not None
    assert [tap[-1] for tap, _ in shown] == list("122334")


def test_self_keeps_its_id_where_its_pairs_are_what_they_were() -> None:
    """Before there were others, it had one pair for each of its own taps, or those of `last`."""
    same: dict[str, Any] = {"targets": [{"name": "fcn", "depth": 6}], "controls": "self"}
    for changes in (same, {"mapping": {"name": "last", "k": 2}, "controls": "self"}):
        plan = plan_of(**changes, states=["untrained"], seeds=1)
        (own,) = [use for use in plan.uses if use.labels["control"] == "self"]
        assert term_of(own.condition).shown_at is None
    nearest = plan_of(mapping="nearest", controls=["self", "labels"], seeds=1)
    for use in nearest.uses:
        if use.labels["control"] in ("self", "labels"):
            assert term_of(use.condition).shown_at is None


@pytest.mark.parametrize("base", ["images", "tokens"])
def test_every_control_can_be_tried_and_stored(base: str) -> None:
    if base == "images":
        plan = plan_of(
            guides=[{"name": "resnet2d", "width": 2}], controls=EVERY,
            targets=[{"name": "fcn", "width": 8, "depth": 2}], seeds=1, guide_train={"steps": 2},
        )  # fmt: skip
    else:
        every = [control for control in EVERY if control not in ("class_shuffled", "reversed")]
        plan = plan_of(
            TOKENS, controls=every, distances=[{"name": "linear_cka", "rows": "tokens"}], seeds=1,
            guides=[{"name": "transformer", "depth": 2, "width": 8, "heads": 2}],
            targets=[{"name": "rnn", "width": 8}],
        )  # fmt: skip
    rehearsal = Rehearsal()
    for each in plan.conditions:
        rehearsal.try_out(each.condition)
        again = from_json(to_json(each.condition))
        assert replicate_id(again, 0) == each.ids[0]


def test_what_is_not_cacheable_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONTROLS["shuffled"].factory, "cacheable", False)
    plan = plan_of(controls=["shuffled", "reversed"], cache={"max_gib": 1}, states=["untrained"])
    forms = {
        use.labels["control"]: term_of(use.condition).cache
        for use in plan.uses
        if use.condition.guidance
    }
    assert forms["shuffled"] is None
    assert forms["reversed"] == forms["none"] is not None


@pytest.mark.parametrize(("size", "told"), [(100, 0), (5000, 1)])
def test_a_batch_larger_than_all_examples_is_told_once(size: int, told: int) -> None:
    """Sizes above it are the same training under other ids."""
    notes = plan_of(controls="standard", train={"steps": 4, "batch_size": size}).notes()
    assert len(notes) == told
    assert all(note.startswith("train.batch_size: 5000 is more than the ") for note in notes)

"""Plans of mixtures: ids, labels, controls, and what stands in the place of each guide."""

from __future__ import annotations

from typing import Any

import pytest

from study import Study
from study.errors import SpecError
from study.plan import packing

RESNET: dict[str, Any] = {"name": "resnet2d", "width": 2, "blocks": 1}
OTHER: dict[str, Any] = {"name": "fcn", "depth": 2, "width": 12}
SPEC: dict[str, Any] = {
    "name": "mixed",
    "task": {"name": "translated_digits", "places": 1},
    "targets": {"name": "fcn", "depth": 2, "width": 8},
    "seeds": 2,
    "train": {"steps": 2, "batch_size": 50},
}


def planned(*guides: Any, **more: Any) -> Any:
    return Study(**SPEC, guides=list(guides), **more).plan()


def rows(plan: Any, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
    found = [use.row(next(iter(use.seeds))) for use in plan.uses]
    return [
        tuple(row[column] for column in columns)
        for row in found
        if all(row[name] == value for name, value in where.items())
    ]


def mix(*guides: Any, weights: Any) -> dict[str, Any]:
    return {"mix": list(guides), "weights": weights}


def test_the_ends_are_the_guides_alone():
    alone = planned(RESNET, OTHER)
    ends = planned(mix(RESNET, OTHER, weights=[[1, 0], [0, 1]]))
    assert {r.id for r in ends.replicates} == {r.id for r in alone.replicates}
    both = planned(RESNET, OTHER, mix(RESNET, OTHER, weights=[[1, 0], [0.5, 0.5], [0, 1]]))
    assert len(rows(both, "guide", role="guided")) == 6, "an end stands once"
    new = {r.id for r in both.replicates} - {r.id for r in alone.replicates}
    # Guided, shuffled and input by two states, and labels, at two seeds; input runs no guide.
    assert len(new) == 2 * (2 + 2 + 1 + 1)


def test_a_mixture_is_labelled_and_has_controls_of_all_its_guides():
    plan = planned(mix(RESNET, OTHER, weights=[0.75, 0.25]))
    (label,) = {guide for (guide,) in rows(plan, "guide", role="guided")}
    assert label == "0.75*resnet2d(blocks=1,width=2)+0.25*fcn(depth=2,width=12)"
    found = rows(plan, "state", "control", "num_pairs", role="control")
    assert found == [
        ("trained", "shuffled", 6), (None, "input", 6), (None, "labels", 2),
        ("untrained", "shuffled", 6),
    ]  # fmt: skip
    ((ids, one, needs),) = rows(
        plan, "guide_ids", "guide_id", "requires_ids", role="guided", state="trained"
    )
    assert len(ids) == 2
    assert one is None
    assert set(needs) == set(ids)
    for use in plan.uses:
        if use.condition.role == "control":
            assert {term.control.name for term in use.condition.terms} == {use.labels["control"]}
            assert [term.weight for term in use.condition.terms] == [0.75, 0.25]


def test_weights_are_used_as_given():
    (half,) = rows(planned(mix(RESNET, OTHER, weights=[0.5, 0])), "guide", role="guided",
                   state="trained")  # fmt: skip
    assert half == ("0.5*resnet2d(blocks=1,width=2)",)
    one, two = (planned(mix(RESNET, OTHER, weights=w)) for w in ([1, 1], [2, 2]))
    guided = [{r.id for r in plan.replicates if r.role == "guided"} for plan in (one, two)]
    assert not guided[0] & guided[1]


def test_a_guide_may_have_a_state_of_its_own():
    plan = planned(mix(RESNET, OTHER | {"state": "untrained"}, weights=[[1, 1], [0, 1]]))
    states = dict(rows(plan, "guide", "state", role="guided"))
    assert states["fcn(depth=2,width=12)"] == "untrained"
    mixed = "resnet2d(blocks=1,width=2)+fcn(depth=2,width=12)"
    assert rows(plan, "state", role="guided", guide=mixed) == [
        ("trained+untrained",),
        ("untrained",),
    ]
    (controls,) = rows(plan, "required_controls", role="guided", state="trained+untrained")
    assert controls == (["shuffled", "input", "labels"],)
    # Alone it is guidance by an untrained guide, whatever the states of the block.
    alone = planned(OTHER, states="untrained")
    ids = {r.id for r in plan.replicates}
    assert {r.id for r in alone.replicates if r.role == "guided"} <= ids


def test_a_trained_guide_beside_untrained_ones_is_trained_by_the_study():
    plan = planned(mix(RESNET, OTHER | {"state": "trained"}, weights=[1, 1]), states="untrained")
    ((state, needs),) = rows(plan, "state", "requires_ids", role="guided")
    assert state == "untrained+trained"
    assert len(needs) == 1


def test_a_control_may_be_part_of_a_mixture():
    shown = RESNET | {"control": "input"}
    plan = planned(mix(RESNET, shown, weights=[[1, 0], [0.5, 0.5], [0, 1]]))
    label = "0.5*resnet2d(blocks=1,width=2)+0.5*resnet2d(blocks=1,width=2,control=input)"
    assert rows(plan, "state", "control", role="guided", guide=label) == [
        ("trained", "none"), ("untrained", "none"),
    ]  # fmt: skip
    shuffled = next(
        use.condition
        for use in plan.uses
        if use.labels["guide"] == label and use.labels["control"] == "shuffled"
    )
    assert [term.control.name for term in shuffled.terms] == ["shuffled", "input"]
    alone = planned(RESNET)
    inputs = {r.id for r in alone.replicates if r.labels["control"] == "input"}
    found = [r.id for r in plan.replicates if r.labels["control"] == "input"]
    assert inputs < set(found), "the end is the control of the guide alone"


def test_axes_of_guides_may_not_meet():
    with pytest.raises(SpecError, match="mix: a guide stands twice"):
        planned(mix(RESNET, {"name": "resnet2d", "width": [2, 4], "blocks": 1}, weights=[1, 1]))


def test_guides_that_do_not_take_the_input_are_named():
    with pytest.raises(SpecError, match="architecture 'rnn' takes tokens inputs"):
        planned(mix(RESNET, "rnn", weights=[1, 1]))


def test_rivals_that_align_first_take_mixtures():
    plan = planned(
        mix(RESNET, OTHER, weights=[1, 0.5]), rivals=[{"name": "aligned_start", "steps": 1}]
    )
    treatments = rows(plan, "treatment", role="rival")
    assert len(treatments) == 2
    for (treatment,) in treatments:
        assert "resnet2d(blocks=1,width=2)+0.5*fcn(depth=2,width=12)" in treatment


def test_the_share_of_a_mixture_is_searched():
    search = {
        "budget": 3, "seeds": [100], "select": "validation/accuracy",
        "space": {"guides.share": [0.25, 0.5, 0.75], "schedule.alpha": [1.0]},
    }  # fmt: skip
    plan = planned(RESNET, mix(RESNET, OTHER, weights=[1, 3]), search=search, states="untrained")
    found = {}
    for use in plan.uses:
        if use.trial is not None and use.labels["control"] == "none":
            weights = [term.weight for term in use.condition.terms]
            found.setdefault(use.labels["guide"], []).append(weights)
    mixed = "tuned*resnet2d(blocks=1,width=2)+tuned*fcn(depth=2,width=12)"
    assert sorted(found[mixed]) == [[1, 3], [2, 2], [3, 1]]
    assert set(map(tuple, found["resnet2d(blocks=1,width=2)"])) == {(1.0,)}
    shuffled = [u for u in plan.uses if u.trial and u.labels["guide"] == mixed
                and u.labels["control"] == "shuffled"]  # fmt: skip
    assert len(shuffled) == 3


def test_a_guide_may_not_be_there_twice_in_one_state():
    same = mix(RESNET, RESNET | {"state": "untrained"}, weights=[[0.5, 0.5], [1, 0]])
    with pytest.raises(SpecError, match="with states: untrained a guide stands twice"):
        planned(same)
    assert planned(same, states="trained")


@pytest.mark.parametrize(
    ("control", "distance", "message"),
    [("uniform", "linear_cka", "mix: control uniform has no meaning for distance 'linear_cka'"),
     ("labels", "distillation", "mix: control labels has no meaning for distance 'distillation'")],
)  # fmt: skip
def test_a_control_that_is_part_of_a_mixture_must_fit(control, distance, message):
    with pytest.raises(SpecError, match=message):
        planned(mix(RESNET, OTHER | {"control": control}, weights=[1, 1]), distances=distance)


def test_weights_that_are_close_have_labels_of_their_own():
    plan = planned(mix(RESNET, OTHER, weights=[[1 / 3, 2 / 3], [0.3333333, 0.6666667]]))
    assert len({guide for (guide,) in rows(plan, "guide", role="guided")}) == 2
    (large,) = {g for (g,) in rows(planned(mix(RESNET, OTHER, weights=[1e6, 1])), "guide",
                                   role="guided")}  # fmt: skip
    assert large.startswith("1e06*resnet2d")


def test_trials_of_mixtures_do_not_wait_for_each_other():
    names = [RESNET, OTHER, OTHER | {"width": 16}]
    ring = [mix(names[i], names[(i + 1) % 3], weights=[1, 1]) for i in range(3)]
    plan = planned(*ring, states="trained")
    for slots in (1, 2, 4):
        trials = packing.pack(plan.replicates, {r.id: 1.0 for r in plan.replicates}, slots=slots)
        held = [{r.id for r in trial.replicates} for trial in trials]
        ended: set[str] = set()
        waiting = list(zip(held, [t.requires & set().union(*held) for t in trials], strict=True))
        while waiting:
            ready = [each for each in waiting if each[1] <= ended]
            assert ready, "trials wait for each other"
            ended |= set().union(*(ids for ids, _ in ready))
            waiting = [each for each in waiting if each not in ready]

"""Plans of mappings, schedules, rows, distances of answers and shared controls."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from study.plan.build import Plan
from study.spec.read import SpecError
from tests.helpers.conditions import term_of
from tests.helpers.plans import TOKENS, plan_of


def labels(plan: Plan, column: str) -> set[Any]:
    found = {use.labels[column] for use in plan.uses}
    return found - {None}


# Controls that several guided conditions share.


def test_a_control_that_guides_share_is_planned_once_and_stands_in_each_place() -> None:
    plan = plan_of(
        guides=[{"name": "resnet2d", "batch_norm": ["calibrated", "eval"]}],
        states=["untrained"],
        controls=["input", "self"],
        seeds=2,
    )
    by_role = Counter(planned.condition.role for planned in plan.conditions)
    # Guided twice; `input` once; `self` once a batch norm, which its guide has too.
    assert by_role == {"guide": 1, "baseline": 1, "guided": 2, "control": 1 + 2}
    rows = list(plan.rows())
    shared = [row for row in rows if row["control"] == "input"]
    assert len({row["replicate_id"] for row in shared}) == 2
    assert Counter(row["guide"] for row in shared) == {
        "resnet2d": 2,
        "resnet2d(batch_norm=eval)": 2,
    }
    assert {r.id for r in plan.replicates} == {row["replicate_id"] for row in rows}
    assert len(plan) == len(plan.replicates) == 2 * 7


def test_self_is_a_guide_of_the_targets_architecture() -> None:
    plan = plan_of(controls=["self"], guides=["resnet2d", {"name": "resnet2d", "width": 8}])
    controls = [p for p in plan.conditions if p.condition.role == "control"]
    # One a state, shared by both guides.
    assert len(controls) == 2
    for planned in controls:
        guide = term_of(planned.condition).guide
        assert guide.architecture == planned.condition.target
        uses = [use for use in plan.uses if use.planned is planned]
        assert {use.labels["guide"] for use in uses} == {"resnet2d", "resnet2d(width=8)"}
        for use in uses:
            (alone,) = use.guides_alone
            assert alone.condition.target.name == "resnet2d"
            # As many as the guide's: six taps.
            assert use.num_pairs == 6
        if guide.state == "trained":
            (needed,) = planned.needs
            assert needed.condition.role == "guide"
            assert needed.condition.target == planned.condition.target
        else:
            assert planned.needs == ()


def test_mappings_are_checked_and_counted() -> None:
    plan = plan_of(
        mapping=[
            {"name": "last", "k": [1, 2]},
            "all_pairs",
            {"name": "explicit", "pairs": {"pool": ["hidden.layer1", "hidden.layer2"]}},
        ]
    )
    assert {(use.labels["mapping"], use.num_pairs) for use in plan.uses if use.num_pairs} == {
        ("last", 1),
        ("last(k=2)", 2),
        ("all_pairs", 6 * 4),
        ("explicit(pairs=[[pool,[hidden.layer1,hidden.layer2]]])", 2),
    }
    with pytest.raises(SpecError, match="last: k is 5; allowed here: 1 to 4"):
        plan_of(mapping={"name": "last", "k": 5})
    with pytest.raises(SpecError, match="guide tap in mapping explicit: 'poll'; did you mean 'poo"):
        plan_of(mapping={"name": "explicit", "pairs": {"poll": "hidden.layer1"}})
    with pytest.raises(SpecError, match="mapping one_to_one: no tap of the guide"):
        plan_of(mapping="one_to_one")


def test_schedules_are_axes() -> None:
    plan = plan_of(
        schedule=[
            {"decay": ["linear", "cosine"], "stop_step": 50},
            {"align_first": {"steps": [10, 20], "inputs": ["task", "noise"]}},
        ],
        states=["untrained"],
    )
    assert labels(plan, "schedule") == {
        "alpha=1,stop=50,decay=linear",
        "alpha=1,stop=50,decay=cosine",
        "alpha=1,align_first=10",
        "alpha=1,align_first=20",
        "alpha=1,align_first=10,inputs=noise",
        "alpha=1,align_first=20,inputs=noise",
    }


def test_guidance_in_one_step_of_several_is_an_axis() -> None:
    plan = plan_of(
        schedule=[{"every": 1}, {"every": [8, 9], "scale_alpha": [False, True]}],
        states=["untrained"],
    )
    assert labels(plan, "schedule") == {
        "alpha=1",
        "alpha=1,every=8",
        "alpha=1,every=8,scale_alpha=true",
        "alpha=1,every=9",
        "alpha=1,every=9,scale_alpha=true",
    }


def test_places_of_an_image_are_rows_where_both_networks_have_the_same() -> None:
    same = {"targets": [{"name": "resnet2d", "width": 8}], "guides": ["resnet2d"]}
    for rows in ("tokens", "positions", "pooled", "examples"):
        plan_of(**same, distances=[{"name": "linear_cka", "rows": rows}])
    mapping = {"name": "explicit", "pairs": {"stem": "blocks.block2.inner"}}
    distances = [{"name": "linear_cka", "rows": "positions"}]
    with pytest.raises(SpecError, match=r"rows: positions .*'blocks.block2.inner'.*use rows: exam"):
        plan_of(**same, mapping=mapping, distances=distances)


def test_a_distance_that_needs_more_rows_than_features_is_refused() -> None:
    distances = ["linear_regression"]
    with pytest.raises(SpecError, match=r"256 predictors .* at most n - 2 = 97"):
        plan_of(distances=distances)
    plan_of(distances=distances, targets=[{"name": "fcn", "width": 64}])
    wide = [{"name": "linear_regression", "direction": "target_from_guide"}]
    with pytest.raises(SpecError, match=r"guide tap 'stem'.*1024 predictors"):
        plan_of(distances=wide)
    pooled = [wide[0] | {"rows": "pooled"}]
    plan_of(distances=pooled, controls=["shuffled"])
    # The pixels are too many where the guide's channels are not.
    with pytest.raises(SpecError, match=r"guide tap 'stem' \(input\): .* predictors"):
        plan_of(distances=pooled)
    kinds = {use.labels["control"] for use in plan_of(distances=pooled, controls="standard").uses}
    assert kinds == {None, "none", "shuffled", "labels"}


def test_answers_have_their_own_rows_and_controls() -> None:
    plan = plan_of(
        distances=["linear_cka", "distillation"],
        controls=["shuffled", "input", "uniform"],
        mapping=["evenly_spaced", "nearest"],
        states=["untrained"],
    )
    answers = [use for use in plan.uses if use.labels["distance"] == "distillation"]
    assert Counter(use.labels["control"] for use in answers) == {
        "none": 1, "shuffled": 1, "uniform": 1,
    }  # fmt: skip
    assert {use.num_pairs for use in answers} == {1}
    assert {use.labels["mapping"] for use in answers} == {"evenly_spaced"}
    taps = [use for use in plan.uses if use.labels["distance"] == "linear_cka"]
    assert {use.labels["control"] for use in taps} == {"none", "shuffled", "input"}
    tokens = plan_of(TOKENS, distances=["distillation"])
    rows = {term.rows for p in tokens.conditions for term in p.condition.terms}
    assert rows == {"tokens"}
    with pytest.raises(SpecError, match=r"controls: input .*'distillation', which is of ans"):
        plan_of(distances=["distillation"], controls=["input"])
    with pytest.raises(SpecError, match=r"controls: uniform .* is of taps; it is for answers"):
        plan_of(controls=["uniform"])


def test_every_worker_has_an_example() -> None:
    small = {"batch_size": 3, "epochs": 1}
    assert len(plan_of(train=small, resources={"workers": 3}))
    with pytest.raises(SpecError) as caught:
        plan_of(train=small, resources={"workers": 4})
    message = str(caught.value)
    assert "train.batch_size: 3 gives batches of 3 examples" in message
    assert "resources.workers: 4" in message
    with pytest.raises(SpecError, match="batches of 3 examples"):
        plan_of(guide_train={"batch_size": 3}, resources={"workers": 4})


def test_guide_inputs_are_an_axis_of_tasks_that_augment() -> None:
    both = ["same", "other_augmentation"]
    with pytest.raises(SpecError, match="guide_inputs: other_augmentation needs a task that augme"):
        plan_of(guide_inputs=both)
    plan = plan_of(task={"name": "translated_digits", "augment": "shift"}, guide_inputs=both)
    assert labels(plan, "guide") == {"resnet2d", "resnet2d(inputs=other_augmentation)"}


def test_alignment_on_redrawn_inputs_needs_a_task_that_draws_its_data_once() -> None:
    schedule = {"align_first": {"steps": 5, "inputs": ["task", "redrawn"]}}
    plan = plan_of(schedule=schedule)
    assert labels(plan, "schedule") == {
        "alpha=1,align_first=5", "alpha=1,align_first=5,inputs=redrawn"
    }  # fmt: skip
    assert forms(plan_of(schedule=schedule, cache={"max_gib": 1}, controls=[])) == {
        "gram": 2, "none": 2
    }  # fmt: skip
    for rivals in ([], [{"name": "aligned_start", "steps": 2, "inputs": "redrawn"}]):
        with pytest.raises(SpecError, match="align_first: inputs is redrawn, and task 'parity' dr"):
            plan_of(
                task="parity", targets=["transformer"], guides=["rnn"], rivals=rivals,
                train={"steps": 9}, guide_train={"steps": 9},
                schedule={"alpha": 1} if rivals else schedule,
            )  # fmt: skip


def forms(plan: Plan) -> Counter[str]:
    caches = [term.cache for p in plan.conditions for term in p.condition.terms]
    return Counter("none" if cache is None else cache.form for cache in caches)


def test_a_cache_has_the_form_that_fits() -> None:
    # Six taps, of 4128 values in all, of 3891 examples; `input` keeps nothing.
    assert forms(plan_of()) == {"none": 5}
    assert forms(plan_of(cache={"max_gib": 1})) == {"gram": 4, "none": 1}
    assert forms(plan_of(cache={"max_gib": 0.1})) == {"features": 4, "none": 1}
    assert forms(plan_of(cache={"max_gib": 0.01})) == {"live": 4, "none": 1}
    assert forms(plan_of(TOKENS, cache={"max_gib": 1})) == {"none": 2}


def test_a_cache_changes_ids_where_it_changes_numbers() -> None:
    def ids(**changes: Any) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"guided": set(), "other": set()}
        for replicate in plan_of(**changes).replicates:
            terms = replicate.condition.terms
            kept = any(term.control.name != "input" for term in terms)
            found["guided" if kept else "other"].add(replicate.id)
        return found

    plain, same = ids(), ids(cache={"max_gib": 0.1})
    gram, half = ids(cache={"max_gib": 1}), ids(cache={"max_gib": 1, "dtype": "float16"})
    assert plain == same
    assert plain["other"] == gram["other"] == half["other"]
    assert len(plain["guided"] | gram["guided"] | half["guided"]) == 3 * len(plain["guided"])


def test_the_same_numbers_have_one_id() -> None:
    """What plays no part is not told apart, and stands in each of its places."""
    both = ["same", "other_augmentation"]
    augmented = {"name": "translated_digits", "augment": "shift"}
    plan = plan_of(task=augmented, guide_inputs=both, controls=["noise"], states=["untrained"])
    noise = [use for use in plan.uses if use.labels["control"] == "noise"]
    assert len({use.planned.ids[0] for use in noise}) == 1
    assert {use.labels["guide"] for use in noise} == labels(plan, "guide")
    answers = plan_of(distances=["distillation"], reduction=["sum", "mean"], controls=["shuffled"])
    guided = [p for p in answers.conditions if p.condition.guidance is not None]
    assert len(guided) == 2 * 2
    schedule = {"align_first": {"steps": 3, "inputs": "noise"}}
    assert forms(plan_of(schedule=schedule, cache={"max_gib": 1})) == {"none": 5}


def test_the_plan_says_which_guide_took_part() -> None:
    plan = plan_of(controls=["self", "input"], seeds=1)
    rows = {
        (r["state"], r["control"]): r for r in plan.rows() if r["role"] in ("guided", "control")
    }
    alone = {r["target"]: r["replicate_id"] for r in plan.rows() if r["role"] == "guide"}
    assert rows["trained", "none"]["requires_ids"] == [alone["resnet2d"]]
    assert rows["trained", "self"]["requires_ids"] == [alone["fcn"]]
    assert rows["trained", "self"]["guide_id"] == alone["resnet2d"]
    assert rows["untrained", "self"]["requires_ids"] == []
    assert rows[None, "input"]["requires_ids"] == []

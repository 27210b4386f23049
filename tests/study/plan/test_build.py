"""Plans: what a spec becomes, counted by hand; ids, labels, and pairs that cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis.cells import Cell, cells, controls_of, grouped
from analysis.contract import CONDITION_COLUMNS
from analysis.schema import frame_of, schema
from study import Study
from study.plan.build import Plan
from study.plan.replicates import Replicate
from study.spec.read import SpecError
from tests.helpers.plans import IMAGES, TOKENS, plan_of
from trainers.conditions.ids import replicate_id

#: The example of the design, its second distance replaced by one that exists.
DESIGN = """
name: mnist1d-priors
task: mnist1d
targets: [{name: fcn, depth: 4, width: 256}, {name: fcn, depth: 10, width: 128, norm: batch}]
guides:  [cnn1d, resnet1d]
states:  [trained, untrained]
controls: [shuffled, input]
distances: [linear_cka, {name: linear_cka, unbiased: true}]
mapping: evenly_spaced
reduction: sum
schedule: {alpha: 1.0}
seeds: 5
train: {epochs: 40, batch_size: 100, optimizer: adamw, lr: 1.0e-3}
guide_train: {epochs: 20}
resources: {workers: 1, cpus_per_worker: 1, gpus_per_worker: 0, replicates_per_trial: auto}
"""


def roles(plan: Plan) -> Counter[str]:
    return Counter(replicate.condition.role for replicate in plan.replicates)


def ids(plan: Plan) -> set[str]:
    return {replicate.id for replicate in plan.replicates}


def labels(plan: Plan, column: str, role: str = "guided") -> set[str]:
    return {p.labels[column] for p in plan.conditions if p.condition.role == role}


def test_the_example_of_the_design() -> None:
    plan = Study(**yaml.safe_load(DESIGN)).plan()
    # 2 guides, 2 targets; guided: 2 targets x 2 guides x 2 states x 2 distances, each shuffled;
    # an input control for both states.
    assert roles(plan) == {"guide": 10, "baseline": 10, "guided": 80, "control": 80 + 40}
    assert (len(plan), len(plan.conditions)) == (220, 44)
    guide = plan.conditions[0].condition
    assert (guide.role, guide.train.epochs, guide.train.batch_size) == ("guide", 20, 100)


def test_quickstart() -> None:
    plan = Study.load("quickstart").plan()
    found = roles(plan)
    assert found.pop("guide") == 8
    assert sum(found.values()) == 61
    assert found == {"baseline": 5 + 3, "guided": 10 + 5 + 6, "control": 20 + 12}


def test_yaml_and_python_plan_the_same(tmp_path: Any) -> None:
    (tmp_path / "design.yaml").write_text(DESIGN)
    written = Study.load(tmp_path / "design.yaml").plan()
    called = Study(
        name="mnist1d-priors",
        task="mnist1d",
        targets=("fcn", {"name": "fcn", "depth": 10, "width": 128, "norm": "batch"}),
        guides=("cnn1d", "resnet1d"),
        controls=("shuffled", "input"),
        distances=({"name": "linear_cka", "unbiased": [False, True]},),
        train={"epochs": 40},
        guide_train={"epochs": 20},
        seeds=(0, 1, 2, 3, 4),
    ).plan()
    assert ids(written) == ids(called)


def test_ids_are_those_of_condition_and_seed() -> None:
    plan = plan_of()
    assert len(ids(plan)) == len(plan) == len(plan.replicates)
    for replicate in plan.replicates:
        assert replicate.id == replicate_id(replicate.condition, replicate.seed)


def test_every_guided_condition_brings_what_it_is_compared_with() -> None:
    plan = Study(**yaml.safe_load(DESIGN)).plan()
    by_id = {replicate.id: replicate for replicate in plan.replicates}
    for replicate in plan.replicates:
        guidance, row = replicate.condition.guidance, replicate.row()
        if guidance is None:
            assert (row["baseline_id"], row["guide_id"], replicate.requires or None) == (None,) * 3
            continue
        baseline, alone = by_id[row["baseline_id"]], by_id[row["guide_id"]]
        assert baseline.seed == alone.seed == replicate.seed
        assert (baseline.condition.role, alone.condition.role) == ("baseline", "guide")
        assert baseline.condition.target == replicate.condition.target
        assert baseline.condition.train == replicate.condition.train
        assert alone.condition.target == guidance.term.guide.architecture
        needs = {row["guide_id"]} if guidance.term.guide.state == "trained" else set()
        assert replicate.requires == needs


def test_guides_are_planned_before_what_they_guide() -> None:
    seen: set[str] = set()
    for replicate in plan_of().replicates:
        assert replicate.requires <= seen
        seen.add(replicate.id)


def test_an_input_control_serves_both_states() -> None:
    terms = [term for p in plan_of().conditions for term in p.condition.terms]
    assert [term.guide.state for term in terms if term.control.name == "input"] == [None]


def test_blocks_share_what_they_share() -> None:
    block = {key: IMAGES[key] for key in IMAGES if key not in ("name", "seeds")}
    one = plan_of()
    assert ids(Study(name="twice", seeds=2, grids=[block, block]).plan()) == ids(one)
    both = Study(name="both", grids=[block | {"seeds": 2}, block | {"seeds": [1, 5]}]).plan()
    assert len(both) == len(one) // 2 * 3
    other = block | {"schedule": {"alpha": 5}, "controls": []}
    more = Study(name="more", seeds=2, grids=[block, other]).plan()
    # Guide and baselines are there already: two states at two seeds are new.
    assert len(more) == len(one) + 4
    assert ids(one) < ids(more)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 3},
        {"targets": ["fcn", {"name": "fcn", "depth": 2}]},
        {"distances": ["linear_cka", {"name": "linear_cka", "unbiased": True}]},
        {"controls": ["shuffled", "input", "noise"]},
        {"schedule": [{"alpha": 1}, {"alpha": 3, "stop_step": 5}]},
        {"name": "renamed"},
        {"resources": {"replicates_per_trial": 3, "workers": 4}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_larger_study_keeps_its_ids(change: dict[str, Any]) -> None:
    smaller, larger = ids(plan_of()), ids(plan_of(**change))
    assert smaller <= larger
    assert (smaller == larger) == (next(iter(change)) in ("name", "resources"))


def test_training_settings_change_ids() -> None:
    assert not ids(plan_of()) & ids(plan_of(train={"epochs": 3}))
    both = ids(plan_of()) & ids(plan_of(guide_train={"lr": 0.5}))
    # Baselines, untrained guides, their shuffles and input controls at 2 seeds: no trained guide.
    assert len(both) == 2 * (1 + 1 + 1 + 1)


def test_training_settings_of_one_entry() -> None:
    plan = plan_of(
        targets=["fcn", {"name": "fcn", "depth": 2, "train": {"steps": 7}}],
        guides=[{"name": "resnet2d", "train": {"lr": 0.5}}],
    )
    settings = {
        (p.condition.role, p.condition.target.kwargs.get("depth")): p.condition.train
        for p in plan.conditions
    }
    assert settings["baseline", 4].epochs == 2
    assert (settings["baseline", 2].epochs, settings["baseline", 2].steps) == (None, 7)
    assert (settings["guide", None].epochs, settings["guide", None].lr) == (2, 0.5)
    assert settings["guided", 2] == settings["baseline", 2]


# Labels.


def test_labels_are_canonical() -> None:
    plan = plan_of(
        targets=[{"name": "fcn", "width": 256, "norm": "batch", "depth": 2}],
        schedule=[{"alpha": 5, "stop_step": 200}, {"alpha": 0.25}],
        reduction=["mean", "sum"],
        guides=[{"name": "resnet2d", "width": 8}],
    )
    assert labels(plan, "target") == {"fcn(depth=2,norm=batch)"}
    assert labels(plan, "guide") == {"resnet2d(width=8)"}
    assert labels(plan, "schedule") == {"alpha=5,stop=200", "alpha=0.25"}
    assert labels(plan, "mapping") == {"evenly_spaced(reduction=mean)", "evenly_spaced"}
    assert labels(plan, "distance") == {"linear_cka"}
    assert labels(plan, "task") == {"translated_digits"}
    assert labels(plan, "study") == {"images"}


def test_labels_of_sequences() -> None:
    plan = plan_of(
        TOKENS,
        task={"name": "copy_paste", "length": 5},
        distances=[{"name": "linear_cka", "unbiased": True, "rows": ["tokens", "positions"]}],
    )
    assert labels(plan, "task") == {"copy_paste(length=5)"}
    assert labels(plan, "distance") == {
        "linear_cka(unbiased=true,rows=tokens)", "linear_cka(unbiased=true,rows=positions)",
    }  # fmt: skip


def test_training_settings_appear_where_they_tell_apart() -> None:
    plan = plan_of(
        train={"epochs": 2, "lr": [0.1, 0.01], "weight_decay": 0.5}, guide_train={"lr": 0.1}
    )
    assert labels(plan, "target") == {"fcn(train.lr=0.1)", "fcn(train.lr=0.01)"}
    assert labels(plan, "target", "baseline") == labels(plan, "target")
    assert labels(plan, "guide") == {"resnet2d"}
    lengths = plan_of(grids=[{"train": {"steps": 5}}, {"train": {"epochs": 2}}])
    assert labels(lengths, "target") == {
        "fcn(train.epochs=none,train.steps=5)", "fcn(train.epochs=2,train.steps=none)",
    }  # fmt: skip


def test_rows_without_guidance_have_no_guidance_columns() -> None:
    guidance = [name for name in CONDITION_COLUMNS if name not in ("study", "task", "target")]
    for replicate in plan_of().replicates:
        row = replicate.row()
        if replicate.condition.guidance is None:
            assert [row[name] for name in guidance] == [None] * len(guidance)
            assert row["num_pairs"] is None
        else:
            # Each of the guide's taps meets one of the target's: stem, two of each block, pool.
            assert row["num_pairs"] == 1 + 2 * 2 + 1


# What analysis makes of the labels.

RICH = {
    "targets": [{"name": "fcn", "depth": [2, 3]}],
    "guides": ["resnet2d", {"name": "resnet2d", "width": 4, "batch_norm": "eval"}],
    "controls": ["shuffled", "input", "noise"],
    "distances": [{"name": "linear_cka", "unbiased": [False, True]}],
    "schedule": [{"alpha": [1, 2], "stop_step": [None, 5]}],
    "reduction": ["sum", "mean"],
    "train": {"epochs": 2, "lr": [0.1, 0.2]},
    "guide_train": {"lr": 0.3},
    "seeds": 1,
}


def analysed(plan: Plan) -> list[Cell]:
    rows = [replicate.row() | {"status": "missing"} for replicate in plan.replicates]
    frame: pd.DataFrame = frame_of(rows, schema("replicates", ["accuracy"]))
    return cells(frame)  # raises where two conditions share all labels at one seed


def test_labels_tell_all_conditions_apart() -> None:
    plan = plan_of(**RICH)
    named = [(p.condition.role, *p.labels.items()) for p in plan.conditions]
    assert len(set(named)) == len(named)
    guided = [p for p in plan.conditions if p.condition.guidance is not None]
    assert len(analysed(plan)) == len(guided)


def test_numbers_that_differ_late_tell_conditions_apart() -> None:
    close = [0.0012345671, 0.0012345674]
    plan = plan_of(
        targets=[{"name": "fcn", "norm": "batch", "dropout": rate} for rate in close],
        schedule=[{"alpha": alpha} for alpha in close], train={"steps": 5, "lr": close},
    )  # fmt: skip
    guided = [p for p in plan.conditions if p.condition.guidance is not None]
    assert len(analysed(plan)) == len(guided)


def test_every_guided_cell_finds_its_controls() -> None:
    found = analysed(plan_of(**RICH))
    groups = grouped(found)
    for cell in found:
        if cell.condition.control == "none":
            controls = controls_of(cell, groups[cell.condition.group])
            names = sorted(str(control.condition.control) for control in controls)
            assert names == ["input", "noise", "shuffled"], cell.condition


def test_states_meet_in_a_group_whatever_their_batch_norm() -> None:
    found = analysed(plan_of(guides=[{"name": "resnet2d", "batch_norm": "eval"}]))
    (group,) = grouped(found).values()
    assert {(c.condition.state, c.condition.control) for c in group} == {
        ("trained", "none"), ("untrained", "none"),
        ("trained", "shuffled"), ("untrained", "shuffled"), (None, "input"),
    }  # fmt: skip
    assert {c.condition.guide for c in group} == {"resnet2d(batch_norm=eval)"}


# What cannot be.

IMPOSSIBLE: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (IMAGES, {"guides": ["cnn1d"]}, ["'translated_digits'", "'cnn1d'", "signal", "image"]),
    (IMAGES, {"targets": ["rnn"]}, ["'translated_digits'", "'rnn'", "tokens", "image"]),
    (TOKENS, {"targets": ["fcn"]}, ["'copy_paste'", "'fcn'", "tokens"]),
    (TOKENS, {"guides": ["resnet2d"]}, ["'copy_paste'", "'resnet2d'", "tokens"]),
    (
        IMAGES,
        {"distances": [{"name": "linear_cka", "rows": "tokens"}]},
        ["rows: tokens", "'translated_digits'", "(99, 256) and (6336, 16)", "rows: examples"],
    ),
    (
        IMAGES,
        {
            "distances": [{"name": "linear_cka", "unbiased": True}],
            "train": {"epochs": 1, "batch_size": 3},
        },
        ["train.batch_size: 3", "linear_cka(unbiased=true)", "4 or more"],
    ),
    # 3891 examples in batches of 4 or less: an epoch has 973 batches, some of 3.
    (
        IMAGES,
        {
            "distances": [{"name": "linear_cka", "unbiased": True}],
            "train": {"epochs": 1, "batch_size": 4},
        },
        ["train.batch_size: 4", "batches of 3", "4 or more"],
    ),
    (TOKENS, {"train": {"epochs": 1}}, ["'copy_paste'", "train.epochs is 1", "train.steps"]),
    (
        TOKENS,
        {"guide_train": {"epochs": 3}},
        ["'copy_paste'", "train.epochs is 3", "train.steps"],
    ),
    (IMAGES, {"targets": [{"name": "fcn", "depth": 0}]}, ["fcn", "depth 0", "allowed"]),
    (IMAGES, {"guides": [{"name": "resnet2d", "width": 0}]}, ["resnet2d", "allowed"]),
    (IMAGES, {"task": {"name": "translated_digits", "places": 0}}, ["places is 0", "allowed"]),
]


@pytest.mark.parametrize(
    ("base", "changes", "words"), IMPOSSIBLE, ids=[str(c)[:50] for _, c, _ in IMPOSSIBLE]
)
def test_an_impossible_pair_says_which_and_why(
    base: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(base, **changes)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_enough_rows_for_an_unbiased_distance() -> None:
    distances = [{"name": "linear_cka", "unbiased": True}]
    assert len(plan_of(distances=distances, train={"epochs": 1, "batch_size": 5})) == 14
    tokens = [{"name": "linear_cka", "unbiased": True, "rows": "tokens"}]
    assert plan_of(TOKENS, distances=tokens, train={"steps": 1, "batch_size": 2}).replicates


def test_a_study_of_many_blocks_is_counted_exactly() -> None:
    # 200,000 seeds of one block and few of many others: no more than there are.
    many = {"targets": [{"name": "fcn", "depth": list(range(1, 7))}], "seeds": 1, "controls": []}
    few = {"seeds": 200_000, "states": ["untrained"], "controls": []}
    plan = plan_of(grids=[many, few])
    assert len(plan) == (1 + 6 + 12) + (199_999 * 3)


def test_more_than_a_million_replicates_are_refused() -> None:
    with pytest.raises(SpecError, match="1,000,000"):
        plan_of(seeds=200_000)


@pytest.mark.processes
def test_planning_starts_nothing_heavy() -> None:
    code = (
        "import sys; from study import Study; Study.load('quickstart').plan().replicates; "
        "print([m for m in ('ray', 'mlflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_of_the_plan_are_told_apart_by_id() -> None:
    replicate: Replicate = plan_of().replicates[0]
    assert list(replicate.row())[:3] == ["replicate_id", "role", "seed"]


def test_each_seed_may_draw_the_data() -> None:
    fixed, drawn = plan_of(), plan_of(data="per_seed")
    assert len(fixed) == len(drawn)
    assert not ids(fixed) & ids(drawn)
    assert {replicate.condition.data for replicate in drawn.replicates} == {"per_seed"}
    assert {row["task"] for row in drawn.rows()} == {"translated_digits(data=per_seed)"}
    entry = drawn.tasks()["translated_digits(data=per_seed)"]
    assert entry["data"] == "per_seed"
    both = plan_of(data=["fixed", "per_seed"])
    assert ids(both) == ids(fixed) | ids(drawn)


def test_data_that_seeds_cannot_draw_is_refused() -> None:
    with pytest.raises(SpecError, match=r"data: .*'each'"):
        plan_of(data="each")
    image = {"targets": ["fcn"], "guides": ["resnet2d"]}
    with pytest.raises(SpecError, match=r"data is per_seed, and task 'cifar10' has one .* fixed"):
        plan_of(task="cifar10", data="per_seed", **image)

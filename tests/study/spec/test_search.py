"""The key `search` of a spec."""

from __future__ import annotations

from typing import Any

import pytest

from study.spec.read import SpecError, read
from study.spec.search import Search

SEARCH: dict[str, Any] = {
    "budget": 3,
    "space": {
        "train.lr": {"low": 1e-4, "high": 1, "log": True},
        "targets.dropout": [0, 0.1],
        "targets.depth": {"low": 1, "high": 4},
        "schedule.stop_step": [None, 10],
        "distances.unbiased": [True, False],
    },
    "seeds": [100, 101],
    "select": "validation/accuracy",
}
SPEC: dict[str, Any] = {
    "name": "tuned",
    "task": "mnist1d",
    "targets": ["fcn"],
    "guides": ["cnn1d"],
    "train": {"steps": 5},
    "seeds": 3,
}


def search(**changes: Any) -> Search:
    found = read(SPEC | {"search": SEARCH | changes}).blocks[0].search
    assert found is not None
    return found


def test_values_are_read_as_the_spec_reads_them() -> None:
    space = search().space
    assert repr(space["train.lr"].high) == "1.0"
    assert repr(space["targets.dropout"].values) == "(0.0, 0.1)"
    assert repr(space["targets.depth"].low) == "1"
    assert space["schedule.stop_step"].values == (None, 10)
    assert search().batch == 4


def test_arms_without_guidance_have_the_other_keys() -> None:
    assert list(search().space_of(0)) == ["train.lr", "targets.dropout", "targets.depth"]


MIXED = {"mix": ["cnn1d", "resnet1d"], "weights": [0.5, 0.5]}


def test_a_share_is_for_mixtures_of_two() -> None:
    space = {"guides.share": {"low": 0.1, "high": 0.9}, "schedule.alpha": [1, 5]}
    spec = SPEC | {"guides": ["cnn1d", MIXED], "search": SEARCH | {"space": space}}
    found = read(spec).blocks[0].search
    assert found is not None
    assert [list(found.space_of(number)) for number in range(4)] == [
        [], ["schedule.alpha"], ["guides.share", "schedule.alpha"], ["schedule.alpha"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("guides", "values", "message"),
    [
        ([MIXED], [0, 0.5], "a share lies between 0 and 1, ends not among them"),
        ([MIXED], {"low": 0.1, "high": 1}, "a share lies between 0 and 1, ends not among them"),
        ([MIXED], ["half"], "a share lies between 0 and 1, ends not among them"),
        (["cnn1d"], [0.5], "guides.share: it is for mixtures of two guides, and guides has none"),
        ([MIXED | {"weights": [[1, 1], [1, 2]]}], [0.5], "give each mixture one list of weights"),
        ([MIXED | {"weights": [[1, 0]]}], [0.5], "give each mixture one list of weights above 0"),
    ],
)
def test_mistakes_in_shares(guides: Any, values: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(SPEC | {"guides": guides, "search": SEARCH | {"space": {"guides.share": values}}})


def test_the_number_of_values_is_infinite_for_real_ranges_alone() -> None:
    counts = {key: dimension.num_values for key, dimension in search().space.items()}
    assert list(counts.values()) == [float("inf"), 2, 4, 2, 2]


#: A point of the space, written as the spec's values may be.
POINT: dict[str, Any] = {
    "train.lr": 0.01, "targets.dropout": 0, "targets.depth": 2, "schedule.stop_step": None,
    "distances.unbiased": True,
}  # fmt: skip


def test_points_to_evaluate_are_read_as_values_are() -> None:
    (point,) = search(points_to_evaluate=[dict(reversed(POINT.items()))]).points_to_evaluate
    assert list(point) == list(SEARCH["space"])
    assert repr(point["targets.dropout"]) == "0.0"
    assert point["schedule.stop_step"] is None
    assert search(budget=1, points_to_evaluate=[POINT]).cut().points_to_evaluate == (point,)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (POINT, "search.points_to_evaluate: give a list of points"),
        (
            [{"train.lr": 0.01}],
            r"points_to_evaluate\[0\]: it has train.lr; give each key of sp",
        ),
        (
            [POINT | {"train.lr": 2}],
            r"points_to_evaluate\[0\].train.lr: 2.0 is not from 0.0001 to 1",
        ),
        (
            [POINT | {"targets.dropout": 0.2}],
            r"\[0\].targets.dropout: 0.2 is none of its .*0.0, 0.1",
        ),
        ([POINT, POINT | {"targets.norm": "x"}], r"points_to_evaluate\[1\]: it has .*targets.norm"),
        ([POINT] * 4, "search: points_to_evaluate has 4 points, more than the budget of 3 trials"),
    ],
)
def test_wrong_points_to_evaluate_are_named(points: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        search(points_to_evaluate=points)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 0}, r"search.budget: .* greater than or equal to 1 \(got 0\)"),
        ({"batch": 0}, r"search.batch: .* greater than or equal to 1 \(got 0\)"),
        ({"trials": 3}, r"search.trials: unknown key 'trials' \(known: batch, budget"),
        ({"space": {}}, "search.space: give one dotted key or more"),
        ({"seeds": 2}, r"search.seeds: give a list .* \(got 2\)"),
        ({"seeds": [100, 100]}, "search.seeds: a seed stands twice"),
        ({"seeds": [100, 2]}, r"search.seeds: 2 is a seed of the study; allowed: .*\(0 to 2\)"),
        ({"select": "validation/acuracy"}, "did you mean 'validation/accuracy'"),
        ({"select": "test/accuracy"}, "search.select: unknown metric 'test/accuracy'"),
        ({"space": {"train.lt": [1]}}, "search.space.train.lt: unknown key 'lt' .known: batch"),
        ({"space": {"train.lr": []}}, "search.space.train.lr: give one value or more"),
        ({"space": {"train.lr": [-1]}}, r"search.space.train.lr.*greater than 0 \(got -1\)"),
        ({"space": {"train.lr": [1, 1.0]}}, "search.space.train.lr: a value stands twice"),
        ({"space": {"train.lr": 1}}, "search.space.train.lr: give a list of values, or low"),
        ({"space": {"train.lr": {"low": 1}}}, "search.space.train.lr: give both low and high"),
        ({"space": {"train.lr": {"low": 2, "high": 1}}}, "low must be below"),
        ({"space": {"train.lr": {"low": 0, "high": 1, "log": True}}}, "it must be above 0"),
        ({"space": {"train.lr": {"low": 1, "high": 2, "lag": 1}}}, "did you mean 'log'"),
        ({"space": {"train": [1]}}, "search.space.train: give a key of train"),
        ({"space": {"target.dropout": [1]}}, "unknown part .* 'target'; did you mean 'targets'"),
        ({"space": {"guides.width": [1]}}, "of guides, guides.share can be searched"),
        ({"space": {"controls.x": [1]}}, "unknown part .* 'controls' .known: distances, guides"),
        ({"space": {"targets.dropuot": [1]}}, "unknown key 'dropuot'; did you mean 'dropout'"),
        ({"space": {"targets.name": ["rnn"]}}, "search.space.targets.name: an arm is of one targe"),
        ({"space": {"targets.train.lr": [1]}}, "search.space.targets.train.lr: give train.lr"),
        ({"space": {"targets.norm": {"low": 1, "high": 2}}}, "search.space.targets.*norm"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        search(**changes)


def test_every_grid_has_a_search_or_none() -> None:
    grids = [{"search": SEARCH}, {"states": ["trained"]}]
    with pytest.raises(SpecError, match="search: some grids have it and some do not"):
        read(SPEC | {"grids": grids})


def test_a_seed_of_any_grid_is_no_tuning_seed() -> None:
    grids = [{"seeds": 2}, {"seeds": [100]}]
    with pytest.raises(SpecError, match="100 is a seed of the study"):
        read(SPEC | {"search": SEARCH, "grids": grids})

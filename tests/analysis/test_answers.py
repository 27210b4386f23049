"""Answers read back from tables, and counts by cluster against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.answers import Answers

RIGHT = {
    "a": np.array([1, 0, 1, 1], bool),
    "b": np.array([0, 0, 1, 1], bool),
    "c": np.array([1, 1, 0, 0], bool),
}
TASKS = dict.fromkeys(RIGHT, "toy")


@pytest.mark.parametrize("shuffled", [False, True])
def test_answers_are_those_of_the_replicate(predictions_of, shuffled):
    table = predictions_of(RIGHT, wrong=7)
    if shuffled:
        # Rows of replicates between each other; those of each stay in their order.
        table = table.sort_values("example", kind="stable", ignore_index=True)
    answers = Answers([table], TASKS)
    for name, right in RIGHT.items():
        assert answers.correct(name).tolist() == right.tolist()
        assert answers.predictions(name).tolist() == np.where(right, 0, 7).tolist()
    assert answers.split("absent") is None


def test_replicates_share_a_split_if_they_answer_the_same(predictions_of):
    table = predictions_of(RIGHT)
    table.loc[table["replicate_id"] == "c", "label"] = [0, 0, 0, 1]
    answers = Answers([table], TASKS)
    assert answers.split("a") is answers.split("b")
    assert answers.split("a") is not answers.split("c")
    apart = Answers([table], {"a": "toy", "b": "other", "c": "toy"})
    assert apart.split("a") is not apart.split("b")


def test_each_example_is_a_cluster_and_its_positions_are_together(predictions_of):
    right = np.random.default_rng(0).random((5, 3)) < 0.5
    split = Answers([predictions_of({"a": right})], TASKS).split("a")
    assert (len(split), split.num_clusters) == (15, 5)
    assert split.by_cluster(right.reshape(1, -1)).tolist() == [right.sum(1).tolist()]


def test_clusters_that_a_task_gives(predictions_of):
    right = np.array([1, 0, 1, 1, 1, 0], bool)
    table = predictions_of({"a": right}, clusters=[9, 4, 9, 4, 9, 7])
    split = Answers([table], TASKS).split("a")
    assert split.num_clusters == 3
    # In the order of their names: 4, 7, 9.
    assert split.by_cluster(right[None]).tolist() == [[1, 0, 3]]
    assert split.by_cluster(np.ones((2, 6), bool)).tolist() == [[2, 1, 3]] * 2


def test_without_clusters_each_example_is_one(predictions_of):
    table = predictions_of({"a": np.array([1, 0, 1], bool)}, clusters=[0, 0, 0])
    assert Answers([table], TASKS).split("a").num_clusters == 1
    unknown = table["cluster"].where([False] * 3)
    split = Answers([table.assign(cluster=unknown)], TASKS).split("a")
    assert split.num_clusters == 3


def test_clusters_that_any_replicate_of_the_split_tells_are_enough(predictions_of):
    table = predictions_of(RIGHT, clusters=[0, 0, 1, 1])
    table["cluster"] = table["cluster"].astype("Int64")
    table.loc[table["replicate_id"] != "c", "cluster"] = None
    assert Answers([table], TASKS).split("a").num_clusters == 2
    # Of another task they say nothing.
    assert Answers([table], TASKS | {"c": "other"}).split("a").num_clusters == 4


def test_only_some_rows_are_held_of_each_part(predictions_of):
    table = predictions_of(RIGHT)
    parts = [table[table["replicate_id"] == name] for name in RIGHT]
    answers = Answers(iter(parts), TASKS)
    assert {name: answers.correct(name).tolist() for name in RIGHT} == {
        name: right.tolist() for name, right in RIGHT.items()
    }
    assert answers.split("a") is answers.split("c")
    # One byte an answer, and none of them a view of a part.
    for name in RIGHT:
        assert answers.predictions(name).nbytes == 4
        assert answers.predictions(name).base is None


@pytest.mark.parametrize(("wrong", "bits"), [(255, 8), (256, 16), (-1, 16), (2**16, 32)])
def test_an_answer_takes_what_its_classes_need(predictions_of, wrong, bits):
    answers = Answers([predictions_of(RIGHT, wrong=wrong)], TASKS)
    assert answers.predictions("a").tolist() == [0, wrong, 0, 0]
    assert answers.predictions("a").dtype.itemsize * 8 == bits


def test_rows_of_any_order_are_the_same_answers(predictions_of):
    table = predictions_of({name: right.reshape(2, 2) for name, right in RIGHT.items()}, wrong=7)
    mixed = Answers([table.sample(frac=1, random_state=0)], TASKS)
    plain = Answers([table], TASKS)
    for name in RIGHT:
        assert mixed.predictions(name).tolist() == plain.predictions(name).tolist()
        assert mixed.split(name).position.tolist() == [0, 1, 0, 1]
    assert mixed.split("a") is mixed.split("b")


def test_it_says_whether_all_tell_clusters(predictions_of):
    table = predictions_of(RIGHT, clusters=[0, 0, 1, 1])
    assert Answers([table], TASKS).all_tell_clusters
    table["cluster"] = table["cluster"].astype("Int64")
    table.loc[table["replicate_id"] == "b", "cluster"] = None
    answers = Answers([table], TASKS)
    assert not answers.all_tell_clusters
    assert answers.split("b").tells_clusters

"""The interval over seeds and clusters: by hand, by a linear model, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import cells
from analysis.answers import Answers
from analysis.schema import frame_of, schema
from analysis.statistics import paired_difference
from analysis.transfer import transfer_table
from analysis.two_way import TwoWayIntervals, by_cluster, two_way_interval


def simulated(rng, num_seeds, num_clusters, seed=0.0, cluster=0.0, residual=1.0):
    rows = seed * rng.standard_normal((num_seeds, 1))
    columns = cluster * rng.standard_normal((1, num_clusters))
    return rows + columns + residual * rng.standard_normal((num_seeds, num_clusters))


def test_by_hand():
    # Means of seeds 2, 4, 6; of clusters 3, 5; residuals +-1 in seeds 0 and 2, 0 in seed 1.
    values = np.array([[0.0, 4.0], [3.0, 5.0], [6.0, 6.0]])
    mean_squares = 2 * (4 + 0 + 4) / 2, 3 * (1 + 1) / 1, (1 + 1 + 0 + 0 + 1 + 1) / 2
    assert mean_squares == (8, 6, 2)
    freedom = (8 + 6 - 2) ** 2 / (8**2 / 2 + 6**2 / 1 + 2**2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(12 / 6)
    found = two_way_interval(values)
    assert found == pytest.approx((4.0, 4 - half, 4 + half, freedom))


def test_mean_squares_are_those_of_a_linear_model():
    values = simulated(np.random.default_rng(0), 4, 7, seed=0.7, cluster=1.5)
    row, column = (np.repeat(np.eye(4), 7, 0), np.tile(np.eye(7), (4, 1)))

    def rest(*parts):
        design = np.hstack([np.ones((28, 1)), *parts])
        fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return ((values.ravel() - fitted) ** 2).sum()

    residual = rest(row, column) / 18
    seed, cluster = (rest(column) - rest(row, column)) / 3, (rest(row) - rest(row, column)) / 6
    freedom = (seed + cluster - residual) ** 2 / (seed**2 / 3 + cluster**2 / 6 + residual**2 / 18)
    expected = stats.t.interval(
        0.95, freedom, values.mean(), np.sqrt((seed + cluster - residual) / 28)
    )
    found = two_way_interval(values)
    assert cluster > residual
    assert (found.low, found.high) == pytest.approx(expected)


def test_without_a_part_of_clusters_it_is_the_interval_over_seeds():
    values = np.array([[1.0, 2.0, 1.0], [4.0, 3.0, 5.0], [2.0, 2.5, 1.5], [3.0, 3.0, 2.0]])
    values -= values.mean(0) - values.mean()
    found = two_way_interval(values)
    over_seeds = paired_difference(values.mean(1), np.zeros(4))
    assert (found.low, found.high) == pytest.approx((over_seeds.low, over_seeds.high))
    assert found.degrees_of_freedom == 3


@pytest.mark.parametrize(
    "values",
    [np.ones((3, 5)), np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(4, 1)],
    ids=["no spread", "two seeds", "one cluster"],
)
def test_too_little_gives_none(values):
    assert two_way_interval(values) is None


@pytest.mark.parametrize(
    ("num_seeds", "parts"),
    [(5, {"seed": 0.0, "cluster": 1.0}), (5, {"seed": 0.1, "cluster": 1.0}), (12, {"seed": 0.3})],
    ids=["clusters alone", "both", "seeds alone"],
)
def test_it_covers_the_truth_of_new_seeds_and_clusters(num_seeds, parts):
    rng, draws = np.random.default_rng(1), 1500
    both, seeds_alone = 0, 0
    for _ in range(draws):
        values = simulated(rng, num_seeds, 100, **parts)
        found = two_way_interval(values)
        both += found.low <= 0 <= found.high
        interval = paired_difference(values.mean(1), np.zeros(num_seeds))
        seeds_alone += interval.low <= 0 <= interval.high
    # Three standard errors of a share at .95 are .017.
    assert both / draws > 0.93
    if "cluster" in parts:
        assert seeds_alone / draws < 0.8
    else:
        assert both / draws < 0.97


def test_clusters_of_one_size_are_means():
    hits = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    found = by_cluster(hits, np.array([7, 3, 3, 7]))
    assert found.tolist() == [[0.5, 1.0], [0.5, 0.0]]


def test_clusters_of_other_sizes_keep_the_mean_over_examples():
    rng = np.random.default_rng(2)
    hits, cluster = rng.random((3, 50)), rng.integers(0, 9, 50)
    found = by_cluster(hits, cluster)
    np.testing.assert_allclose(found.mean(1), hits.mean(1))
    # A constant has no part of clusters, however many examples they have.
    np.testing.assert_allclose(by_cluster(np.full((2, 50), 0.3), cluster), 0.3)


def predictions_of(hits, clusters=None):
    """A `predictions` table from replicate: hits (n,)."""
    rows = [
        {
            "replicate_id": name,
            "example": index,
            "position": 0,
            "label": 1,
            "prediction": int(hit),
            "cluster": None if clusters is None else int(clusters[index]),
        }
        for name, values in hits.items()
        for index, hit in enumerate(values)
    ]
    return frame_of(rows, schema("predictions"))


@pytest.fixture
def study(toy):
    """Three seeds with 40 test examples in 20 clusters: the study, and hits by replicate."""
    rng = np.random.default_rng(3)
    hits = {(who, seed): rng.random(40) < rate for who, rate in (("baseline", 0.5), ("guided", 0.8))
            for seed in range(3)}  # fmt: skip
    made = toy().baseline({seed: hits["baseline", seed].mean() for seed in range(3)})
    made.guided({seed: hits["guided", seed].mean() for seed in range(3)})
    ids = {(row["role"], row["seed"]): row["replicate_id"] for row in made.plan}
    return made, {ids[key]: values for key, values in hits.items()}


CLUSTERS = np.arange(40) // 2


def answers_of(predictions):
    return Answers([predictions], dict.fromkeys(predictions["replicate_id"], "toy"))


def transfer(study, tasks, predictions):
    answers = None if predictions is None else answers_of(predictions)
    frame = transfer_table(study.replicates(), study.histories(), tasks, answers=answers)
    return frame.set_index("metric")[["two_way_low", "two_way_high"]]


def test_a_row_has_the_interval_of_its_differences(study, tasks):
    made, hits = study
    found = transfer(made, tasks, predictions_of(hits, CLUSTERS).sample(frac=1, random_state=0))
    values = np.array(list(hits.values()), dtype=float)
    differences = (values[3:] - values[:3]).reshape(3, 20, 2).mean(2)
    expected = two_way_interval(differences)
    assert found.loc["accuracy"].tolist() == pytest.approx([expected.low, expected.high])
    assert found.loc["loss"].isna().all()


def test_clusters_that_any_replicate_of_the_row_tells_are_enough(study, tasks):
    made, hits = study
    full = predictions_of(hits, CLUSTERS)
    partial = full.copy()
    partial.loc[partial["replicate_id"].str.startswith("baseline"), "cluster"] = pd.NA
    pd.testing.assert_frame_equal(transfer(made, tasks, partial), transfer(made, tasks, full))


@pytest.mark.parametrize("case", ["no predictions", "no clusters", "one lost", "other examples"])
def test_what_is_not_crossed_or_not_known_is_null(study, tasks, case):
    made, hits = study
    predictions = predictions_of(hits, None if case == "no clusters" else CLUSTERS)
    if case == "no predictions":
        predictions = None
    elif case == "one lost":
        predictions = predictions[predictions["replicate_id"] != next(iter(hits))]
    elif case == "other examples":
        predictions.loc[0, ["label", "prediction"]] += 1
    assert transfer(made, tasks, predictions).isna().all().all()


def test_an_accuracy_that_is_no_share_of_right_answers_is_null(study, tasks):
    made, hits = study
    replicates = made.replicates()
    metric = cells.metric_values(replicates, tasks)["toy"][0]
    (cell,) = cells.cells(replicates)
    intervals = TwoWayIntervals(answers_of(predictions_of(hits, CLUSTERS)))
    seeds = metric.shared(cell)
    assert intervals.columns(cell, seeds, metric)["two_way_low"] is not None
    balanced = metric.__class__(
        name="accuracy", higher_is_better=True,
        values={name: value + 1e-3 for name, value in metric.values.items()},
    )  # fmt: skip
    assert intervals.columns(cell, seeds, balanced)["two_way_low"] is None

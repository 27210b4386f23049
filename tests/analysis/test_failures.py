"""Failed seeds: the worst case, success rates, bimodal arms and McNemar's test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.cells import Cell, Condition, Member, Metric
from analysis.failures import Arms, columns, mcnemar, median, spread, success_threshold
from analysis.statistics import paired_difference
from analysis.transfer import transfer_table
from analysis.verdicts import Evidence

CONDITION = Condition(
    study="s", task="t", target="fcn", treatment="guidance", guide="cnn", state="trained",
    control="none",
    distance="linear_cka", mapping="evenly_spaced", schedule="alpha=1", alpha=1.0, stop_step=None,
)  # fmt: skip


def cell_of(n):
    members = {f"b{k}": Member(f"g{k}", f"b{k}", f"a{k}") for k in range(n)}
    return Cell(condition=CONDITION, num_pairs=2, members=members)


def metric_of(baseline, guided, guide=(), *, chance=0.1, up=True):
    """A metric with values by arm; "failed" is a failure, None not run yet."""
    arms = {"b": baseline, "g": guided, "a": guide}
    given = {f"{arm}{k}": value for arm, each in arms.items() for k, value in enumerate(each)}
    return Metric(
        name="accuracy",
        higher_is_better=up,
        values={name: value for name, value in given.items() if isinstance(value, float)},
        failed=frozenset(name for name, value in given.items() if value == "failed"),
        chance=chance,
    )


def arms(baseline, guided, **options):
    return Arms.of(cell_of(len(baseline)), metric_of(baseline, guided, **options))


def test_without_failures_the_worst_case_is_the_difference():
    baseline, guided = [0.5, 0.52, 0.55], [0.7, 0.71, 0.78]
    found = arms(baseline, guided)
    expected = found.metric.better(np.array(guided), np.array(baseline))
    assert found.worst() == expected
    assert (found.num_failed_baseline, found.num_failed_guided) == (0, 0)


def test_failed_guided_seeds_are_at_chance():
    found = arms([0.5, 0.52, 0.55, 0.5], [0.7, "failed", 0.78, 0.71])
    differences = [0.2, 0.1 - 0.52, 0.23, 0.21]
    assert found.num_failed_guided == 1
    worst = found.worst()
    assert (worst.n, worst.mean) == (4, pytest.approx(np.mean(differences)))
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (worst.low, worst.high) == pytest.approx((low, high))


def test_failed_baselines_are_at_the_best_baseline():
    found = arms([0.5, "failed", 0.55], [0.7, 0.7, 0.7])
    assert found.num_failed_baseline == 1
    assert found.worst().mean == pytest.approx(np.mean([0.2, 0.15, 0.15]))


def test_the_best_baseline_may_be_one_whose_guided_replicate_failed():
    found = arms(["failed", 0.6, 0.5], [0.7, "failed", 0.7])
    assert found.worst().mean == pytest.approx(np.mean([0.1, 0.1 - 0.6, 0.2]))


def test_at_their_best_failed_seeds_speak_for_guidance():
    found = arms([0.6, "failed", 0.6, 0.61], [0.5, 0.7, "failed", 0.52])
    differences = [-0.1, 0.7 - 0.1, 0.1, -0.09]
    best = found.best()
    assert (best.n, best.mean) == (4, pytest.approx(np.mean(differences)))
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (best.low, best.high) == pytest.approx((low, high))
    assert arms([0.5, 0.5], [0.7, 0.8]).best() == arms([0.5, 0.5], [0.7, 0.8]).worst()
    assert arms([0.5, "failed"], [0.7, 0.7], chance=None).best().mean is None
    lower = arms([1.0, "failed", 0.8], [0.5, 0.5, "failed"], chance=2.3, up=False)
    assert lower.best().mean == pytest.approx(np.mean([0.5, 1.8, 0.3]))


def test_failed_baselines_that_guidance_saves_are_not_called_harm(toy, tasks):
    """Three seeds lose by guidance, and at three it reaches what the baseline failed to."""
    lost = {0: 0.6, 1: 0.605, 2: 0.6}
    guided = {0: 0.5, 1: 0.51, 2: 0.49, 3: 0.7, 4: 0.7, 5: 0.7}
    verdicts = []
    for baseline in (lost, lost | dict.fromkeys((3, 4, 5), "failed")):
        study = toy().baseline(baseline).guided({seed: guided[seed] for seed in baseline})
        transfer = transfer_table(study.replicates(), study.histories(), tasks)
        row = transfer[transfer["primary"] & (transfer["control"] == "none")].iloc[0]
        verdicts.append((row["n"], row["verdict"]))
    assert verdicts == [(3, "hurts"), (3, "not established")]


def test_where_lower_is_better_the_worst_case_turns():
    found = arms([1.0, "failed", 0.8], [0.5, 0.5, "failed"], chance=2.3, up=False)
    assert found.worst().mean == pytest.approx(np.mean([0.5, 0.3, 0.8 - 2.3]))


def test_seeds_that_have_not_run_are_no_failures():
    found = arms([0.5, 0.5, None, 0.6], [0.7, None, 0.7, 0.8])
    assert (found.num_failed_baseline, found.num_failed_guided) == (0, 0)
    assert (found.worst().n, found.worst().mean) == (2, pytest.approx(0.2))


def test_what_the_worst_case_needs_may_not_be_known():
    assert arms([0.5, 0.5], [0.7, "failed"], chance=None).worst().mean is None
    assert arms(["failed", "failed"], [0.7, 0.7]).worst().mean is None
    # Chance is not needed for a failed baseline.
    assert arms([0.5, "failed"], [0.7, 0.7], chance=None).worst().mean == pytest.approx(0.2)
    assert arms([None], [None]).worst().n == 0


def found_columns(baseline, guided, guide, n=None, **options):
    metric = metric_of(baseline, guided, guide, **options)
    return columns(cell_of(len(baseline)), metric, len(baseline) if n is None else n)


def test_success_is_a_tenth_of_the_way_from_chance_to_the_guide():
    found = found_columns([0.15, 0.25, 0.5, "failed"], [0.7, 0.7, 0.7, 0.19], [0.9, 1.0, 0.8, 0.9])
    assert found["chance"] == 0.1
    assert found["success_threshold"] == pytest.approx(0.1 + 0.1 * (0.9 - 0.1))
    assert found["baseline_success"] == 0.5
    assert found["guided_success"] == 1.0
    assert found["seeds_disagree"] is True


def test_success_where_lower_is_better():
    found = found_columns([2.2, 1.0], [0.5, 0.4], [0.3, 0.3], chance=2.3, up=False)
    assert found["success_threshold"] == pytest.approx(2.3 - 0.1 * 2.0)
    assert (found["baseline_success"], found["guided_success"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("n", "baseline", "guided", "expected"),
    [
        (11, [0.5] * 4, [0.7, 0.7, 0.1, 0.1], True),
        (12, [0.5] * 4, [0.7, 0.7, 0.1, 0.1], False),
        (4, [0.5, 0.5, 0.1, 0.1], [0.7] * 4, True),
        (4, [0.1] * 4, [0.7] * 4, False),
        (3, [0.5] * 4, [0.7, 0.7, 0.7, "failed"], True),
    ],
)
def test_seeds_disagree_where_an_arm_holds_both(n, baseline, guided, expected):
    assert found_columns(baseline, guided, [0.9] * 4, n)["seeds_disagree"] is expected


@pytest.mark.parametrize(
    ("guide", "chance"), [([0.9], None), ([0.1], 0.1), (["failed"], 0.1), ([None], 0.1)]
)
def test_without_chance_or_a_guide_above_it_there_is_no_success(guide, chance):
    metric = metric_of([0.5], [0.7], guide, chance=chance)
    assert success_threshold(cell_of(1), metric) is None
    found = columns(cell_of(1), metric, 1)
    assert found == {"chance": chance, "success_threshold": None}


def test_without_an_ended_seed_there_is_no_rate():
    assert "guided_success" not in found_columns([None], [0.7], [0.9])


def test_mcnemar_is_exact_by_hand():
    # Six pairs differ, one of them the other way: 2 (C(6, 0) + C(6, 1)) / 2^6.
    first, second = [True] * 3 + [True] * 1 + [False] * 5, [True] * 3 + [False] * 1 + [True] * 5
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_of_all_pairs_alike_says_nothing():
    assert mcnemar([True, False], [True, False]) == 1.0
    # Pairs that agree do not count.
    assert mcnemar([True] * 9 + [False], [True] * 10) == mcnemar([False], [True])


def test_mcnemar_keeps_its_level():
    draw = np.random.default_rng(3)
    arms_drawn = draw.random((500, 2, 10)) < 0.6
    found = [mcnemar(list(first), list(second)) < 0.05 for first, second in arms_drawn]
    assert np.mean(found) < 0.05


@pytest.mark.parametrize("n", [5, 9])
def test_failures_that_undo_the_gain_are_not_called_help(n):
    """Guided seeds fail at one in ten, so that with failures at chance both arms have one mean.

    Help is then found in no more studies than those in which no seed happened to fail; among the
    seeds that are left it would be found in nearly all.
    """
    draw = np.random.default_rng(11)
    studies, found, survivors = 600, 0, 0
    for _ in range(studies):
        baseline = list(draw.normal(0.8, 0.01, n))
        guided = [
            "failed" if draw.random() < 0.1 else float(draw.normal((0.8 - 0.01) / 0.9, 0.01))
            for _ in range(n)
        ]
        both = arms([float(value) for value in baseline], guided)
        left = [k for k in range(n) if guided[k] != "failed"]
        difference = paired_difference(
            np.array([guided[k] for k in left]), np.array([baseline[k] for k in left])
        )
        survivors += difference.positive
        found += Evidence(
            difference=difference, worst=both.worst(), best=both.best(),
            num_failed=both.num_failed_guided,
        ).helps  # fmt: skip
    whole = 0.9**n
    assert survivors / studies > 0.95
    assert found / studies == pytest.approx(whole, abs=4 * math.sqrt(whole * (1 - whole) / studies))


def test_spread_and_median():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert spread(values) == pytest.approx(math.sqrt(np.mean((values - 4) ** 2) * 4 / 3))
    assert median(values) == 3.0
    assert spread(np.array([1.0])) is None
    assert spread(np.array([])) is None
    assert median(np.array([])) is None

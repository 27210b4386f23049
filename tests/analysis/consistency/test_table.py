"""The `consistency` table on studies with known answers, against scikit-learn pair by pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from analysis.answers import Answers
from analysis.consistency.kappa import kappa_at_matched_accuracy
from analysis.consistency.table import consistency_table
from analysis.schema import describe

SEEDS = range(3)
SCORES = dict.fromkeys(SEEDS, 0.5)
KEY = ["target", "guide", "state", "control", "with"]


def correctness(study, n=400, seed=0):
    """Right answers of every replicate: guides vary in part together, targets copy their guide."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.3
    right = {}
    for row in study.plan:
        own = rng.random(n) < 0.75
        if row["role"] == "guide":
            own = np.where(rng.random(n) < 0.5, ~hard, own)
        elif row["role"] == "guided":
            copied = 0.6 if row["state"] == "trained" else 0.1
            own = np.where(rng.random(n) < copied, right[row["guide_id"]], own)
        right[row["replicate_id"]] = own
    return right


@pytest.fixture
def study(toy):
    made = toy().guide(SCORES).baseline(SCORES).guided(SCORES).guided(SCORES, "untrained")
    return made.control("shuffled", SCORES).control("input", SCORES, None)


@pytest.fixture
def right(study):
    return correctness(study)


def table_of(study, predictions):
    replicates = study.replicates()
    tasks = dict(zip(replicates["replicate_id"], replicates["task"], strict=True))
    return consistency_table(replicates, Answers([predictions], tasks))


def rows(frame, **wanted):
    for column, value in wanted.items():
        chosen = frame[column].isna() if value is None else frame[column] == value
        frame = frame[chosen]
    return frame


def one(frame, **wanted):
    found = rows(frame, **wanted)
    assert len(found) == 1
    return found.iloc[0]


def name(kind, k, *more):
    return "/".join([kind, *more, str(k)])


def guided(k, state="trained"):
    return name("guided", k, "fcn", "cnn", state, "none", "linear_cka", "alpha=1")


def kappa_of(right, first, second):
    return cohen_kappa_score(right[first], right[second])


def mean_over(seeds, value):
    return np.mean([value(k) for k in seeds])


def others(k):
    return [j for j in SEEDS if j != k]


def test_rows_are_of_conditions_and_of_references(study, right, predictions_of):
    frame = table_of(study, predictions_of(right))
    assert list(frame.columns) == describe("consistency")["column"].tolist()
    sides = ["guide", "other_guide", "baseline", "other_baseline"]
    found = frame[KEY].astype(object)
    found = list(found.where(found.notna(), None).itertuples(index=False, name=None))
    expected = [("fcn", "cnn", state, "none", side) for state in ("trained", "untrained")
                for side in sides]  # fmt: skip
    for state, control in (("trained", "shuffled"), (None, "input")):
        expected += [("fcn", "cnn", state, control, side) for side in [*sides, "control"]]
    expected += [("fcn", "cnn", None, None, side) for side in ("guide", "other_guide")]
    expected += [("fcn", None, None, None, "other_baseline")]
    expected += [("cnn", None, None, None, "other_guide")]
    assert found == expected
    assert frame["n"].tolist() == [3] * len(frame)
    assert frame["examples"].tolist() == [400] * len(frame)
    assert (frame["kappa_low"] < frame["kappa"]).all()
    assert (frame["kappa"] < frame["kappa_high"]).all()


def test_kappa_is_the_mean_of_pairs_and_seeds(study, right, predictions_of):
    frame = table_of(study, predictions_of(right))
    trained = rows(frame, state="trained", control="none")
    expected = {
        "guide": mean_over(SEEDS, lambda k: kappa_of(right, guided(k), f"guide/cnn/{k}")),
        "baseline": mean_over(SEEDS, lambda k: kappa_of(right, guided(k), f"baseline/fcn/{k}")),
        "other_guide": mean_over(SEEDS, lambda k: mean_over(
            others(k), lambda j: kappa_of(right, guided(k), f"guide/cnn/{j}"))),
        "other_baseline": mean_over(SEEDS, lambda k: mean_over(
            others(k), lambda j: kappa_of(right, guided(k), f"baseline/fcn/{j}"))),
    }  # fmt: skip
    assert dict(zip(trained["with"], trained["kappa"], strict=True)) == pytest.approx(expected)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for target, side, kind in (("cnn", "other_guide", "guide"), ("fcn", "other_baseline",
                                                                 "baseline")):  # fmt: skip
        found = one(frame, target=target, guide=None, **{"with": side})
        both = [kappa_of(right, f"{kind}/{target}/{k}", f"{kind}/{target}/{j}") for k, j in pairs]
        assert found["kappa"] == pytest.approx(np.mean(both))


def test_a_control_is_compared_with_the_condition_that_it_controls(study, right, predictions_of):
    frame = table_of(study, predictions_of(right))
    frame = rows(frame, **{"with": "control"})
    shuffled = "control/fcn/cnn/trained/shuffled/linear_cka/alpha=1/{}"
    expected = mean_over(SEEDS, lambda k: kappa_of(right, guided(k), shuffled.format(k)))
    assert one(frame, control="shuffled")["kappa"] == pytest.approx(expected)
    pixels = "control/fcn/cnn/None/input/linear_cka/alpha=1/{}"
    expected = mean_over(SEEDS, lambda k: kappa_of(right, guided(k), pixels.format(k)))
    assert one(frame, control="input")["kappa"] == pytest.approx(expected)


def test_excess_is_over_the_baseline_and_own_over_the_guides_of_other_seeds(
    study, right, predictions_of
):
    frame = table_of(study, predictions_of(right))
    for state in ("trained", "untrained"):
        found = one(frame, state=state, control="none", **{"with": "guide"})
        pairs = {k: kappa_of(right, guided(k, state), f"guide/cnn/{k}") for k in SEEDS}
        floor = {k: kappa_of(right, f"baseline/fcn/{k}", f"guide/cnn/{k}") for k in SEEDS}
        rest = {
            k: [kappa_of(right, guided(k, state), f"guide/cnn/{j}") for j in others(k)]
            for k in SEEDS
        }
        assert found["excess"] == pytest.approx(np.mean([pairs[k] - floor[k] for k in SEEDS]))
        assert found["own"] == pytest.approx(np.mean([pairs[k] - np.mean(rest[k]) for k in SEEDS]))
        assert found["excess_low"] < found["excess"] < found["excess_high"]
        assert found["own_low"] < found["own"] < found["own_high"]
    trained, untrained = rows(frame, control="none", **{"with": "guide"}).iloc
    assert trained["excess_low"] > 0
    assert untrained["excess_low"] < 0 < untrained["excess_high"]
    elsewhere = frame[frame["with"] != "guide"]
    names = [f"{name}{end}" for name in ("excess", "own") for end in ("", "_low", "_high")]
    assert elsewhere[names].isna().all(axis=None)
    floor = one(frame, guide="cnn", control=None, **{"with": "guide"})
    assert floor[["excess", "excess_low", "excess_high"]].isna().all()


def test_the_other_columns_are_means_over_seeds(study, right, predictions_of):
    rng = np.random.default_rng(9)
    wrong = {name: rng.integers(1, 4, len(values)) for name, values in right.items()}
    frame = table_of(study, predictions_of(right, wrong))
    found = one(frame, state="trained", control="none", **{"with": "guide"})
    names = ("observed", "expected", "same_wrong", "bounds", "kappa_matched")
    columns = {name: [] for name in names}
    for k in SEEDS:
        first, second = right[guided(k)], right[f"guide/cnn/{k}"]
        a, b = first.mean(), second.mean()
        e = a * b + (1 - a) * (1 - b)
        columns["observed"].append((first == second).mean())
        columns["expected"].append(e)
        columns["bounds"].append([(abs(a + b - 1) - e) / (1 - e), (1 - abs(a - b) - e) / (1 - e)])
        columns["kappa_matched"].append(kappa_at_matched_accuracy(a, b, (first & second).mean()))
        both = ~first & ~second
        same = wrong[guided(k)] == wrong[f"guide/cnn/{k}"]
        columns["same_wrong"].append(same[both].mean())
    for column in ("observed", "expected", "same_wrong", "kappa_matched"):
        assert found[column] == pytest.approx(np.mean(columns[column]))
    assert found[["bound_low", "bound_high"]].tolist() == pytest.approx(
        np.mean(columns["bounds"], axis=0).tolist()
    )
    assert found["bound_low"] < found["kappa"] < found["bound_high"]


def test_seeds_without_a_result_do_not_count(study, right, predictions_of):
    del right[guided(2)]
    del right["baseline/fcn/1"]
    frame = table_of(study, predictions_of(right))
    found = one(frame, state="trained", control="none", **{"with": "guide"})
    pairs = {k: kappa_of(right, guided(k), f"guide/cnn/{k}") for k in (0, 1)}
    assert found["n"] == 2
    assert found["kappa"] == pytest.approx(np.mean(list(pairs.values())))
    floor = kappa_of(right, "baseline/fcn/0", "guide/cnn/0")
    assert found["excess"] == pytest.approx(pairs[0] - floor)
    found = one(frame, state="trained", control="none", **{"with": "baseline"})
    assert found["n"] == 1


def test_a_perfect_side_has_no_kappa(study, right, predictions_of):
    right = {name: values | name.startswith("guide/") for name, values in right.items()}
    frame = table_of(study, predictions_of(right))
    found = frame[frame["with"].isin(["guide", "other_guide"])]
    assert found["n"].tolist() == [0] * len(found)
    assert found.iloc[:, found.columns.get_loc("examples") :].isna().all(axis=None)
    assert one(frame, state="trained", control="none", **{"with": "baseline"})["n"] == 3


def test_a_guide_that_is_perfect_at_one_seed_is_left_out(study, right, predictions_of):
    right["guide/cnn/0"][:] = True
    frame = table_of(study, predictions_of(right))
    found = one(frame, state="trained", control="none", **{"with": "guide"})
    pairs = {k: kappa_of(right, guided(k), f"guide/cnn/{k}") for k in (1, 2)}
    swapped = {k: kappa_of(right, guided(k), f"guide/cnn/{3 - k}") for k in (1, 2)}
    assert found["n"] == 2
    assert found["own"] == pytest.approx(np.mean([pairs[k] - swapped[k] for k in (1, 2)]))


def test_one_pretrained_guide_has_no_other(toy, predictions_of):
    study = toy().guide({0: 0.9}).baseline(SCORES).guided(SCORES)
    for row in study.plan:
        if row["role"] == "guided":
            row["guide_id"] = "guide/cnn/0"
    frame = table_of(study, predictions_of(correctness(study)))
    found = one(frame, control="none", **{"with": "guide"})
    assert found["n"] == 3
    assert pd.isna(found["own"])
    assert one(frame, control="none", **{"with": "other_guide"})["n"] == 0


def test_other_test_splits_do_not_compare(study, right, predictions_of):
    """As where each seed draws its own data: only replicates of one seed compare."""
    table = predictions_of(right)
    seed = table["replicate_id"].str[-1].astype(int)
    table["label"] += 10 * seed
    table["prediction"] += 10 * seed
    frame = table_of(study, table)
    found = one(frame, state="trained", control="none", **{"with": "guide"})
    assert found["n"] == 3
    assert pd.isna(found["own"])
    assert one(frame, state="trained", control="none", **{"with": "other_guide"})["n"] == 0


def test_positions_of_a_sequence_are_drawn_together(study, predictions_of):
    """A sequence whose 10 positions are all right or all wrong counts once, in the interval."""
    wide = correctness(study, n=100)
    repeated = {name: np.repeat(values[:, None], 10, 1) for name, values in wide.items()}
    expected = table_of(study, predictions_of(wide))
    found = table_of(study, predictions_of(repeated))
    assert found["examples"].tolist() == [1000] * len(found)
    columns = [name for name in found.columns if name not in ("examples", *found.columns[:13])]
    np.testing.assert_allclose(
        found[columns].astype(float), expected[columns].astype(float), atol=1e-6
    )


def test_clusters_may_be_given(study, right, predictions_of):
    """Four places of each digit, answered alike: the interval is that of the digits."""
    digits = correctness(study, n=100)
    places = {name: np.tile(values, 4) for name, values in digits.items()}
    clusters = np.tile(np.arange(100), 4)
    expected = table_of(study, predictions_of(digits))
    found = table_of(study, predictions_of(places, clusters=clusters))
    alone = table_of(study, predictions_of(places))
    limits = ["kappa_low", "kappa_high", "excess_low", "excess_high"]
    np.testing.assert_allclose(found[limits], expected[limits], atol=1e-6)
    assert (alone["kappa_high"] - alone["kappa_low"]).mean() < 0.6 * (
        found["kappa_high"] - found["kappa_low"]
    ).mean()


def test_the_same_table_gives_the_same_numbers(study, right, predictions_of):
    table = predictions_of(right)
    frame = table_of(study, table)
    pd.testing.assert_frame_equal(frame, table_of(study, table))


def test_nothing_finished_and_nothing_planned(toy, predictions_of):
    study = toy().baseline({0: "failed"}).guided({0: "blocked"})
    frame = table_of(study, predictions_of({}))
    assert frame["n"].tolist() == [0] * len(frame)
    assert frame["kappa"].isna().all()
    assert list(table_of(toy(), predictions_of({})).columns) == list(frame.columns)

"""The dials table on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.cells import cells, controls_of, grouped, guided_of
from analysis.dials import dial_table
from analysis.schema import describe

SEEDS = range(6)
NOISE = np.array([0.01, -0.02, 0.0, 0.015, -0.01, 0.005])
BASELINE = 0.5 + NOISE
MIXED = "0.5*cnn+0.5*vit"


def values(mean, spread=1.0, shift=0):
    return dict(enumerate((mean + spread * np.roll(NOISE, shift)).tolist()))


def dial_of(frame, metric="accuracy"):
    return frame[frame["metric"] == metric].set_index("guide")


@pytest.fixture
def dials(tasks):
    return lambda study: dial_table(study.replicates(), tasks)


@pytest.fixture
def concave(toy):
    """A dial whose middle beats both ends, and another guide that is no part of it."""
    study = toy().baseline(dict(enumerate(BASELINE.tolist())))
    study.guided(values(0.60, shift=1), guide="cnn").guided(values(0.62, shift=2), guide="vit")
    study.guided(values(0.70, shift=3), guide=MIXED)
    study.guided(values(0.61, shift=4), guide="0.9*cnn+0.1*vit")
    return study.guided(values(0.9), guide="rnn")


def test_a_mixture_that_beats_its_ends(concave, dials):
    found = dial_of(dials(concave))
    assert list(dials(concave).columns) == describe("dials")["column"].tolist()
    assert found.index.tolist() == ["cnn", "0.9*cnn+0.1*vit", MIXED, "vit"]
    assert found["share"].tolist() == [1, 0.9, 0.5, 0]
    assert found["weights"].tolist() == ["1, 0", "0.9, 0.1", "0.5, 0.5", "0, 1"]
    assert set(found["mixture"]) == {"cnn trained and vit trained"}
    assert found["n"].eq(6).all()
    assert found["best_n"].eq(6).all()
    best = found.loc[MIXED]
    assert found["best"].tolist() == [False, False, True, False]
    assert (best["best_probability"], best["best_share_low"], best["best_share_high"]) == (
        1,
        0.5,
        0.5,
    )
    assert best["better_end"] == "vit trained"
    mixed, ends = (0.70 + np.roll(NOISE, 3)), (0.60 + np.roll(NOISE, 1), 0.62 + np.roll(NOISE, 2))
    p_values = [stats.ttest_rel(mixed, end, alternative="greater").pvalue for end in ends]
    assert best["beyond_ends_p"] == pytest.approx(2 * max(p_values))
    interval = stats.ttest_rel(mixed, ends[1]).confidence_interval(0.95)
    assert (best["beyond_ends_low"], best["beyond_ends_high"]) == pytest.approx(tuple(interval))
    assert best["beyond_ends"] == pytest.approx(0.08)
    assert best["beats_ends"]
    assert not found.loc["0.9*cnn+0.1*vit", "beats_ends"]
    assert found.loc[["cnn", "vit"], ["beats_ends", "beyond_ends_p"]].isna().all(axis=None)


def test_of_a_metric_where_less_is_better_the_same_is_best(concave, dials):
    accuracy, loss = dial_of(dials(concave)), dial_of(dials(concave), "loss")
    for column in ("difference", "beyond_ends_p", "best_probability"):
        np.testing.assert_allclose(loss[column].astype(float), accuracy[column].astype(float))


def test_no_dial_without_a_mixture(toy, dials):
    study = toy().baseline(values(0.5)).guided(values(0.6), guide="cnn")
    assert dials(study.guided(values(0.6), guide="vit")).empty


def test_an_end_that_was_not_run_leaves_the_question_open(toy, dials):
    study = toy().baseline(values(0.5)).guided(values(0.6, shift=1), guide="cnn")
    found = dial_of(dials(study.guided(values(0.9, shift=2), guide=MIXED)))
    assert found["beats_ends"].isna().all()
    assert found.loc[MIXED, "best"]


def test_settings_are_compared_at_the_seeds_that_all_finished(toy, dials):
    study = toy().baseline(values(0.5))
    lost = values(0.6, shift=1) | {3: "failed"}
    study.guided(lost, guide="cnn").guided(values(0.6, shift=2), guide="vit")
    found = dial_of(dials(study.guided(values(0.7, shift=3), guide=MIXED)))
    assert found["best_n"].eq(5).all()
    assert found["n"].to_dict() == {"cnn": 5, MIXED: 6, "vit": 6}


def test_a_setting_that_failed_takes_no_part(toy, dials):
    study = toy().baseline(values(0.5)).guided(values(0.6, shift=1), guide="cnn")
    study.guided(values(0.6, shift=2), guide="vit").guided(values(0.7, shift=3), guide=MIXED)
    study.guided(dict.fromkeys(SEEDS, "failed"), guide="0.9*cnn+0.1*vit")
    found = dial_of(dials(study))
    assert found.loc[MIXED, ["best", "beats_ends"]].tolist() == [True, True]
    lost = found.loc["0.9*cnn+0.1*vit"]
    assert lost["n"] == 0
    assert lost[["best", "difference", "beyond_ends_p"]].isna().all()


def test_one_architecture_in_two_states_is_two_guides(toy, dials):
    study = toy().baseline(values(0.5)).guided(values(0.6, shift=1), guide="cnn")
    study.guided(values(0.55, shift=2), "untrained", guide="cnn")
    study.guided(values(0.7, shift=3), "trained+untrained", guide="0.5*cnn+0.5*cnn")
    found = dials(study)
    assert set(found["mixture"]) == {"cnn trained and cnn untrained"}
    assert found["share"].tolist()[:3] == [1, 0.5, 0]
    assert found["better_end"].tolist()[1] == "cnn trained"


def test_two_seeds_have_no_interval(toy, dials):
    study = toy().baseline({0: 0.5, 1: 0.6})
    study.guided({0: 0.6, 1: 0.61}, guide="cnn").guided({0: 0.5, 1: 0.7}, guide="vit")
    found = dial_of(dials(study.guided({0: 0.8, 1: 0.8}, guide=MIXED)))
    assert found["best"].tolist() == [False, True, False]
    columns = ["best_probability", "beyond_ends_low", "beyond_ends_p", "beats_ends"]
    assert found[columns].isna().all(axis=None)


def test_guides_of_different_states_and_controls_are_ends_of_their_own(toy, dials):
    study = toy().baseline(values(0.5))
    study.guided(values(0.6, shift=1), guide="cnn")
    study.guided(values(0.61, shift=2), "untrained", guide="vit(depth=2)")
    study.guided(values(0.7, shift=3), "trained+untrained", guide="0.5*cnn+0.5*vit(depth=2)")
    study.control("input", values(0.52, shift=4), None, guide="vit(depth=2)")
    study.guided(values(0.55), guide="0.5*cnn+0.5*vit(depth=2,control=input)")
    frame = dials(study)
    frame = frame[frame["metric"] == "accuracy"]
    by_mixture = {name: each.set_index("guide") for name, each in frame.groupby("mixture")}
    assert list(by_mixture) == [
        "cnn trained and vit(depth=2) untrained", "cnn trained and vit(depth=2,control=input)",
    ]  # fmt: skip
    states, control = by_mixture.values()
    assert states["state"].tolist() == ["trained", "trained+untrained", "untrained"]
    assert states["share"].tolist() == control["share"].tolist() == [1, 0.5, 0]
    assert control["control"].tolist() == ["none", "none", "input"]
    assert control.loc["0.5*cnn+0.5*vit(depth=2,control=input)", "better_end"] == "cnn trained"


def test_three_guides_have_no_interval_of_a_share(toy, dials):
    study = toy().baseline(values(0.5))
    for k, guide in enumerate(["cnn", "vit", "rnn", "cnn+vit+rnn", "cnn+vit"]):
        study.guided(values(0.9 if guide == "rnn" else 0.6 + 0.01 * k, shift=k), guide=guide)
    found = dial_of(dials(study))
    assert len(found) == 5, "mixtures of some of the guides stand on the dial of all"
    assert found["best_share_low"].isna().all()
    assert found["best_probability"].sum() == pytest.approx(1)
    assert found.loc["cnn+vit+rnn", "better_end"] == "rnn trained"
    assert found.loc["cnn+vit", "better_end"] != "rnn trained", "which is none of its guides"


def test_a_share_that_was_searched_is_compared_with_its_ends(toy, dials):
    study = toy().baseline(values(0.5))
    study.guided(values(0.6, shift=1), guide="cnn").guided(values(0.62, shift=2), guide="vit")
    frame = dials(study.guided(values(0.7, shift=3), guide="tuned*cnn+tuned*vit"))
    found = dial_of(frame).loc["tuned*cnn+tuned*vit"]
    assert (found["weights"], found["better_end"], found["beats_ends"]) == (
        "tuned, tuned", "vit trained", True,
    )  # fmt: skip
    assert found[["share", "best_share_low"]].isna().all()


def test_where_nothing_differs_every_setting_may_be_best(toy, dials):
    """The interval of the best share holds nearly the whole dial where no setting is better."""
    generator, study = np.random.default_rng(5), toy()
    study.baseline(dict(enumerate(generator.normal(0.5, 0.02, 8).tolist())))
    for k in range(11):
        guide = {0: "vit", 10: "cnn"}.get(k, f"{k / 10:g}*cnn+{1 - k / 10:g}*vit")
        study.guided(dict(enumerate(generator.normal(0.6, 0.02, 8).tolist())), guide=guide)
    found = dial_of(dials(study))
    assert not found["beats_ends"].any()
    assert found["best_share_high"].iloc[0] - found["best_share_low"].iloc[0] > 0.3


def test_controls_of_guides_in_several_states(toy):
    study = toy().baseline(values(0.5))
    study.guided(values(0.7), "trained+untrained", guide=MIXED)
    study.guided(values(0.6), "untrained", guide=MIXED)
    study.control("labels", values(0.55), None, guide=MIXED)
    study.control("shuffled", values(0.5), "trained+untrained", guide=MIXED)
    (group,) = grouped(cells(study.replicates())).values()
    both, untrained, labels, shuffled = group
    assert guided_of(labels, group) is both
    assert guided_of(shuffled, group) is both
    assert controls_of(both, group) == [labels, shuffled]
    assert controls_of(untrained, group) == []

"""Maps of taps x taps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.errors import UserError
from analysis.plots.matrices import NO_RESULT
from analysis.schema import frame_of, schema
from tests.helpers.drawings import by_id, share_of_ink, texts, tick_names

BASE = {0: 0.5, 1: 0.6}


def rows(replicate, moment, value, **columns):
    """Similarities of two guide taps and three target taps, around `value`."""
    common = {"replicate_id": replicate, "moment": moment, "guide_moment": "final"}
    common |= {"measure": "linear_cka(unbiased=true)", "rows": "examples", "n": 100}
    common |= {"guide_id": f"guide/cnn/{replicate[-1]}"} | columns
    return [
        {
            **common,
            "guide_tap": guide, "target_tap": target, "similarity": value + 0.1 * i + 0.01 * j,
        }
        for i, guide in enumerate(["conv1", "conv2"])
        for j, target in enumerate(["dense1", "dense2", "dense3"])
    ]  # fmt: skip


@pytest.fixture
def study(toy):
    return toy().baseline(BASE).guided(BASE).guided(BASE, "untrained")


@pytest.fixture
def frame(study):
    guided = [row["replicate_id"] for row in study.plan if row.get("state") == "trained"]
    found = []
    for seed in (0, 1):
        found += rows(f"baseline/fcn/{seed}", "initial", 0.1 + 0.2 * seed)
        found += rows(f"baseline/fcn/{seed}", "final", 0.3 + 0.2 * seed)
        found += rows(guided[seed], "final", 0.6 + 0.1 * seed)
        # Of the other state's guide, and as measured in training: in no map.
        found += rows(f"baseline/fcn/{seed}", "final", 0.0, guide_moment="initial")
        found += rows(guided[seed], "final", 0.0, measure="linear_cka(estimator=batches)")
    return frame_of(found, schema("alignment"))


def values(ax):
    return [float(artist.get_label().rpartition(": ")[2]) for artist in by_id(ax, "cell").values()]


def test_before_guided_and_unguided_side_by_side(frame, study):
    ax = plots.alignment(frame, study.replicates(), state="trained")
    assert {"before training", "guided", "unguided"} <= {*texts(ax)}
    assert tick_names(ax, "y") == ["conv1", "conv2"]
    assert tick_names(ax, "x") == ["dense1", "dense2", "dense3"] * 3
    expected = [
        mean + 0.1 * i + 0.01 * j for mean in (0.2, 0.65, 0.4) for i in range(2) for j in range(3)
    ]
    assert values(ax) == pytest.approx(expected, abs=6e-4)


def test_cells_stand_where_their_ticks_are(frame, study):
    ax = plots.alignment(frame, study.replicates(), state="trained")
    middles = sorted({round(c.get_x() + 0.5, 3) for c in by_id(ax, "cell").values()})
    assert middles == pytest.approx([round(x, 3) for x in ax.get_xticks()])
    assert ax.get_ylim()[0] == 2


def test_mapped_pairs_have_a_frame(frame, study):
    ax = plots.alignment(frame, study.replicates(), state="trained", pairs=[("conv2", "dense1")])
    frames = [patch for patch in ax.patches if not patch.get_fill()]
    assert {round(patch.get_y()) for patch in frames} == {1}
    assert len(frames) == 2 * 3


def test_mapped_pairs_are_those_of_the_history(study):
    name = study.plan[-1]["replicate_id"]
    study.history += [
        (name, 10, "distance/dense1/conv2", 0.5), (name, 20, "distance/dense1/conv2", 0.4),
        (name, 20, "distance/dense2/conv1", 0.4), (name, 20, "train/distance", 0.4),
        ("baseline/fcn/0", 20, "distance/dense3/conv1", 0.4),
    ]  # fmt: skip
    replicates = study.replicates().query("role == 'guided'")
    found = plots.mapped_pairs(study.histories(), replicates)
    assert found == {("conv2", "dense1"), ("conv1", "dense2")}


def test_several_conditions_are_refused_and_named(frame, study):
    with pytest.raises(UserError, match=r"choose: state \(trained, untrained\)"):
        plots.alignment(frame, study.replicates())


def test_without_replicates_the_moments_are_the_maps(frame):
    ax = plots.alignment(frame[frame["replicate_id"] == "baseline/fcn/0"])
    assert {"initial", "final"} <= {*texts(ax)}
    assert len(by_id(ax, "cell")) == 12


def test_what_was_measured_in_training_is_taken_where_there_is_nothing_else(frame, study):
    measured = frame[frame["measure"].str.contains("estimator")]
    ax = plots.alignment(measured, study.replicates(), state="trained")
    assert "guided" in texts(ax)
    assert "before training" not in texts(ax)


def test_an_undefined_similarity_is_hatched(frame, study):
    frame.loc[frame["target_tap"] == "dense2", "similarity"] = np.nan
    ax = plots.alignment(frame, study.replicates(), state="trained")
    hatched = [cell for cell in by_id(ax, "cell").values() if cell.get_hatch() == NO_RESULT]
    assert len(hatched) == 2 * 3


def test_nothing_compared_yet_is_said(frame, study, tmp_path):
    ax = plots.alignment(frame.iloc[:0], study.replicates(), state="trained")
    assert "no taps were compared yet" in texts(ax)
    assert share_of_ink(ax, tmp_path) > 0


@pytest.fixture
def mixture(toy):
    """A mixture, and its rows: whole split by guide, and in training with numbers before taps."""
    study = toy().baseline(BASE).guided(BASE, guide="0.5*cnn+0.5*vit")
    guided = [row["replicate_id"] for row in study.plan if row["role"] == "guided"]
    found = []
    for row in study.plan:
        if row["role"] == "guided":
            row["guide_id"] = None
    for seed, name in enumerate(guided):
        for number, guide, value in ((1, "cnn", 0.1), (2, "vit", 0.4)):
            beside = {"guide_id": f"guide/{guide}/{seed}"}
            found += rows(f"baseline/fcn/{seed}", "final", value, **beside)
            found += rows(name, "final", value + 0.3, **beside)
            of_training = rows(
                name, "final", 0.0, measure="linear_cka(estimator=batches)", **beside
            )
            found += [r | {"guide_tap": f"{number}:{r['guide_tap']}"} for r in of_training]
        # Guides of others.
        found += rows(f"baseline/fcn/{seed}", "final", 0.9, guide_id=f"guide/rnn/{seed}")
        study.history.append((name, 20, f"distance/dense{seed + 1}/{seed + 1}:conv1", 0.5))
    return study, frame_of(found, schema("alignment"))


@pytest.mark.parametrize(("part", "guide", "value"), [(1, "cnn", 0.1), (2, "vit", 0.4)])
def test_a_mixture_has_a_map_beside_each_guide(mixture, part, guide, value):
    study, frame = mixture
    ax = plots.alignment(frame, study.replicates(), part=part)
    assert f"\nbeside {guide} trained; " in ax.get_title(loc="left")
    assert tick_names(ax, "y") == ["conv1", "conv2"]
    expected = [
        mean + 0.1 * i + 0.01 * j
        for mean in (value + 0.3, value) for i in range(2) for j in range(3)
    ]  # fmt: skip
    assert values(ax) == pytest.approx(expected, abs=6e-4)
    pairs = plots.mapped_pairs(study.histories(), study.replicates(), part)
    assert pairs == {("conv1", f"dense{part}")}


def test_which_guide_of_a_mixture_must_be_said(mixture):
    study, frame = mixture
    with pytest.raises(UserError, match=r"give part=: 1 \(cnn trained\), 2 \(vit trained\)"):
        plots.alignment(frame, study.replicates())


def test_in_training_alone_a_mixture_has_its_maps(mixture):
    study, frame = mixture
    measured = frame[frame["measure"].str.contains("estimator")]
    ax = plots.alignment(measured, study.replicates(), part=2)
    assert tick_names(ax, "y") == ["conv1", "conv2"]
    assert len(by_id(ax, "cell")) == 6


@pytest.mark.processes
def test_many_taps_with_awkward_names(tmp_path):
    taps = [f"<b>${k}" + "x" * 30 for k in range(40)]
    found = [
        {**rows("baseline/fcn/0", "final", 0.5)[0], "guide_tap": a, "target_tap": b}
        for a in taps for b in taps
    ]  # fmt: skip
    ax = plots.alignment(frame_of(found, schema("alignment")))
    names = tick_names(ax, "y")
    assert len({*names}) == 40
    assert share_of_ink(ax, tmp_path) > 0.3
    assert "<b>" not in plots.svg(ax, "a")
    assert isinstance(pd.Series(names).iloc[0], str)

"""Learning curves with bands over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import plots
from analysis.errors import UserError
from analysis.plots.learning_curves import MOST_NAMED
from tests.helpers.drawings import by_id, share_of_ink, texts

METRIC = "validation/accuracy"


def with_reports(study, steps=(0, 10, 20)):
    for row in study.plan:
        if not isinstance(study.outcomes[row["replicate_id"]], str):
            for step in steps:
                value = study.outcomes[row["replicate_id"]] * step / 20
                study.history.append((row["replicate_id"], step, METRIC, value))
    return study


@pytest.fixture
def frames(full, tables):
    return tables(with_reports(full))


def test_a_curve_for_each_condition_but_controls(frames):
    ax = plots.curves(frames["history"], frames["replicates"])
    lines = by_id(ax, "curve")
    assert [line.get_label() for line in lines.values()] == [
        "guide alone: cnn, n 5", "unguided, n 5", "trained, n 4", "untrained, n 5",
    ]  # fmt: skip
    assert lines["1"].get_xdata().tolist() == [0, 10, 20]
    mean = np.mean([0.50, 0.55, 0.52, 0.51, 0.53])
    assert lines["1"].get_ydata().tolist() == pytest.approx([0, 50 * mean, 100 * mean])
    assert ax.get_ylabel() == "validation/accuracy, %"
    looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in
             lines.values()}  # fmt: skip
    assert len(looks) == 4
    assert len({line.get_marker() for line in lines.values()}) == 4


def test_bands_are_the_intervals(frames):
    from analysis.learning_curves import learning_curves

    ax = plots.curves(frames["history"], frames["replicates"])
    found = learning_curves(frames["history"], frames["replicates"], METRIC)
    last = found.query("role == 'baseline' and step == 20").iloc[0]
    (path,) = by_id(ax, "band")["1"].get_paths()
    edges = path.vertices[path.vertices[:, 0] == 20][:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((100 * last["low"], 100 * last["high"]))


def test_controls_are_drawn_when_asked_for(frames):
    ax = plots.curves(frames["history"], frames["replicates"], controls=True)
    assert len(by_id(ax, "curve")) == 7
    assert any("control input" in text for text in texts(ax))


def test_one_seed_has_no_band(toy, tables):
    frames = tables(with_reports(toy().baseline({0: 0.5}).guided({0: 0.6})))
    ax = plots.curves(frames["history"], frames["replicates"])
    assert by_id(ax, "band") == {}
    assert len(by_id(ax, "curve")) == 2


def test_any_metric_of_the_history_can_be_named(full, tables):
    frames = tables(with_reports(full))
    ax = plots.curves(frames["history"], frames["replicates"], metric="train/loss")
    assert ax.get_ylabel() == "train/loss"
    with pytest.raises(UserError, match=r"'train/los'; did you mean 'train/loss'"):
        plots.curves(frames["history"], frames["replicates"], metric="train/los")


def test_a_target_comes_with_its_guides(toy, tables):
    study = (
        toy().guide({0: 0.9}).guide({0: 0.8}, "mlp").baseline({0: 0.5}).baseline({0: 0.5}, "rnn")
    )
    study.guided({0: 0.6}).guided({0: 0.7}, target="rnn", guide="mlp")
    frames = tables(with_reports(study))
    ax = plots.curves(frames["history"], frames["replicates"], target="rnn")
    assert [line.get_label() for line in by_id(ax, "curve").values()] == [
        "guide alone: mlp, n 1", "unguided, n 1", "mlp, trained, n 1",
    ]  # fmt: skip


def test_a_mixture_comes_with_each_of_its_guides(toy, tables):
    study = toy().guide({0: 0.9}).guide({0: 0.8}, "vit").guide({0: 0.7}, "mlp")
    study.baseline({0: 0.5}).baseline({0: 0.4}, "rnn")
    study.guided({0: 0.6}, guide="0.5*cnn+0.5*vit").guided({0: 0.7}, target="rnn", guide="mlp")
    for row in study.plan:
        if "+" in str(row.get("guide")):
            row["guide_id"] = None
    frames = tables(with_reports(study))
    ax = plots.curves(frames["history"], frames["replicates"], target="fcn")
    assert [line.get_label() for line in by_id(ax, "curve").values()] == [
        "guide alone: cnn, n 1", "guide alone: vit, n 1", "unguided, n 1",
        "0.5*cnn+0.5*vit, trained, n 1",
    ]  # fmt: skip


def test_nothing_yet_is_said(toy, tables, tmp_path):
    frames = tables(toy().baseline({0: "missing"}))
    ax = plots.curves(frames["history"], frames["replicates"])
    assert "no reports yet" in texts(ax)
    assert share_of_ink(ax, tmp_path) > 0


def test_the_legend_of_many_curves_is_cut_and_says_so(toy, tables):
    study = toy().baseline({0: 0.5})
    for k in range(MOST_NAMED + 5):
        study.guided({0: 0.6}, guide=f"$cnn_{k}$")
    frames = tables(with_reports(study))
    ax = plots.curves(frames["history"], frames["replicates"])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(by_id(ax, "curve")) == MOST_NAMED + 6
    assert legend[-1] == "and 6 more"
    assert legend[1].startswith("$cnn_0$")
    assert not any(text.get_parse_math() for text in ax.get_legend().get_texts())

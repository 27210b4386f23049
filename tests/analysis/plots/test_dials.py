"""Effects over a dial."""

from __future__ import annotations

import pytest

from analysis import plots
from analysis.errors import UserError
from analysis.plots.study_figures import Choice
from tests.helpers.drawings import by_id, share_of_ink, texts

BASE = {0: 0.50, 1: 0.52, 2: 0.51}


def lifted(by, spread=0.01):
    return {seed: value + by + spread * seed for seed, value in BASE.items()}


@pytest.fixture
def study(toy):
    made = toy().baseline(BASE)
    for alpha in (1.0, 0.1, 10.0):
        for state in ("trained", "untrained"):
            by = 0.1 * alpha if state == "trained" else -0.01
            made.guided(lifted(by), state, alpha=alpha, schedule=f"alpha={alpha:g}")
    return made


def test_a_line_for_each_state_over_alpha(study, tables):
    transfer = tables(study)["transfer"]
    ax = plots.dial(transfer)
    lines = by_id(ax, "dial")
    assert [line.get_label() for line in lines.values()] == ["trained", "untrained"]
    assert lines["0"].get_xdata().tolist() == [0.1, 1.0, 10.0]
    assert lines["0"].get_ydata().tolist() == pytest.approx([2, 11, 101])
    assert ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "1", "10"]
    for drawn in by_id(ax, "point").values():
        (x,), (y,) = drawn.get_data()
        assert ax.get_xlim()[0] < x < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < y < ax.get_ylim()[1]
    point = by_id(ax, "point")["0-1"]
    assert point.get_markerfacecolor() != "white"
    assert by_id(ax, "point")["1-1"].get_markerfacecolor() == "white"
    row = transfer.query("alpha == 1 and state == 'trained' and metric == 'accuracy'").iloc[0]
    low, high = (100 * row[f"difference_{side}"] for side in ("low", "high"))
    assert point.get_label() == f"1: +11.0 [{low:.1f}, {high:.1f}], n 3"
    assert ax.get_ylabel() == "difference in accuracy, points (positive is better)"
    own = plots.dial(transfer, metric="loss")
    assert own.get_ylabel() == "difference in loss (positive is better)"


def test_seeds_are_those_of_the_value(toy, tables):
    study = toy().baseline(BASE)
    for alpha in (1.0, 10.0):
        columns = {"alpha": alpha, "schedule": f"alpha={alpha:g}"}
        study.guided(lifted(0.1), **columns)
        study.control("shuffled", {0: 0.5, 1: 0.53, 2: "failed"}, **columns)
    ax = plots.dial(tables(study)["transfer"], value="specific")
    assert {point.get_label().rpartition(", ")[2] for point in by_id(ax, "point").values()} == {
        "n 2"
    }


def test_settings_close_together_have_a_plain_scale(toy, tables):
    study = toy().baseline(BASE)
    for stop in (0, 100, 200):
        study.guided(lifted(0.1), stop_step=stop, schedule=f"alpha=1,stop={stop}")
    ax = plots.dial(tables(study)["transfer"], x="stop_step")
    assert ax.get_xscale() == "linear"
    assert by_id(ax, "dial")["0"].get_xdata().tolist() == [0, 100, 200]


@pytest.fixture
def mixed(toy, tables):
    """Mixtures of two states, with their ends, at one of two targets; another guide beside them."""
    made = toy().baseline(BASE).baseline(BASE, "mlp")
    made.control("input", lifted(0.05), None)
    for state, more in (("trained", 0.1), ("untrained", 0.02)):
        for k, guide in enumerate(["cnn", "0.9*cnn+0.1*vit", "0.25*cnn+0.75*vit", "vit"]):
            made.guided(lifted(more * (k + 1)), state, guide=guide)
    made.guided(lifted(0.3), "untrained+trained", guide="0.5*cnn+0.5*vit")
    made.guided(lifted(0.5), guide="rnn")
    for guide in ("cnn", "0.5*cnn+0.5*vit"):
        made.guided(lifted(0.2), guide=guide, target="mlp")
    return tables(made)


def test_a_line_for_each_mixture_over_its_weights(mixed):
    ax = plots.dial(mixed["dials"], x="weight", target="fcn")
    lines = by_id(ax, "dial")
    assert [line.get_label() for line in lines.values()] == [
        "cnn trained and vit trained",
        "cnn untrained and vit untrained",
        "cnn untrained and vit trained",
    ]
    assert lines["0"].get_xdata().tolist() == [0, 0.25, 0.9, 1]
    assert lines["0"].get_ydata().tolist() == pytest.approx([41, 31, 21, 11])
    # The ends of mixed states are an untrained and a trained guide.
    assert lines["2"].get_xdata().tolist() == [0, 0.5, 1]
    assert lines["2"].get_ydata().tolist() == pytest.approx([41, 31, 3])
    assert ax.get_xscale() == "linear"
    point = by_id(ax, "point")["0-0"]
    assert point.get_label().startswith("0, 1: +41.0")
    row = mixed["dials"].query("guide == 'vit' and metric == 'accuracy'").iloc[0]
    assert f"{100 * row['difference_low']:.1f}" in point.get_label()


def test_a_panel_of_weights_for_each_target(mixed, tmp_path):
    figure = plots.study_figure("dial", mixed.__getitem__)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["toy\nfcn", "toy\nmlp"]
    assert "share of the first guide\ncnn trained and vit trained" in texts(figure.axes[1])
    plots.save(figure, tmp_path / "a.png")
    (one,) = plots.study_figure(
        "dial", mixed.__getitem__, Choice(target="mlp", value="specific")
    ).axes
    assert any("no guided conditions with a result and a weight" in t for t in texts(one))


def test_settings_of_one_share_are_not_joined(toy, tables):
    study = toy().baseline(BASE)
    for k, guide in enumerate(["0.5*a+0.25*b+0.25*c", "0.5*a+0.4*b+0.1*c", "a", "b", "c"]):
        study.guided(lifted(0.1 * k), guide=guide)
    ax = plots.dial(tables(study)["dials"], x="weight")
    assert by_id(ax, "dial")["0"].get_linestyle() == "None"
    assert len(by_id(ax, "point")) == 5


def test_one_seed_is_a_point_without_an_interval(toy, tables):
    study = toy().baseline({0: 0.5})
    for alpha in (1.0, 2.0):
        study.guided({0: 0.6}, alpha=alpha, schedule=f"alpha={alpha:g}")
    ax = plots.dial(tables(study)["transfer"])
    assert [p.get_markerfacecolor() for p in by_id(ax, "point").values()] == ["white"] * 2


def test_nothing_to_show_is_said(study, tables, tmp_path):
    ax = plots.dial(tables(study)["transfer"].iloc[:0], x="stop_step")
    assert any("no guided conditions with a result and a stop step" in t for t in texts(ax))
    assert share_of_ink(ax, tmp_path) > 0


def test_what_is_no_dial_is_refused(study, tables):
    with pytest.raises(UserError, match="'verdict' is none"):
        plots.dial(tables(study)["transfer"], x="verdict")
    with pytest.raises(UserError, match="no column 'alhpa'"):
        plots.dial(tables(study)["transfer"], x="alhpa")

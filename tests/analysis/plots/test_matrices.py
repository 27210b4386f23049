"""The heat map of guides x targets."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from analysis import plots
from analysis.errors import UserError
from analysis.plots.matrices import NO_RESULT, NOT_PLANNED
from analysis.plots.style import LONGEST_NAME
from tests.helpers.drawings import by_id, share_of_ink, texts, tick_names

AWKWARD = ["<script>alert(1)</script>", "$x^2$", 'a_b & "c"', "مرحبا", "f(" + "x=1," * 60 + ")"]
WORSE, BETTER = (0.40, 0.43, 0.41), (0.70, 0.73, 0.74)
BASE = (0.50, 0.55, 0.52)


def seeds(values):
    return dict(enumerate(values))


@pytest.fixture
def study(toy):
    """Two targets: `fcn` is lifted by one guide and hurt by another, `rnn` has a failed cell."""
    made = toy().baseline(seeds(BASE)).baseline(seeds(BASE), "rnn")
    made.guided(seeds(BETTER)).guided(seeds(WORSE), guide="mlp")
    made.guided({0: "failed", 1: "failed", 2: "failed"}, target="rnn", guide="mlp")
    return made


def test_cells_show_estimate_interval_n_and_sign(study, tables):
    transfer = tables(study)["transfer"]
    ax = plots.matrix(transfer)
    assert tick_names(ax, "y") == ["cnn", "mlp"]
    assert tick_names(ax, "x") == ["fcn", "rnn"]
    row = transfer.query("guide == 'cnn' and metric == 'accuracy'").iloc[0]
    (shown,) = [text for text in texts(ax) if text.startswith("▲ +20.0")]
    numbers = [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d+\.\d+", shown)]
    columns = ["difference", "difference_low", "difference_high"]
    assert numbers == pytest.approx([100 * row[column] for column in columns], abs=0.05)
    assert shown.endswith("n 3")
    assert any(text.startswith("▼ −11.0") for text in texts(ax))


def test_colours_are_of_effects_around_zero(study, tables):
    cells = by_id(plots.matrix(tables(study)["transfer"]), "cell")
    better, worse = (np.array(cells[name].get_facecolor()[:3]) for name in ("0-0", "1-0"))
    assert better[2] > better[0]
    assert worse[0] > worse[2]


def test_colour_is_of_what_is_established(study, tables):
    """A wild estimate, the largest of all, has no colour, and sets no scale."""
    transfer = tables(study)["transfer"]
    rows = transfer["guide"] == "cnn"
    calm = by_id(plots.matrix(transfer), "cell")["1-0"].get_facecolor()
    transfer.loc[rows, ["difference", "difference_low", "difference_high"]] = [-0.9, -2.0, 0.2]
    ax = plots.matrix(transfer)
    cells = by_id(ax, "cell")
    red, green, blue, _ = cells["0-0"].get_facecolor()
    assert red == green == blue
    assert cells["1-0"].get_facecolor()[2] < calm[2]
    assert any("grey: no interval, or one that holds zero" in text for text in texts(ax))
    transfer[["difference_low", "difference_high"]] = np.nan
    ax = plots.matrix(transfer)
    shown = [cell for cell in by_id(ax, "cell").values() if not cell.get_hatch()]
    assert len({cell.get_facecolor() for cell in shown}) == 1
    assert len(ax.figure.axes) == 1, "a scale of colours that no cell has"


def test_what_is_not_there_is_hatched_and_said(study, tables):
    ax = plots.matrix(tables(study)["transfer"])
    cells = by_id(ax, "cell")
    assert cells["1-1"].get_hatch() == NO_RESULT
    assert cells["0-1"].get_hatch() == NOT_PLANNED
    assert cells["0-0"].get_hatch() is None
    assert "failed: 3" in texts(ax)
    assert cells["1-1"].get_label() == "mlp -> rnn: failed: 3"
    assert cells["0-1"].get_label() == "cnn -> rnn: not planned"


def test_what_differs_beside_guide_and_target_is_in_the_rows(study, tables):
    study.guided(seeds(BETTER), "untrained")
    ax = plots.matrix(tables(study)["transfer"])
    assert tick_names(ax, "y") == ["cnn, trained", "mlp, trained", "cnn, untrained"]


def test_two_tasks_are_refused_and_named(study, tables):
    transfer = tables(study)["transfer"]
    other = transfer.assign(task="other")
    both = plots.matrix  # noqa: F841
    import pandas as pd

    with pytest.raises(UserError, match=r"one task: give task= \(toy, other\)"):
        plots.matrix(pd.concat([transfer, other]))
    with pytest.raises(UserError, match=r"unknown task: 'to'; did you mean 'toy'"):
        plots.matrix(transfer, task="to")


def test_the_metric_is_the_primary_one_unless_named(study, tables):
    transfer = tables(study)["transfer"]
    assert "difference in accuracy" in texts(plots.matrix(transfer))[-1] or any(
        "difference in accuracy" in text for text in texts(plots.matrix(transfer))
    )
    assert "toy: difference in accuracy, points" in "\n".join(texts(plots.matrix(transfer)))
    assert any("in loss" in text for text in texts(plots.matrix(transfer, metric="loss")))


def test_ratios_are_in_no_unit(study, tables):
    transfer = tables(study)["transfer"].assign(gap_closed=0.5)
    drawn = texts(plots.matrix(transfer, value="gap_closed"))
    assert any(text.startswith("+0.500") for text in drawn)
    assert any("gap closed in accuracy" in text and "points" not in text for text in drawn)


def test_levels_have_a_scale_of_one_direction(study, tables):
    ax = plots.matrix(tables(study)["transfer"], value="guided")
    assert any(text.startswith("72.3") for text in texts(ax))
    assert not any("▲" in text for text in texts(ax))


@pytest.mark.parametrize("value", ["verdict", "n_faild"])
def test_a_value_that_is_no_number_is_refused(study, tables, value):
    with pytest.raises(UserError, match=value):
        plots.matrix(tables(study)["transfer"], value=value)


def test_one_seed_and_no_spread_have_no_interval(toy, tables):
    study = toy().baseline({0: 0.5}).baseline(seeds([0.5] * 3), "rnn")
    study.guided({0: 0.75}).guided(seeds([0.75] * 3), target="rnn")
    shown = [text for text in texts(plots.matrix(tables(study)["transfer"])) if "+25" in text]
    assert shown == ["+25.0\nn 1", "+25.0\nn 3"]


def test_a_difference_to_a_matched_baseline_has_its_own_seeds(study, tables):
    transfer = tables(study)["transfer"].assign(difference_matched=0.125, matched_n=2)
    drawn = texts(plots.matrix(transfer, value="difference_matched"))
    shown = [text for text in drawn if "12.5" in text]
    assert shown
    assert all("\nn 2" in text for text in shown)


def test_an_empty_table_says_so(study, tables, tmp_path):
    ax = plots.matrix(tables(study)["transfer"].iloc[:0])
    assert "no guided conditions" in texts(ax)
    assert share_of_ink(ax, tmp_path) > 0


@pytest.mark.processes
def test_forty_by_forty_cells(study, tables, tmp_path):
    template = tables(study)["transfer"].query("guide == 'cnn' and metric == 'accuracy'")
    import pandas as pd

    names = itertools.product(range(40), range(40))
    frame = pd.concat([template] * 1600, ignore_index=True).assign(
        **dict(zip(("guide", "target"), zip(*((f"g{a}", f"t{b}") for a, b in names), strict=True),
                   strict=True))
    )  # fmt: skip
    frame["difference"] = np.linspace(-1, 1, 1600)
    frame["difference_low"] = frame["difference"] - 0.1
    frame["difference_high"] = frame["difference"] + 0.1
    ax = plots.matrix(frame)
    assert len(by_id(ax, "cell")) == 1600
    marks = texts(ax)
    assert marks.count("▲") == marks.count("▼") == (frame["difference_low"] > 0).sum()
    assert any("n 3" in text for text in marks)
    assert share_of_ink(ax, tmp_path) > 0.3
    assert plots.svg(ax, "m").count("<title>") == 1600


def test_names_are_plain_text(toy, tables, tmp_path):
    study = toy()
    for name in AWKWARD:
        study.baseline(seeds(BASE), name).guided(seeds(BETTER), target=name, guide=name)
    ax = plots.matrix(tables(study)["transfer"])
    assert tick_names(ax, "x")[:4] == AWKWARD[:4]
    assert len(tick_names(ax, "x")[4]) <= LONGEST_NAME
    assert all(not label.get_parse_math() for label in ax.get_xticklabels())
    assert share_of_ink(ax, tmp_path) > 0.01
    text = plots.svg(ax, "m")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert ">$x^2$<" in text


def test_given_axes_are_drawn_on(study, tables):
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.add_subplot(2, 1, 2)
    assert plots.matrix(tables(study)["transfer"], ax=ax) is ax
    assert len(by_id(ax, "cell")) == 4

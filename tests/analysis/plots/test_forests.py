"""Forest plots: estimates, intervals, and a dot for each seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import plots
from analysis.errors import UserError
from tests.helpers.drawings import by_id, share_of_ink, texts, tick_names


@pytest.fixture
def frames(full, tables):
    return tables(full)


def dots(ax, place):
    return by_id(ax, "seeds")[str(place)].get_offsets()[:, 0]


def test_conditions_against_their_baseline(frames):
    ax = plots.forest(frames["transfer"], frames["pairs"])
    assert tick_names(ax, "y") == [
        "trained", "untrained", "trained, control shuffled", "untrained, control shuffled",
        "control input",
    ]  # fmt: skip
    row = frames["transfer"].query("metric == 'accuracy'").iloc[0]
    line = by_id(ax, "interval")["0"]
    limits = [100 * row[f"difference_{side}"] for side in ("low", "high")]
    assert line.get_xdata() == pytest.approx(limits)
    assert by_id(ax, "estimate")["0"].get_xdata() == pytest.approx([100 * row["difference"]])
    # Seed 3 failed; the others by hand.
    assert sorted(dots(ax, 0)) == pytest.approx([18, 18, 20, 22])
    shown = f"+19.5  [{limits[0]:.1f}, {limits[1]:.1f}]  n 4, 1 failed"
    assert shown in texts(ax)
    named = "condition minus baseline, accuracy, points (positive is better)"
    assert ax.get_xlabel() == named


def legend_of(ax):
    found = ax.get_legend()
    return [text.get_text() for text in found.get_texts()]


def test_a_legend_says_what_each_mark_is(frames, toy, tables):
    ax = plots.forest(frames["transfer"], frames["pairs"])
    assert legend_of(ax)[0] == "mean, 95% interval without zero"
    assert legend_of(ax)[-1] == "a seed"
    assert "a seed" not in legend_of(plots.forest(frames["transfer"]))
    study = toy().baseline({0: 0.50, 1: 0.51, 2: 0.52})
    study.guided({0: 0.49, 1: 0.53, 2: 0.51}).control("shuffled", {0: 0.75})
    found = tables(study)
    assert legend_of(plots.forest(found["transfer"], found["pairs"])) == [
        "interval holds zero", "no interval", "a seed",
    ]  # fmt: skip


def test_the_title_says_against_what(frames):
    titles = [
        plots.forest(frames["transfer"], against=against).get_title(loc="left")
        for against in ("baseline", "controls")
    ]
    assert titles[0].startswith("toy: every condition against the unguided target")
    assert titles[1].startswith("toy: guided conditions against their controls")


def test_conditions_without_controls_say_why(frames):
    transfer = frames["transfer"]
    plain = transfer[transfer["control"] == "none"].head(1).assign(specific_control=None)
    rival = plain.assign(
        treatment="label_smoothing", guide=None, state=None, distance=None, mapping=None,
        schedule=None, missing_controls=None,
    )  # fmt: skip
    ax = plots.forest(pd.concat([plain, rival]), against="controls")
    assert tick_names(ax, "y").count("   no control") == 2
    assert "none was planned" in texts(ax)
    assert "a rival without a guide or prior has none" in texts(ax)
    # All guided rows have the distance, the mapping and the schedule.
    names = tick_names(plots.forest(pd.concat([transfer, rival])), "y")
    assert not [name for name in names if "linear_cka" in name or "alpha=1" in name]
    assert names[-1] == "label_smoothing"


def test_controls_have_one_order(toy, tables):
    study = toy().baseline({0: 0.5, 1: 0.51, 2: 0.6})
    for guide, controls in (("cnn", ("labels", "shuffled")), ("mlp", ("shuffled", "labels"))):
        study.guided({0: 0.7, 1: 0.71, 2: 0.75}, guide=guide)
        for name in controls:
            state = None if name == "labels" else "trained"
            study.control(name, {0: 0.6, 1: 0.61, 2: 0.66}, state, guide=guide)
    found = tables(study)
    ax = plots.forest(found["transfer"], found["pairs"], against="controls")
    names = [name.strip() for name in tick_names(ax, "y")]
    assert names == [
        "cnn", "minus shuffled", "minus labels", "mlp", "minus shuffled", "minus labels",
    ]  # fmt: skip


def test_a_metric_without_points_keeps_its_own_numbers(frames):
    ax = plots.forest(frames["transfer"], frames["pairs"], metric="loss")
    row = frames["transfer"].query("metric == 'loss'").iloc[0]
    assert by_id(ax, "estimate")["0"].get_xdata() == pytest.approx([row["difference"]])
    assert ax.get_xlabel() == "condition minus baseline, loss (positive is better)"
    assert any(text.startswith(f"{row['difference']:+.3f}".replace("-", "−")) for text in texts(ax))


def test_the_mean_of_the_dots_is_the_estimate(frames):
    ax = plots.forest(frames["transfer"], frames["pairs"], metric="loss")
    for place, estimate in by_id(ax, "estimate").items():
        assert np.mean(dots(ax, place)) == pytest.approx(estimate.get_xdata()[0])


def test_guided_against_each_control(frames):
    ax = plots.forest(frames["transfer"], frames["pairs"], against="controls")
    assert [name.strip() for name in tick_names(ax, "y")] == [
        "trained", "minus shuffled", "minus input", "untrained", "minus shuffled", "minus input",
    ]  # fmt: skip
    control = (
        frames["transfer"].query("metric == 'accuracy' and control == 'input'").iloc[0]
    )  # compared with the trained guide
    assert by_id(ax, "estimate")["2"].get_xdata() == pytest.approx([100 * control["specific"]])
    assert by_id(ax, "interval")["2"].get_xdata() == pytest.approx(
        [100 * control["specific_low"], 100 * control["specific_high"]]
    )
    assert len(dots(ax, 2)) == 4


def test_without_pairs_the_deciding_control_is_shown(frames):
    ax = plots.forest(frames["transfer"], against="controls")
    transfer = frames["transfer"].query("metric == 'accuracy' and control == 'none'")
    names = [name.strip() for name in tick_names(ax, "y")]
    assert names == [
        "trained", f"minus {transfer['specific_control'].iloc[0]}",
        "untrained", f"minus {transfer['specific_control'].iloc[1]}",
    ]  # fmt: skip
    assert by_id(ax, "seeds") == {}


def test_marks_tell_apart_what_excludes_zero_without_colour(toy, tables):
    study = toy().baseline({0: 0.50, 1: 0.51, 2: 0.52})
    study.guided({0: 0.70, 1: 0.72, 2: 0.71}).guided({0: 0.49, 1: 0.53, 2: 0.51}, "untrained")
    study.control("shuffled", {0: 0.75})
    frames = tables(study)
    ax = plots.forest(frames["transfer"], frames["pairs"])
    marks = by_id(ax, "estimate")
    assert [marks[k].get_marker() for k in "012"] == ["D", "D", "x"]
    faces = [marks[k].get_markerfacecolor() for k in "01"]
    assert faces[0] != "white"
    assert faces[1] == "white"


def test_failed_and_missing_conditions_say_so(toy, tables):
    study = toy().baseline({0: 0.5, 1: 0.5, 2: 0.6})
    study.guided(dict.fromkeys(range(3), "failed")).guided(
        dict.fromkeys(range(3), "missing"), "untrained"
    )
    frames = tables(study)
    ax = plots.forest(frames["transfer"], frames["pairs"])
    assert {"n 0, 3 failed", "n 0, no result yet"} <= {*texts(ax)}
    assert by_id(ax, "estimate") == {}


def test_an_empty_table_says_so(frames, tmp_path):
    empty = frames["transfer"].iloc[:0]
    for against in ("baseline", "controls"):
        ax = plots.forest(empty, frames["pairs"].iloc[:0], against=against)
        assert texts(ax)[-1:] != []
        assert "no guided conditions" in texts(ax)
        assert share_of_ink(ax, tmp_path) > 0


def test_unknown_arguments_name_what_exists(frames):
    with pytest.raises(UserError, match=r"'contols'; did you mean 'controls'"):
        plots.forest(frames["transfer"], against="contols")
    with pytest.raises(UserError, match=r"unknown target: 'rnn' \(known: fcn\)"):
        plots.forest(frames["transfer"], target="rnn")


def test_a_control_shared_by_two_guides_has_dots_below_both(toy, tables, tasks):
    """The table `replicates` holds a replicate once, `pairs` in each of its places."""
    from analysis.pairs import pair_table

    study = toy().baseline({0: 0.5, 1: 0.5, 2: 0.6})
    for guide in ("cnn", "mlp"):
        study.guided({0: 0.7, 1: 0.71, 2: 0.75}, guide=guide)
        study.control("labels", {0: 0.6, 1: 0.61, 2: 0.66}, None, guide=guide)
    uses = study.replicates()
    shared = uses["replicate_id"].str.replace("mlp/None", "cnn/None", regex=False)
    uses["replicate_id"] = shared
    from analysis.transfer import transfer_table

    pairs = pair_table(uses, tasks)
    transfer = transfer_table(uses, study.histories(), tasks)
    ax = plots.forest(transfer, pairs)
    assert [len(dots(ax, place)) for place in range(4)] == [3, 3, 3, 3]

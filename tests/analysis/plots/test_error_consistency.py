"""Error consistency with intervals, bounds and references."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import plots
from analysis.schema import frame_of, schema
from tests.helpers.drawings import by_id, share_of_ink, texts, tick_names

CONDITION = {"study": "toy", "task": "toy", "target": "fcn", "guide": "cnn", "schedule": "alpha=1"}


def row(other, kappa, **columns):
    found = {**CONDITION, "with": other, "n": 5, "kappa": kappa}
    if kappa is not None:
        found |= {"kappa_low": kappa - 0.05, "kappa_high": kappa + 0.05}
        found |= {"bound_low": -0.2, "bound_high": 0.9}
    return found | columns


@pytest.fixture
def frame():
    trained = {"state": "trained", "control": "none"}
    excess = {"excess": 0.066, "excess_low": 0.03, "excess_high": 0.102}
    return frame_of(
        [
            row("guide", 0.27, **trained, **excess),
            row("other_guide", 0.248, **trained),
            row("baseline", 0.4, **trained),
            row("guide", 0.22, state="untrained", control="none"),
            row("guide", 0.21, state="trained", control="shuffled", n=4),
            row("guide", 0.204),
            row("other_baseline", 0.416, guide=None),
            row("other_guide", 0.299, target="cnn", guide=None),
        ],
        schema("consistency"),
    )


def test_a_row_for_each_condition_and_reference(frame):
    ax = plots.consistency(frame)
    assert [name.strip() for name in tick_names(ax, "y")] == [
        "trained", "untrained", "trained, control shuffled", "for reference",
        "unguided with the guide", "unguided with unguided of other seeds", "guides of two seeds",
    ]  # fmt: skip
    assert by_id(ax, "estimate")["0"].get_xdata() == pytest.approx([0.27])
    assert by_id(ax, "interval")["0"].get_xdata() == pytest.approx([0.22, 0.32])
    assert by_id(ax, "estimate")["6"].get_xdata() == pytest.approx([0.299])
    (shown,) = [text for text in texts(ax) if text.startswith("0.270")]
    assert shown == "0.270  [0.220, 0.320]  n 5, excess +0.066 [+0.030, +0.102], other guides 0.248"


def test_mixtures_and_rivals_are_left_out(frame):
    mixed = {"guide": "0.5*cnn+0.5*vit", "n": 0}
    rival = {"guide": None, "treatment": "label_smoothing", "control": "none"}
    more = [
        row("guide", None, state="trained", control="none", **mixed),
        row("guide", None, **mixed),
        row("baseline", 0.8, **rival),
    ]
    whole = pd.concat([frame, frame_of(more, schema("consistency"))], ignore_index=True)
    assert tick_names(plots.consistency(whole), "y") == tick_names(plots.consistency(frame), "y")


def test_bounds_lie_behind(frame):
    ax = plots.consistency(frame)
    bounds = [line for line in ax.lines if list(line.get_xdata()) == [0, 0.9]]
    assert len(bounds) == 4
    assert ax.get_xlim()[1] > 0.9
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == ["mean, 95% interval", "up to the largest kappa at these accuracies"]


def test_kappa_that_is_not_defined_or_not_there(frame):
    frame.loc[0, ["kappa", "kappa_low", "kappa_high", "bound_low", "bound_high"]] = None
    frame.loc[3, ["kappa", "kappa_low", "kappa_high", "bound_low", "bound_high"]] = None
    frame.loc[3, "n"] = 0
    shown = texts(plots.consistency(frame))
    assert any(text.startswith("n 5, not defined") for text in shown)
    assert "n 0, no result yet" in shown


def test_another_target_is_not_in_the_references(frame):
    other = frame.assign(target=frame["target"].replace("fcn", "rnn"), guide="mlp")
    import pandas as pd

    ax = plots.consistency(pd.concat([frame, other]), target="fcn")
    assert len(tick_names(ax, "y")) == 7


def test_an_empty_table_says_so(frame, tmp_path):
    ax = plots.consistency(frame.iloc[:0])
    assert "no guided conditions" in texts(ax)
    assert share_of_ink(ax, tmp_path) > 0

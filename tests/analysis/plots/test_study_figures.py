"""All panels of one kind for a study."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import plots
from analysis.errors import UserError
from analysis.plots.study_figures import Choice
from tests.helpers.drawings import ink, texts


@pytest.fixture
def frames(full, tables):
    from analysis.schema import frame_of, schema

    found = tables(full)
    for name in ("alignment", "consistency", "priors"):
        found[name] = frame_of([], schema(name))
    return found


@pytest.mark.parametrize("kind", [kind for kind in plots.KINDS if kind != "dial"])
def test_every_kind_is_drawn_for_a_study(frames, tmp_path, kind):
    loaded = []

    def load(table):
        loaded.append(table)
        return frames[table]

    figure = plots.study_figure(kind, load)
    assert {*loaded} <= {*plots.KINDS[kind].tables}
    plots.save(figure, tmp_path / "a.png")
    assert ink(tmp_path / "a.png") > 0.001


def test_a_panel_for_each_task(frames):
    both = frames | {
        "transfer": pd.concat([frames["transfer"], frames["transfer"].assign(task="other")])
    }
    figure = plots.study_figure("matrix", both.__getitem__)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert [title.partition(":")[0] for title in titles] == ["toy", "other"]
    chosen = plots.study_figure("matrix", both.__getitem__, Choice(task="other"))
    assert chosen.axes[0].get_title(loc="left").startswith("other: ")


def test_a_column_of_priors_is_a_matrix_too(frames):
    figure = plots.study_figure("matrix", frames.__getitem__, Choice(value="knowledge"))
    assert any("nothing to show yet" in text for text in texts(figure.axes[0]))
    with pytest.raises(UserError, match="'knowlege'; did you mean 'knowledge'"):
        plots.study_figure("matrix", frames.__getitem__, Choice(value="knowlege"))


def test_a_study_without_a_dial_says_so(frames):
    with pytest.raises(UserError, match="no guided conditions differ in alpha"):
        plots.study_figure("dial", frames.__getitem__)


def test_an_unknown_kind_names_those_that_are(frames):
    with pytest.raises(UserError, match=r"'matix'; did you mean 'matrix'.*consistency, curves"):
        plots.study_figure("matix", frames.__getitem__)


def test_too_many_panels_are_refused(frames):
    many = pd.concat([frames["transfer"].assign(target=f"t{k}") for k in range(30)])
    with pytest.raises(UserError, match="60 panels, more than 24; choose a task, target or guide"):
        plots.study_figure("forest", (frames | {"transfer": many}).__getitem__)

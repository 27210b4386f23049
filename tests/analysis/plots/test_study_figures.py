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


def test_forest_plots_of_a_task_have_one_range(frames):
    wide = frames["transfer"].assign(target="wide")
    columns = ["difference", "difference_low", "difference_high"]
    wide[columns] = 4 * wide[columns]
    both = frames | {"transfer": pd.concat([frames["transfer"], wide])}
    figure = plots.study_figure("forest", both.__getitem__)
    assert len(figure.axes) == 4
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_of_many_conditions_the_first_alignments_are_drawn(frames):
    from analysis.plots.study_figures import MOST_ALIGNMENTS
    from analysis.schema import frame_of, schema
    from tests.analysis.plots.conftest import alignment_rows

    guided = frames["replicates"].query("role == 'guided'").iloc[:1]
    conditions = MOST_ALIGNMENTS + 3
    replicates = pd.concat(
        [guided.assign(replicate_id=f"r{k}", target=f"t{k}") for k in range(conditions)]
    )
    guide = guided["guide_id"].iloc[0]
    measured = [
        row
        for k in range(conditions)
        for row in alignment_rows(f"r{k}", "final", 0.5, guide_id=guide)
    ]
    found = frames | {
        "replicates": replicates, "alignment": frame_of(measured, schema("alignment")),
    }  # fmt: skip
    figure = plots.study_figure("alignment", found.__getitem__)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert [title.split()[1] for title in titles] == [f"t{k}" for k in range(MOST_ALIGNMENTS)]
    said = [text for ax in figure.axes for text in texts(ax) if "not drawn" in text]
    left_out = f"3 of {conditions} guided conditions are not drawn"
    assert said == [f"{left_out}: choose with --task, --target or --guide"]
    one = plots.study_figure("alignment", found.__getitem__, Choice(target="t6"))
    assert any("t6" in ax.get_title(loc="left") for ax in one.axes)


def test_too_many_panels_are_refused(frames):
    many = pd.concat([frames["transfer"].assign(target=f"t{k}") for k in range(30)])
    with pytest.raises(UserError, match="60 panels, more than 24; choose a task, target or guide"):
        plots.study_figure("forest", (frames | {"transfer": many}).__getitem__)

"""Sections of the page made of a few rows in memory: their words, columns and blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import StudyTables, alignments, consistencies, listing, statements
from analysis.report.blocks import Beside, Heading
from analysis.report.environment import environment
from analysis.schema import frame_of, schema


def tables(folder: Path, **rows: list[dict[str, Any]]) -> StudyTables:
    """Tables in memory, of these rows by name."""
    frames: dict[str, pd.DataFrame] = {
        name: frame_of(each, schema(name, ["accuracy"])) for name, each in rows.items()
    }
    return StudyTables("any", folder, frames)


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ([True, False], "1 of 2 rules of the spec hold."),
        ([True], "1 of 1 rule of the spec holds."),
        ([True, None], "1 of 1 rule of the spec holds; 1 more could not be checked."),
        ([None, None], "The 2 rules of the spec could not be checked: the table says why."),
        ([None], "The rule of the spec could not be checked: the table says why."),
    ],
)
def test_rules_that_could_not_be_checked_do_not_count(
    tmp_path: Path, holds: list[bool | None], words: str
) -> None:
    rows = [
        {"study": "any", "place": f"expect[{k}]", "rule": "trained >= 0", "n": 0, "holds": each}
        for k, each in enumerate(holds)
    ]
    section = statements.section(tables(tmp_path, expectations=rows))
    assert section is not None
    assert section.blocks[0].text == words


def similarities(replicate: str, guide: str, value: float, **columns: Any) -> list[dict[str, Any]]:
    """Similarity of two taps of a guide with one of a replicate."""
    row = {"replicate_id": replicate, "guide_id": guide, "guide_moment": "final", "n": 100,
           "moment": "final", "measure": "linear_cka(unbiased=true)", "rows": "examples",
           "target_tap": "dense", "similarity": value}  # fmt: skip
    return [row | {"guide_tap": tap} | columns for tap in ("conv1", "conv2")]


def test_a_mixture_has_maps_beside_each_of_its_guides(tmp_path: Path) -> None:
    guided = {"study": "any", "task": "digits", "target": "fcn", "treatment": "guidance",
              "guide": "0.5*cnn+0.5*vit", "state": "trained", "control": "none",
              "role": "guided", "seed": 0, "replicate_id": "g", "baseline_id": "b",
              "status": "finished"}  # fmt: skip
    measured: list[dict[str, Any]] = []
    for number, name, value in ((1, "cnn", 0.1), (2, "vit", 0.4)):
        measured += similarities("b", name, value)
        measured += similarities("g", name, value + 0.3)
        measured += similarities("g", name, 0.0, measure="linear_cka(estimator=batches)",
                                 guide_tap=f"{number}:conv1")  # fmt: skip
    history = [{"replicate_id": "g", "step": 9, "metric": "distance/dense/2:conv2", "value": 0.5}]
    section = alignments.section(
        tables(tmp_path, replicates=[guided], alignment=measured, history=history)
    )
    assert section is not None
    headings = [block.text for block in section.blocks if isinstance(block, Heading)]
    assert [text.rpartition(", ")[2] for text in headings] == [
        "beside cnn trained", "beside vit trained",
    ]  # fmt: skip
    first, second = (block.blocks for block in section.blocks if isinstance(block, Beside))
    assert [grid.caption for grid in first] == ["Guided", "Without guidance"]
    found = [[row.cells[0].text for row in grid.rows] for grid in (*first, *second)]
    assert found == [[".40"] * 2, [".10"] * 2, [".70"] * 2, [".40"] * 2]
    tones = [[row.cells[0].tone for row in grid.rows] for grid in (*first, *second)]
    assert [["mapped" in tone for tone in each] for each in tones] == [
        [False, False], [False, False], [False, True], [False, True],
    ]  # fmt: skip


def test_consistency_says_that_a_mixture_has_none(tmp_path: Path) -> None:
    common = {"study": "any", "task": "digits", "target": "fcn", "state": "trained",
              "control": "none", "with": "guide", "n": 3, "kappa": 0.25}  # fmt: skip
    rows = [
        common | {"guide": "cnn"},
        common | {"guide": "0.5*cnn+0.5*vit", "n": 0, "kappa": None},
        common | {"treatment": "label_smoothing", "with": "baseline"},
    ]
    section = consistencies.section(tables(tmp_path, consistency=rows))
    assert section is not None
    figure, note, table = section.blocks
    assert figure.caption == "digits, fcn: kappa with cnn"
    assert note.text.startswith("Mixtures are left out")
    assert len(table.rows) == 1


def test_what_is_the_same_in_all_rows_is_said_once() -> None:
    rows = [
        {"task": "digits", "guide": name, "verdict": "none, for a reason that is long", "n": 3}
        for name in ("cnn", "vit")
    ]
    columns = [listing.text("task"), listing.text("guide"), listing.whole("n"),
               listing.words(lambda row: row["verdict"], "verdict")]  # fmt: skip
    table = listing.table(rows, columns, caption="Any", name="any")
    assert table.common == [("task", "digits")]
    assert [column.title for column in table.columns if column.hidden] == ["task"]
    # The file that is saved has all of them.
    assert [datum.text for datum in table.rows[0]][:3] == ["digits", "cnn", "3"]
    assert [column.title for column in table.columns if column.wide] == ["verdict"]
    template = environment().from_string(
        '{% import "blocks.html.j2" as draw %}{{ draw.block(it, "any-1") }}'
    )
    html = template.render(it=table)
    assert "of task <bdi>digits</bdi></span>" in html
    assert '<td class="same"><bdi>digits</bdi></td>' in html
    assert '<th scope="col" class="wide">verdict</th>' in html


def test_verdicts_of_rules_stand_beside_them(tmp_path: Path) -> None:
    row = {"study": "any", "place": "expect[0]", "rule": "trained >= 0", "claim": "it helps",
           "metric": "accuracy", "value": 0.5, "n": 3, "holds": True,
           "established": False}  # fmt: skip
    section = statements.section(tables(tmp_path, expectations=[row]))
    assert section is not None
    titles = [column.title for column in section.blocks[1].columns if not column.hidden]
    assert titles[:4] == ["claim", "rule", "holds", "established"]


def test_a_name_breaks_in_no_number() -> None:
    name = environment().filters["name"]
    assert name("0.5*resnet2d+0.5*vit") == "<bdi>0.5*resnet2d+<wbr>0.5*vit</bdi>"
    assert name("blocks.0.norm_first") == "<bdi>blocks.<wbr>0.<wbr>norm_<wbr>first</bdi>"

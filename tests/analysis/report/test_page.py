"""The page as text: its numbers are those of the tables, and nothing of it needs a network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import report
from analysis.errors import UserError
from analysis.report import (
    Facts,
    Live,
    alignments,
    claims,
    guide_choice,
    heat_maps,
    trainabilities,
)
from analysis.report.blocks import Claims, Grid, Heading
from analysis.schema import frame_of, schema
from tests.analysis.report.conftest import HOSTILE, html_of
from tests.helpers.html_tables import Page
from tests.helpers.made_study import MadeStudy
from tests.helpers.made_study import usual as usual_outcome

pytestmark = pytest.mark.processes


def page(folder: Path) -> Page:
    return Page(html_of(folder))


def test_it_is_written_into_the_studys_folder(tiny_study: Path) -> None:
    assert report.write("tiny", tiny_study.parents[1]) == "studies/tiny/report.html"
    html = (tiny_study / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.endswith("</html>\n")
    assert list(tiny_study.glob(".*")) == []


@pytest.fixture(scope="module")
def usual(usual_study: Path) -> Page:
    return page(usual_study)


def test_each_transfer_value_stands_in_its_cell(usual: Page, usual_study: Path) -> None:
    transfer = pd.read_parquet(usual_study / "transfer.parquet")
    rows = transfer[transfer["primary"] & (transfer["control"] == "none")]
    table = usual.maps()[0]
    targets = [cell.text for cell in table.rows[0][1:]]
    assert targets == rows["target"].drop_duplicates().tolist()
    found = {}
    for row in table.rows[1:]:
        for target, cell in zip(targets, row[1:], strict=True):
            found[row[0].text, target] = cell
    assert len(found) == len(rows)
    for row in rows.to_dict("records"):
        cell = found[f"{row['guide']} {row['state']}, {row['schedule']}", row["target"]]
        assert float(str(cell.attributes["data-v"])) == row["difference"]
        low, high = row["difference_low"] * 100, row["difference_high"] * 100
        assert f"[{low:.1f}, {high:.1f}] n 5".replace("-", "−") in cell.text
        sign = "▲" if low > 0 else "▼" if high < 0 else ""
        assert (sign in cell.text) if sign else not re.search("[▲▼]", cell.text)
        assert (cell.attributes["class"] == "p0") == (not sign)
        assert ("*" in cell.text) == bool(sign and row["p_adjusted"] < 0.05)


def test_effects_on_one_target_are_columns(tmp_path: Path) -> None:
    folder = MadeStudy(name="one", targets=["fcn"]).write(tmp_path / "store")
    effects, priors = page(folder).maps()
    assert [cell.text for cell in effects.rows[0]] == ["guide", "transfer", "specific effect"]
    frame = pd.read_parquet(folder / "priors.parquet").query("metric == 'accuracy'")
    assert "knowledge" in [cell.text for cell in priors.rows[0]]
    values = [float(str(c.attributes["data-v"])) for c in priors.column("knowledge")]
    assert values == frame["knowledge"].tolist()


def test_every_verdict_has_a_sentence_n_and_what_decided_it(usual: Page, usual_study: Path) -> None:
    transfer = pd.read_parquet(usual_study / "transfer.parquet")
    rows = transfer[transfer["primary"] & (transfer["control"] == "none")]
    for row in rows.to_dict("records"):
        specific = 100 * row["specific"]
        wanted = f"{row['specific_control']}; guided minus that {specific:+.1f}".replace("-", "−")
        assert wanted in usual.text
        assert row["verdict"] in usual.text
    assert "closest control" in usual.text
    guides = transfer.query("primary and control == 'none'")["guide_alone"]
    assert re.search(rf"guide trained alone\s*{100 * guides.iloc[0]:.1f} %", usual.text)
    assert "one that does not hold among all rows of the study says so" in usual.text


def test_maps_of_alignment_are_read_in_any_colour_scheme(usual: Page) -> None:
    assert "more similar in the guided map than in the one without guidance" in usual.text
    assert "darker" not in usual.text


def test_a_verdict_on_training_says_what_each_part_compares(tmp_path: Path) -> None:
    rows = [{"task": "digits", "target": "fcn", "guide": "vit", "primary": True, "n": 3,
             "higher_is_better": True, "n_failed": 0,
             "metric": "accuracy", "verdict": verdict} for verdict in
            ("overfits, underfits", "converges badly", "not established")]  # fmt: skip
    frames = {"trainability": frame_of(rows, schema("trainability"))}
    section = trainabilities.section(report.StudyTables("any", tmp_path, frames))
    assert section is not None
    place = [column.title for column in section.blocks[0].columns].index("verdict")
    assert [row[place].text for row in section.blocks[0].rows] == [
        "overfits (larger gap to test data than the guide), "
        "underfits (worse on training data than the guide)",
        "converges badly",
        "not established",
    ]


def test_the_page_asks_no_server_for_anything(usual_study: Path) -> None:
    html = html_of(usual_study)
    found = Page(html)
    for tag, attributes in found.elements:
        assert tag not in ("img", "iframe", "link", "object", "base", "form"), tag
        for name in ("src", "href", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or re.match(r"#|[\w-]+\.(parquet|yaml)$", value), (tag, value)
        assert not [name for name in attributes if name.startswith("on")], attributes
    assert ";base64" not in html
    assert "@import" not in html


def test_files_beside_the_page_are_there(usual: Page, usual_study: Path) -> None:
    links = {a["href"] for tag, a in usual.elements if tag == "a" and "parquet" in str(a["href"])}
    assert links == {path.name for path in usual_study.glob("*.parquet")}


def test_the_policy_allows_the_script_of_the_page_alone(usual_study: Path) -> None:
    html = html_of(usual_study)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(
        str(attributes["content"])
        for tag, attributes in Page(html).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_ids_are_unique(usual: Page) -> None:
    ids = [attributes["id"] for _, attributes in usual.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_names_are_text(hostile_study: Path) -> None:
    html = html_of(hostile_study)
    found = Page(html)
    for name in HOSTILE:
        assert name in found.text
    assert html.count("<script") == 1
    assert [a for tag, a in found.elements if tag == "img"] == []
    assert "{{ 7 * 7 }}" in found.text


def test_odd_cells_say_what_became_of_them(odd_study: Path) -> None:
    cells = {row[0].text: row[1] for row in page(odd_study).maps()[0].rows[1:]}
    failed = cells["failing trained"]
    assert failed.text.startswith("failed")
    assert "OutOfMemoryError" in str(failed.attributes["title"])
    assert cells["broken trained"].text.startswith("blocked")
    assert "the loss is nan" in str(cells["broken trained"].attributes["title"])
    assert cells["waiting trained"].text == "to train"
    single = cells["single trained"]
    assert "n 1" in single.text
    assert "n/i" in single.text
    half = cells["half trained"]
    assert "2 failed" in half.text
    assert "half of them" in str(half.attributes["title"])


def test_cells_whose_unguided_seeds_failed_are_not_waiting(tmp_path: Path) -> None:
    def unguided_fails(row: Mapping[str, Any], generator: np.random.Generator) -> float | str:
        fails = row["role"] == "baseline" and (row["target"] == "none" or row["seed"] == 0)
        return "failed: RuntimeError: nan" if fails else usual_outcome(row, generator)

    made = MadeStudy(targets=("none", "some"), guides=["vit"], outcome=unguided_fails)
    row = page(made.write(tmp_path / "store")).maps()[0].rows[1]
    assert row[1].text.startswith("failed")
    assert "5 of 5 unguided" in row[1].text
    assert "n 4, 1 unguided failed" in row[2].text
    assert "1 unguided failed" in str(row[2].attributes["title"])


def test_a_map_of_guidance_without_a_distance_names_none(tmp_path: Path) -> None:
    folder = MadeStudy(name="mixed", targets=["fcn"], states=["trained"], seeds=3).write(tmp_path)
    frames = {
        name: pd.read_parquet(folder / f"{name}.parquet") for name in ("replicates", "alignment")
    }
    answers = frames["replicates"]["guide"] == "vit"
    frames["replicates"].loc[answers, "distance"] = np.nan
    section = alignments.section(report.StudyTables("mixed", tmp_path, frames))
    assert section is not None
    headings = [block.text for block in section.blocks if isinstance(block, Heading)]
    assert headings == ["resnet2d, linear_cka", "vit"]


def test_differences_of_a_loss_say_which_sign_is_good(tiny_study: Path) -> None:
    frames = {
        name: pd.read_parquet(tiny_study / f"{name}.parquet")
        for name in ("replicates", "transfer", "priors")
    }
    frames["transfer"]["primary"] = frames["transfer"]["metric"] == "loss"
    tables = report.StudyTables("tiny", tiny_study.parents[1], frames)
    grids = [block for block in heat_maps.section(tables).blocks if isinstance(block, Grid)]
    assert grids
    assert all("test loss (positive is better)" in grid.note for grid in grids)
    (listed,) = [block for block in claims.section(tables).blocks if isinstance(block, Claims)]
    facts = {fact.term: fact.text for fact in listed.claims[0].facts}
    assert facts["difference"].endswith(" loss (positive is better)")


def test_a_replicate_in_two_places_counts_once(tmp_path: Path) -> None:
    folder = MadeStudy(name="twice", targets=["fcn"], guides=["vit"], seeds=3).write(tmp_path)
    replicates = pd.read_parquet(folder / "replicates.parquet")
    once = len(replicates)
    control = replicates[replicates["control"] == "input"]
    twice = pd.concat([replicates, control.assign(schedule="alpha=2")], ignore_index=True)
    tables = {
        name: twice if name == "replicates" else pd.read_parquet(folder / f"{name}.parquet")
        for name in ("replicates", "transfer", "priors", "pairs", "history")
    }
    found = Page(report.render(report.StudyTables("twice", tmp_path, tables)))
    assert f"{once} replicates: {once} finished" in found.text
    assert re.search(rf"replicates\s*{once}\b", found.text)
    assert int(found.data("cost").column("replicates")[-1].text) == once


def test_seeds_that_do_not_vary_have_no_interval(odd_study: Path) -> None:
    table = page(odd_study).maps()[0]
    still = [cell.text for cell in table.rows[0]].index("still")
    constant = next(row for row in table.rows if row[0].text == "constant trained")[still]
    assert constant.text.startswith("+25.0")
    assert "n/i" in constant.text
    assert not re.search("[▲▼]", constant.text)


def test_failures_are_counted_by_cause(odd_study: Path) -> None:
    table = page(odd_study).data("failures")
    replicates = pd.read_parquet(odd_study / "replicates.parquet")
    lost = replicates["status"].isin(["failed", "blocked"]).sum()
    assert sum(int(cell.text) for cell in table.column("replicates")) == lost
    causes = {cell.text for cell in table.column("cause")}
    assert "ValueError: the loss is nan at step 7 <b>&amp;" in causes


def test_a_live_page_reloads_and_says_how_far_it_is(tiny_study: Path) -> None:
    live = Live(
        finished=7, total=90, seconds_passed=120, seconds_left=600, per_minute=3.5,
        running=("fcn <- <b>resnet</b>, seed 3",),
    )  # fmt: skip
    html = html_of(tiny_study, Facts(live=live))
    found = Page(html)
    root = next(attributes for tag, attributes in found.elements if tag == "html")
    assert root["data-refresh"] == "10.0"
    for text in ("7 of 90", "2 min", "about 10 min", "3.5", "fcn <- <b>resnet</b>, seed 3"):
        assert text in found.text
    over = Page(html_of(tiny_study, Facts(notes=("interrupted: 7 of 90 are finished",))))
    root = next(attributes for tag, attributes in over.elements if tag == "html")
    assert "data-refresh" not in root
    assert "interrupted: 7 of 90 are finished" in over.text
    assert not [a for tag, a in over.elements if tag == "meta" and a.get("http-equiv") == "refresh"]


def test_facts_survive_json() -> None:
    live = Live(finished=1, total=2, seconds_passed=3.0, running=("a", "b"))
    for facts in (Facts(), Facts(live=live, notes=("over",))):
        assert Facts.of(facts.content()) == facts


def test_what_was_expected_stands_beside_what_it_took(tiny_study: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(tiny_study, tmp_path / "studies" / "tiny"))
    replicates = pd.read_parquet(folder / "replicates.parquet")
    expected = dict.fromkeys(replicates["replicate_id"], 5.0)
    (folder / "expected_seconds.json").write_text(json.dumps(expected))
    table = page(folder).data("cost")
    assert {cell.text for cell in table.column("taken / expected")} == {"0.50 ×"}
    total = table.rows[-1]
    assert total[0].text == "all"
    assert float(str(total[3].attributes["data-v"])) == 2.5 * len(replicates)


def test_a_study_without_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies" / "bare").mkdir(parents=True)
    with pytest.raises(UserError, match="unknown table of study 'bare'"):
        report.write("bare", tmp_path)
    with pytest.raises(UserError, match="unknown study"):
        report.write("absent", tmp_path)


def test_the_choice_of_guide_is_shown_where_there_are_guides(tiny_study: Path) -> None:
    def row(guides: int, spearman: float | None, verdict: str) -> dict[str, Any]:
        return {
            "study": "tiny", "task": "toy", "target": "fcn", "treatment": "guidance",
            "guide": f"guide{guides}", "state": "trained", "control": "none",
            "distance": "linear_cka", "mapping": "evenly_spaced", "schedule": "alpha=1",
            "metric": "accuracy", "higher_is_better": True, "predictor": "guide_score", "n": 3,
            "guides": guides, "targets": 1, "spearman": spearman, "spearman_low": -0.25,
            "spearman_high": 0.875, "spearman_p": 0.125, "verdict": verdict,
        }  # fmt: skip

    def shown(rows: list[dict[str, Any]]) -> Any:
        frames = {"predictors": frame_of(rows, schema("predictors"))}
        return guide_choice.section(report.StudyTables("tiny", tiny_study.parents[1], frames))

    assert shown([]) is None
    assert shown([row(2, None, "not established, too few guides")]) is None
    few = row(4, 0.5, "not established, too few guides")
    section = shown([few, few | {"guide": "other"}, row(4, 0.5, "x") | {"schedule": "alpha=5"}])
    assert "+-.26" in section.lead
    (table,) = section.blocks
    assert len(table.rows) == 2
    texts = [datum.text for datum in table.rows[0]]
    assert "not established, too few guides" in texts
    assert {"4", "guide_score", "0.125"} <= set(texts)

"""What commands say of a search before and while it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.contract import PLAN, SPEC
from study.cli import planning
from study.plan import table
from study.run import status
from tests.helpers.search import SPEC as SEARCHED
from tests.helpers.search import grown
from trainers.store.store import Store


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(SEARCHED))
    return path


def test_plan_says_what_will_be_asked_for(
    spec_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planning.show(str(spec_path), str(tmp_path / "store"), measure=False, as_json=False)
    said = capsys.readouterr().out
    assert "search: 4 arms of 3 trials at 2 tuning seeds" in said
    assert "candidates and their guides: 18 known, then 8 more, batch after batch" in said
    assert "replicates with the settings that win: 8, known after it" in said
    assert "of it for what is known)" in said


def test_plan_in_json_has_what_comes_later(
    spec_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planning.show(str(spec_path), str(tmp_path / "store"), measure=False, as_json=True)
    content = json.loads(capsys.readouterr().out)
    later = content["later"]
    assert (later["candidates"], later["winners"]) == (8, 8)
    assert later["expected_seconds"] > 0
    candidates = [row for row in content["replicates"] if row["role"] == "candidate"]
    assert len(candidates) == 18
    assert {row["seed"] for row in candidates} == {100, 101}


@pytest.mark.parametrize(("batch", "line"), [(0, True), (2, False)])
def test_status_says_what_is_not_planned_yet(tmp_path: Path, batch: int, line: bool) -> None:
    plan = grown()[batch]
    folder = tmp_path / "studies" / "tuned"
    folder.mkdir(parents=True)
    (folder / PLAN).write_bytes(table.encode(plan, {}))
    (folder / SPEC).write_text(json.dumps(SEARCHED))
    found = status.load("tuned", Store(tmp_path))
    assert len(found.progress.listed) == len(plan)
    said = "\n".join(status.lines(found))
    wanted = "search: 8 candidates and then 8 replicates with the settings that win are not planned"
    assert (wanted in said) == line

"""The command `report`."""

from __future__ import annotations

import shutil
import webbrowser
from pathlib import Path

import pytest

from tests.helpers.command_line import Archprior
from tests.helpers.made_study import MadeStudy

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("made") / "store"
    return MadeStudy(targets=["fcn"], guides=["vit"], seeds=3, reports=3).write(store)


def test_it_says_where_the_report_is(archprior: Archprior, made: Path) -> None:
    status, out, err = archprior("report", "made", "--store", made.parents[1])
    assert (status, err) == (0, "")
    assert out == f"report: {made / 'report.html'}\n"
    assert "What does guidance hand over?" in (made / "report.html").read_text(encoding="utf-8")


def test_it_opens_the_browser(
    archprior: Archprior, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert archprior("report", "made", "--store", made.parents[1], "--open")[0] == 0
    assert opened == [(made / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    status, out, err = archprior("report", "made", "--store", made.parents[1], "--open")
    assert status == 2
    assert f"report: {made / 'report.html'}" in out
    assert err.startswith("error: --open: no browser was found")


def test_an_unknown_study_is_a_users_mistake(archprior: Archprior, made: Path) -> None:
    status, _, err = archprior("report", "mad", "--store", made.parents[1])
    assert status == 2
    assert "unknown study" in err
    assert "did you mean 'made'?" in err


def test_a_page_that_cannot_be_written_is_named(
    archprior: Archprior, made: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(made.parents[1], tmp_path / "store"))
    (store / "studies" / "made" / "report.html").unlink(missing_ok=True)
    (store / "studies" / "made" / "report.html" / "x").mkdir(parents=True)
    status, _, err = archprior("report", "made", "--store", store)
    assert status == 2
    assert err.startswith(f"error: --store: {store}: the report cannot be written: ")

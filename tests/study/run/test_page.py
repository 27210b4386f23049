"""The report of a run: at its end, and while it goes on, made by a process of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from analysis.report import Facts, Live
from study import Study
from study.run.page import LivePage
from tests.study.conftest import SPEC
from trainers.store.store import Store

pytestmark = pytest.mark.processes


def wait_for(text: str, path: Path, seconds: float = 60) -> str:
    """The page, once it has a text."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if text in found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {text!r}")


def state(finished: int) -> Facts:
    return Facts(live=Live(finished=finished, total=8, seconds_passed=1.0, refresh_seconds=1.0))


def page_processes() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [each for each in children if "analysis.report.live" in each.cmdline()]


@pytest.fixture
def ran(store_copy: Path) -> Path:
    """The folder of a study that has run: the guide of one seed has failed."""
    outcome = Study(**SPEC).run(store=store_copy, local=True)
    assert outcome.report == str(store_copy / "studies" / "small" / "report.html")
    return store_copy / "studies" / "small"


def test_a_run_ends_with_its_report(ran: Path) -> None:
    html = (ran / "report.html").read_text(encoding="utf-8")
    assert "data-refresh" not in html
    assert "out of luck" in html
    assert 'data-v="' in html
    assert not list(ran.glob(".report*"))


def test_a_run_with_a_page_ends_without_its_process(store_copy: Path) -> None:
    outcome = Study(**SPEC).run(store=store_copy, local=True, page=True)
    assert outcome.report is not None
    html = Path(outcome.report).read_text(encoding="utf-8")
    assert "data-refresh" not in html
    assert page_processes() == []


def test_a_live_page_follows_the_run(ran: Path) -> None:
    said: list[str] = []
    now = [state(1)]
    live = LivePage("small", Store(ran.parents[1]), lambda: now[0], said.append, seconds=0.2)
    live.start()
    path = ran / "report.html"
    assert 'data-refresh="1.0"' in wait_for("1 of 8", path)
    assert [psutil.Process().nice() + 10] == [each.nice() for each in page_processes()]
    now[0] = state(5)
    wait_for("5 of 8", path)
    live.stop(("interrupted: 5 of 8 are finished",))
    html = path.read_text(encoding="utf-8")
    assert "interrupted: 5 of 8 are finished" in html
    assert "data-refresh" not in html
    assert page_processes() == []
    assert said == [f"page: {path}"]


def test_a_page_is_seen_whole(ran: Path) -> None:
    now = [state(0)]
    live = LivePage("small", Store(ran.parents[1]), lambda: now[0], print, seconds=0.01)
    live.start()
    path, seen = ran / "report.html", set()
    deadline = time.monotonic() + 150
    while len(seen) < 3 and time.monotonic() < deadline:
        now[0] = state((now[0].live.finished if now[0].live else 0) + 1)
        html = path.read_text(encoding="utf-8")
        assert html.endswith("</html>\n")
        seen |= set(re.findall(r'data-written="(\d+)"', html))
        # Else there is no core for the process that writes.
        time.sleep(0.002)
    live.stop()
    assert len(seen) >= 3


@pytest.mark.parametrize("notes", [None, ("it has ended",)], ids=["finished", "interrupted"])
def test_a_page_process_that_was_killed_ends_no_run(
    ran: Path, notes: tuple[str, ...] | None
) -> None:
    said: list[str] = []
    live = LivePage("small", Store(ran.parents[1]), lambda: state(1), said.append, seconds=0.1)
    live.start()
    page_processes()[0].kill()
    deadline = time.monotonic() + 20
    while len(said) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    live.stop(notes)
    assert said[1:] == ["warning: the page is written no more: its process has ended"]


def test_a_report_that_cannot_be_written_fails_no_run(
    store_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store_copy / "studies" / "small" / "report.html" / "x").mkdir(parents=True)
    outcome = Study(**SPEC).run(store=store_copy, local=True)
    assert outcome.report is None
    assert set(outcome.tables) >= {"transfer", "priors"}
    assert "warning: no report was written (IsADirectoryError" in capsys.readouterr().out


def test_the_question_is_that_of_the_file(store_copy: Path, spec_file: Callable[..., Path]) -> None:
    path = spec_file()
    text = path.read_text()
    path.write_text(f"# archprior run small   (seconds)\n#\n# Is it the\n# guide's?\n{text}")
    Study.load(path).run(store=store_copy, local=True)
    html = (store_copy / "studies" / "small" / "report.html").read_text(encoding="utf-8")
    assert ">Is it the guide&#39;s?</p>" in html
    written = (store_copy / "studies" / "small" / "spec.yaml").read_text()
    assert written.startswith("# archprior run small")

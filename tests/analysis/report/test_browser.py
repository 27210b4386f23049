"""The page in a real browser: drawn, quiet, readable, reachable by keys, and in need of no network.

Screenshots are kept in `test-artifacts/`, for people to look at.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from PIL import Image

from analysis.report import Facts, Live
from tests.analysis.report.conftest import HOSTILE, html_of
from tests.helpers.browser import PHONE, PICTURES, WIDE, Opened, chromium, opened, violations
from tests.helpers.html_tables import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.processes

STUDIES = ("usual_study", "odd_study", "hostile_study", "large_study")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def url_of(folder: Path, facts: Facts | None = None) -> str:
    path = folder / "report.html"
    path.write_text(html_of(folder, facts), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=STUDIES)
def folder(request: pytest.FixtureRequest) -> Path:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Path)
    return found


def assert_quiet(found: Opened, url: str) -> None:
    assert found.complaints == []
    assert set(found.requests) == {url}


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [
        pytest.param(WIDE, "light", id="wide, light"),
        pytest.param(PHONE, "dark", id="phone, dark"),
        pytest.param(WIDE, "dark", id="wide, dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", id="phone, light", marks=pytest.mark.slow),
    ],
)
def test_pages_are_quiet_and_fit(
    browser: Browser, folder: Path, viewport: dict[str, int], scheme: str
) -> None:
    url = url_of(folder)
    with opened(browser, url, viewport=viewport, color_scheme=scheme) as found:
        page = found.page
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate("window.hacked") is None
        size = "wide" if viewport is WIDE else "phone"
        found.picture(f"report-{folder.name}-{size}-{scheme}")
        assert_quiet(found, url)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing(browser: Browser, folder: Path, scheme: str) -> None:
    if folder.name == "large" and scheme == "dark":
        pytest.skip("the same elements as in light, and axe takes long for 1,600 cells")
    with opened(browser, url_of(folder), color_scheme=scheme) as found:
        assert violations(found.page) == []


def test_a_large_study_has_all_cells_and_a_small_page(large_study: Path) -> None:
    html = html_of(large_study)
    table = Page(html).maps()[0]
    assert len(table.rows) == 41
    assert {len(row) for row in table.rows} == {41}
    assert all("data-v" in cell.attributes for row in table.rows[1:] for cell in row[1:])
    assert len(html) < 3e6
    assert "more figures are not shown" in html
    assert "more rows are not shown" in html


def test_maps_beside_each_other_are_whole_and_in_line(browser: Browser, usual_study: Path) -> None:
    boxes = """() => [...document.querySelectorAll("#heat-maps .row .box, #alignment .row .box")]
        .map((box) => ({
            hidden: box.scrollWidth - box.clientWidth,
            row: [...document.querySelectorAll(".row")].indexOf(box.closest(".row")),
            top: box.getBoundingClientRect().top, bottom: box.getBoundingClientRect().bottom,
        }))"""
    with opened(browser, url_of(usual_study), viewport={"width": 1400, "height": 900}) as found:
        measured = found.page.evaluate(boxes)
        assert len(measured) > 8
        assert {box["hidden"] for box in measured} == {0}
        beside = 0
        for first, second in itertools.pairwise(measured):
            if first["row"] == second["row"] and second["top"] < first["bottom"]:
                beside += 1
                assert (first["top"], first["bottom"]) == (second["top"], second["bottom"])
        assert beside > 2
        assert not found.page.locator(".scrolls:visible").count()


def test_a_map_wider_than_the_page_says_that_it_scrolls(
    browser: Browser, large_study: Path
) -> None:
    with opened(browser, url_of(large_study)) as found:
        box = found.page.locator("#heat-maps .box").first
        hint = found.page.locator("#heat-maps .scrolls").first
        assert hint.inner_text() == "scroll sideways for more →"
        assert box.get_attribute("data-more") == "right"
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        found.page.wait_for_function(
            "document.querySelector('#heat-maps .box').dataset.more === 'left'"
        )
        assert hint.inner_text() == "← scrolled to the end"


def test_text_of_figures_has_contrast_in_the_dark(browser: Browser, usual_study: Path) -> None:
    """axe does not look into SVG: each text's colour is set against the page's."""
    contrast = """() => {
        const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (text) => channels(text).map((c) => c / 255)
            .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll("svg text")]
            .map((text) => light(getComputedStyle(text).fill))
            .map((ink) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05));
    }"""
    for scheme in ("light", "dark"):
        with opened(browser, url_of(usual_study), color_scheme=scheme) as found:
            ratios = found.page.evaluate(contrast)
            assert len(ratios) > 50
            assert min(ratios) >= 4.5


def test_all_figures_are_drawn(browser: Browser, usual_study: Path) -> None:
    with opened(browser, url_of(usual_study)) as found:
        figures = found.page.query_selector_all("figure svg")
        assert len(figures) >= 8
        for figure in figures:
            figure.scroll_into_view_if_needed()
            picture = Image.open(io.BytesIO(figure.screenshot())).convert("RGB")
            colours = picture.getcolors(2**24)
            assert colours is not None
            paper = max(count for count, _ in colours)
            assert len(colours) > 8
            assert paper < 0.99 * picture.width * picture.height
        kinds = {str(each.get_attribute("id")).partition("-")[0] for each in figures}
        assert kinds == {"forest", "curves", "dial"}


def test_tables_sort_filter_and_are_saved(
    browser: Browser, usual_study: Path, tmp_path: Path
) -> None:
    transfer = pd.read_parquet(usual_study / "transfer.parquet")
    with opened(browser, url_of(usual_study)) as found:
        page = found.page
        frame = page.locator(".frame", has=page.locator("table.map")).first
        column = "table.map tbody td:nth-child(2)"
        values = "cells => cells.map((cell) => Number(cell.dataset.v))"
        frame.locator("thead button").nth(1).click()
        ordered = frame.locator(column).evaluate_all(values)
        assert ordered == sorted(ordered, reverse=True)
        assert set(ordered) <= set(transfer["difference"])
        frame.locator("thead button").nth(1).click()
        assert frame.locator(column).evaluate_all(values) == sorted(ordered)
        assert frame.locator("thead th").nth(1).get_attribute("aria-sort") == "ascending"
        frame.get_by_role("searchbox").fill("vit untrained")
        shown = frame.locator("tbody tr:visible th").all_inner_texts()
        assert len(shown) == 2
        assert all("vit" in name and "untrained" in name for name in shown)
        assert "2 of 8 rows" in frame.get_by_role("status").first.inner_text()
        with page.expect_download() as download:
            frame.get_by_role("button", name="Save").click()
        download.value.save_as(tmp_path / "saved.csv")
    text = (tmp_path / "saved.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 3
    assert float(rows[1][1]) in set(transfer["difference"])


def test_names_that_are_formulas_are_saved_as_text(browser: Browser, tmp_path: Path) -> None:
    from tests.helpers.made_study import MadeStudy

    made = MadeStudy(name="formula", guides=["=1+1", "-2", 'a,"b"'], targets=["+x", "y"])
    with opened(browser, url_of(made.write(tmp_path / "store"))) as found:
        frame = found.page.locator(".frame", has=found.page.locator("table.map")).first
        with found.page.expect_download() as download:
            frame.get_by_role("button", name="Save").click()
        download.value.save_as(tmp_path / "saved.csv")
    text = (tmp_path / "saved.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["guide", "'+x", "y"]
    assert {row[0].partition(" ")[0] for row in rows[1:]} == {"'=1+1", "-2", 'a,"b"'}


def test_everything_is_reached_by_keys(browser: Browser, usual_study: Path) -> None:
    with opened(browser, url_of(usual_study)) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        reached = []
        for _ in range(200):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.tagName"))
            if reached[-1] == "TD":
                break
        assert {"BUTTON", "INPUT", "DIV", "TD"} <= set(reached)
        detail = page.locator("table.map").first.locator(
            "xpath=ancestor::div[@class='frame']//p[@class='detail']"
        )
        before = detail.inner_text()
        assert "n 5" in before
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.tagName") == "TD"
        assert detail.inner_text() != before
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_the_page_is_whole_without_scripts(browser: Browser, usual_study: Path) -> None:
    url = url_of(usual_study)
    with opened(browser, url, java_script_enabled=False) as found:
        assert found.page.locator("table.map").first.is_visible()
        assert found.page.locator(".claims li").first.is_visible()
        assert found.page.locator(".tools").count() == 0
        assert_quiet(found, url)


def test_names_of_a_study_are_shown_as_text(browser: Browser, hostile_study: Path) -> None:
    with opened(browser, url_of(hostile_study)) as found:
        heads = found.page.locator("table.map").first.locator("thead th bdi").all_text_contents()
        assert tuple(heads) == HOSTILE
        assert found.page.evaluate("window.hacked") is None
        assert found.page.locator("main script, main img").count() == 0


def test_print_is_light_whole_and_without_tools(browser: Browser, usual_study: Path) -> None:
    with opened(browser, url_of(usual_study), color_scheme="dark") as found:
        page = found.page
        page.emulate_media(media="print")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert not page.locator(".tools").first.is_visible()
        content = page.pdf(format="A4", print_background=True)
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / "report-made-print.pdf").write_bytes(content)
        assert content.startswith(b"%PDF")
        assert len(content) > 20_000


def test_a_live_page_reloads_itself_and_a_finished_one_does_not(
    browser: Browser, tiny_study: Path
) -> None:
    live = Live(finished=7, total=90, seconds_passed=12, refresh_seconds=1)
    url = url_of(tiny_study, Facts(live=live))
    with opened(browser, url) as found:
        page = found.page
        found.picture("report-live", full=False)
        page.locator("h1").click()
        url_of(tiny_study)
        page.wait_for_selector("html:not([data-refresh])", state="attached", timeout=20_000)
        loads = len(found.requests)
        page.wait_for_timeout(1500)
        assert len(found.requests) == loads
        assert found.complaints == []


def test_a_live_page_that_nobody_writes_says_so(browser: Browser, tiny_study: Path) -> None:
    live = Live(finished=7, total=90, seconds_passed=12)
    url = url_of(tiny_study, Facts(live=live))
    path = tiny_study / "report.html"
    with opened(browser, url) as found:
        assert not found.page.locator(".stale").is_visible()
    text = path.read_text(encoding="utf-8")
    start = text.index('data-written="') + len('data-written="')
    end = text.index('"', start)
    old = str(int(text[start:end]) - 600_000)
    path.write_text(text[:start] + old + text[end:], encoding="utf-8")
    with opened(browser, url) as found:
        assert found.page.locator(".stale").is_visible()
        assert "10 minutes" in found.page.locator(".stale").inner_text()


def test_a_live_page_without_scripts_reloads_too(browser: Browser, tiny_study: Path) -> None:
    live = Live(finished=7, total=90, seconds_passed=12, refresh_seconds=1)
    url = url_of(tiny_study, Facts(live=live))
    settings: dict[str, Any] = {"java_script_enabled": False}
    with opened(browser, url, **settings) as found:
        found.page.wait_for_timeout(2500)
        assert len(found.requests) >= 2

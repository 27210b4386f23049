"""The documentation's site: built without a warning, complete, and read in a browser offline.

Screenshots are kept in `test-artifacts/`, for people to look at.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from study.cli.app import app
from tests.helpers.browser import PHONE, WIDE, chromium, opened, violations
from tests.helpers.made_study import MadeStudy
from tests.helpers.site import DOCS, ROOT, build, copied, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1800)]

PACKAGES = ("analysis", "study", "trainers")
QUESTION = "What does guidance hand over, [if anything] <b>at all</b>?"
PAGES = {
    "home": "index.html",
    "api": "generated/api/trainers.distances.html",
    "examples": "examples.html",
    "report": "studies/made/report.html",
    "notebook": "analysis.html",
    "command-line": "command-line.html",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the pages as they are, and of one more study."""
    folder = tmp_path_factory.mktemp("site")
    docs = copied(folder)
    made = MadeStudy(targets=["fcn"], guides=["vit"], question=QUESTION).write(folder / "store")
    shutil.copytree(made, docs / "reproduction" / "made")
    done = build(docs, folder / "built")
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "built"


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def exported(source: str) -> list[str]:
    """The names in `__all__` of a package's source."""
    found: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found = ast.literal_eval(node.value)
    return found


PUBLIC = {
    ".".join(path.relative_to(ROOT).parent.parts): names
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("__init__.py"))
    if (names := exported(path.read_text(encoding="utf-8")))
}


def test_names_are_found() -> None:
    assert exported('a = 1\n__all__ = ["b", "c"]\n') == ["b", "c"]
    assert {"study", "trainers", "analysis.plots", "trainers.testing"} <= PUBLIC.keys()


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_in_the_reference(site: Path, package: str) -> None:
    page = text_of(site, f"generated/api/{package}.html")
    lacking = [
        name for name in PUBLIC[package]
        if f'id="{package}.{name}"' not in page
        # A package among the names has a page of its own, to which this one links.
        and f'href="{package}.{name}.html#module-' not in page
    ]  # fmt: skip
    assert lacking == []


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = text_of(site, "command-line.html")
    for name in typer.main.get_group(app).commands:
        assert f'id="archprior-{name}"' in page, name
    assert "--tracking-uri" in page
    # Names of options keep their hyphens in running text, too.
    assert 'quickstart</span> <span class="pre">--open' in page
    assert "–" not in page


def test_docstrings_keep_all_their_characters(site: Path) -> None:
    page = text_of(site, "generated/api/analysis.schema.html")
    assert "test_&lt;metric&gt;" in page
    assert "Columns that describe a condition: first, in this order" in page


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = text_of(site, "index.html")
    for page in sorted(DOCS.glob("*.md")):
        if page.name not in ("index.md", "api-types.md"):
            assert f'href="{page.stem}.html"' in home, page.name


def test_the_notebook_shows_its_figures(site: Path) -> None:
    page = text_of(site, "analysis.html")
    for name in ("matrix", "effects", "controls", "curves", "alignment"):
        assert f'<img alt="Figure: {name}"' in page


def test_studies_have_their_reports(site: Path) -> None:
    examples = text_of(site, "examples.html")
    for name in ("quickstart", "made"):
        assert f'href="studies/{name}/report.html"' in examples
        assert f'href="studies/{name}/transfer.parquet"' in examples
        assert (site / "studies" / name / "transfer.parquet").is_file()
        assert "What came out" in text_of(site, f"studies/{name}/report.html")
    assert "labels alone by 5.4 (1.5 points [0.8, 2.3] more): not the guide’s" in examples
    # Text of a study is text.
    assert "[if anything] &lt;b&gt;at all&lt;/b&gt;?" in examples


class Loaded(HTMLParser):
    """Addresses that a page loads by itself, links to follow excepted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        names = {"link": "href", "a": ""}.get(tag, "src")
        if values.get(names):
            self.found.append(str(values[names]))


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        # Addresses of the site itself are relative.
        assert [each for each in parser.found if re.match(r"(\w+:)?//", each)] == [], page
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:\w+:)?//[^)]*|@import[^;]*", styles) == []


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("page", PAGES)
def test_pages_are_quiet_and_fit(
    browser: Browser, url: str, page: str, viewport: dict[str, int]
) -> None:
    for scheme in ("light", "dark") if page == "home" else ("light",):
        settings: dict[str, Any] = {"viewport": viewport, "color_scheme": scheme}
        with opened(browser, url + PAGES[page], **settings) as found:
            found.page.wait_for_load_state("networkidle")
            assert found.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            size = "wide" if viewport is WIDE else "phone"
            found.picture(f"site-{page}-{size}-{scheme}", full=False)
            assert found.complaints == []
            assert [each for each in found.requests if not each.startswith((url, "data:"))] == []


def test_the_search_finds_a_function_and_a_page(browser: Browser, url: str) -> None:
    with opened(browser, url) as found:
        page = found.page
        page.fill("input[name=q]", "check_distance")
        page.press("input[name=q]", "Enter")
        link = page.locator("#search-results a", has_text="trainers.testing.check_distance").first
        link.wait_for()
        found.picture("site-search", full=False)
        link.click()
        assert page.url.endswith("trainers.testing.html#trainers.testing.check_distance")
        page.goto(f"{url}search.html?q=preemption")
        page.locator("#search-results a", has_text="Clusters").first.wait_for()
        assert found.complaints == []


def test_the_menu_opens_on_a_phone(browser: Browser, url: str) -> None:
    with opened(browser, url, viewport=PHONE) as found:
        link = found.page.locator(".sidebar-tree a", has_text="Writing a study")
        assert not link.is_visible() or (link.bounding_box() or {"x": 0})["x"] < 0
        found.page.locator("label.nav-overlay-icon").first.click()
        found.page.wait_for_timeout(500)
        found.picture("site-menu-phone", full=False)
        link.click()
        assert found.page.url == f"{url}writing-a-study.html"


#: Rules that every page of the theme breaks: headings of the menu without a level, two regions
#: without a name, lists of attributes.
THEME = {"aria-required-attr", "landmark-unique", "definition-list"}


@pytest.mark.parametrize("page", ["home", "api", "examples"])
def test_axe_finds_nothing_beyond_the_theme(browser: Browser, url: str, page: str) -> None:
    with opened(browser, url + PAGES[page]) as found:
        broken = [line for line in violations(found.page) if line.partition(":")[0] not in THEME]
        assert broken == []


BROKEN = """# Home

[A page](nowhere.md), [a heading](other.md#nothing-here), [a file](../nothing.txt).

```{eval-rst}
.. autofunction:: trainers.distances.no_such_function

`trainers.distances.create` is there, `a_parameter` is any word, `trainers.distances.gone` is not.
```
"""


def test_what_is_broken_is_an_error(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS / "site", docs / "site")
    (docs / "index.md").write_text(BROKEN)
    (docs / "other.md").write_text("---\norphan: true\n---\n# Other\n")
    done = build(docs, tmp_path / "built")
    assert done.returncode != 0
    for words in (
        "'myst' cross-reference target not found: 'nowhere.md'",
        "local id not found in doc 'other': 'nothing-here'",
        "cross-reference target not found: '../nothing.txt'",
        "no_such_function",
        "reference target not found: trainers.distances.gone",
    ):
        assert words in done.stderr, words
    assert "a_parameter" not in done.stderr


def test_two_studies_of_one_name_are_refused(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS / "site", docs / "site")
    for place in ("examples", "reproduction"):
        folder = docs / place / "twice"
        folder.mkdir(parents=True)
        (folder / "transfer.parquet").touch()
    (docs / "index.md").write_text("# Home\n")
    done = build(docs, tmp_path / "built")
    assert done.returncode != 0
    assert "study 'twice' is in" in done.stderr

"""Figures as files, and as elements of a page."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from analysis import plots
from analysis.errors import UserError
from tests.helpers.drawings import ink

ROOT = Path(__file__).parents[3]


@pytest.fixture
def frames(full, tables):
    return tables(full)


def drawn(frames):
    return plots.forest(frames["transfer"], frames["pairs"])


@pytest.mark.processes
@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png", ".PNG"])
def test_the_same_tables_give_the_same_bytes(frames, tmp_path, suffix):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    plots.save(drawn(frames), first, name="Effects")
    plots.save(drawn(frames).figure, second, name="Effects")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 2000
    assert b"20" + b"26-" not in first.read_bytes()


def test_png_is_not_blank(frames, tmp_path):
    plots.save(drawn(frames), tmp_path / "a.png")
    assert 0.005 < ink(tmp_path / "a.png") < 0.5


def test_text_of_svg_is_text(frames, tmp_path):
    plots.save(drawn(frames), tmp_path / "a.svg", name="<Effects>")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "trained, control shuffled" in words
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()
    assert root.find("{http://www.w3.org/2000/svg}title").text == "<Effects>"


def test_another_suffix_is_refused(frames, tmp_path):
    with pytest.raises(UserError, match=r"a.jpg: a figure is .* ends in .svg, .pdf, .png"):
        plots.save(drawn(frames), tmp_path / "a.jpg")
    assert [*tmp_path.iterdir()] == []


def test_settings_of_matplotlib_are_left_as_they_were(frames, tmp_path):
    before = dict(mpl.rcParams)
    plots.svg(drawn(frames), "a")
    assert dict(mpl.rcParams) == before


def test_threads_give_the_same_bytes(frames):
    alone = plots.svg(drawn(frames), "a")
    with ThreadPoolExecutor(4) as pool:
        found = {*pool.map(lambda _: plots.svg(drawn(frames), "a"), range(8))}
    assert found == {alone}


def test_an_element_for_a_page(frames):
    text = plots.svg(drawn(frames), "effects", title="Effects & <intervals>")
    root = ElementTree.fromstring(text)
    assert root.get("id") == "effects"
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Effects & <intervals>"
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len({*ids})
    assert all(each == "effects" or each.startswith("effects-") for each in ids)
    for reference in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text):
        assert "".join(reference) in ids
    assert not text.startswith("<?xml")
    assert "<style" not in text
    assert "<metadata" not in text
    assert "ns0:" not in text


def test_what_a_row_shows_is_its_title(frames):
    root = ElementTree.fromstring(plots.svg(drawn(frames), "effects"))
    (row,) = [node for node in root.iter() if node.get("id") == "effects-axes-0-estimate-0"]
    title = row.find("{http://www.w3.org/2000/svg}title").text
    assert title.startswith("trained: +19.5  [")
    assert title.endswith("n 4, 1 failed")


def test_names_of_elements_are_ids(frames):
    with pytest.raises(ValueError, match="is no id"):
        plots.svg(drawn(frames), "a b")


def test_a_notebook_shows_the_picture(frames):
    picture = plots.svg(drawn(frames), "a")
    assert re.fullmatch(r"<Picture, \d+ x \d+ points>", repr(picture))


def test_matplotlib_is_imported_when_something_is_drawn_and_pyplot_never():
    code = """
import sys
import analysis, analysis.plots
from analysis import plots
assert "matplotlib" not in sys.modules
plots.matrix
assert "matplotlib" in sys.modules
for name in plots.__all__:
    getattr(plots, name)
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0

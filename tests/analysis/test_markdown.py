"""Text in Markdown stays text, whatever it has in it."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import markdown
from analysis.markdown import escape

NASTY = [
    "<script>alert(1)</script>", "a|b", "[x](javascript:alert(1))", "![x](http://h/x.png)",
    "**bold** _it_ `code` ~gone~", "# head", "- item", "1. item", "> quote", "&lt;b&gt;", "\\",
    'quote" and \'', "=", "+ more",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_a_renderer_of_markdown_shows_the_text_itself(text: str) -> None:
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(escape(text))
    assert shown.startswith("<p>")
    assert html.unescape(re.sub(r"</?p>", "", shown)).strip() == text


@pytest.mark.parametrize("text", NASTY)
def test_a_cell_of_a_table_holds_the_text_itself(text: str) -> None:
    from markdown_it import MarkdownIt

    lines = markdown.table(["a", "b"], [[escape(text), "x"]])
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render("\n".join(lines))
    cells = re.findall(r"<td>(.*?)</td>", shown, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [text, "x"]


def test_it_is_one_line_and_turns_no_text_round() -> None:
    assert escape("a\nb\r\n\n# c\u202ed\u2028e\0f") == "a b # cd e f"


@given(st.text())
def test_no_tag_and_no_line_is_left(text: str) -> None:
    found = escape(text)
    assert not set("<>\n") & set(found)

"""Text and tables in Markdown; names are text in it, whatever characters they have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: Characters that mean something in Markdown wherever they stand, inside tables too.
_SPECIAL = re.compile(r"([\\`*_\[\]|~])")
#: Characters, or a number and a full stop, that mean something at the begin of a line.
_AT_BEGIN = re.compile(r"\A(\d*)([#+\-=.)])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_BREAKS = re.compile(r"[\s\0\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+")
#: Marks that turn the direction of the text after them.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """A text that is shown as it is, on one line; marks of direction are left out."""
    line = _BREAKS.sub(" ", _DIRECTIONS.sub("", text)).strip()
    whole = "".join(_HTML.get(character, character) for character in line)
    # Not in the entities, which have no special character but `&` and `;`.
    return _AT_BEGIN.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", whole))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

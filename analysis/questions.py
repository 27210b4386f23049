"""The question of a study: the comment at the top of its spec, or its description."""

from __future__ import annotations

#: A line of a preset's comment that names its command is no question.
_COMMAND = "archprior "


def opening_comment(text: str) -> str:
    """The comment lines at the top of a spec's text, each with its newline; may be empty."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.rstrip() + "\n")
    return "".join(lines)


def question(text: str) -> str:
    """The question at the beginning of a spec: prose on one line; empty where it says nothing."""
    lines = [line.lstrip("#").strip() for line in opening_comment(text).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(_COMMAND))

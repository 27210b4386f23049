"""A Sphinx extension that writes the reference of the command line from the application itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer
from typer.cli import get_docs_for_click

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

#: A command at the end of a text of help: in running text two hyphens would become a dash.
_EXAMPLE = re.compile(r"(?<=: )(archprior \S[^`\n]*)(?=\.$)", re.M)


def reference() -> str:
    """The commands of `archprior` with their arguments and options, as Markdown without a title."""
    from study.cli.app import app

    group = typer.main.get_group(app)
    for command in group.commands.values():
        # Else the list of commands cuts their texts to 45 characters.
        command.short_help = command.help
    context = typer.Context(group, info_name="archprior")
    text = get_docs_for_click(obj=group, ctx=context, name="archprior").partition("\n")[2]
    return _EXAMPLE.sub(r"`\1`", text)


def write(app: Sphinx) -> None:
    """Write the reference where docs/command-line.md includes it."""
    parts = app.srcdir / "generated" / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    (parts / "command-line.md").write_text(reference(), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register with Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}

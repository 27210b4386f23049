"""The report of a study: one HTML page made from the store's tables, without any network.

`render` makes the page's text, `write` and `save` put it into the store. Nothing heavy is imported
until one of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.report.facts import Facts, Live
    from analysis.report.page import render, renew, save, write
    from analysis.report.tables import StudyTables

__all__ = ["Facts", "Live", "StudyTables", "render", "renew", "save", "write"]

_HOMES = {
    "Facts": "facts", "Live": "facts", "StudyTables": "tables", "render": "page",
    "renew": "page", "save": "page", "write": "page",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"analysis.report.{_HOMES[name]}"), name)

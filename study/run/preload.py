"""Imports for the end of a run, made while its replicates train: they take seconds."""

from __future__ import annotations

import importlib
from contextlib import suppress

#: What tables, figures and report are made with.
_MODULES = (
    "analysis.tables", "analysis.study_run", "analysis.report.page", "analysis.plots.study_figures",
    "analysis.plots.files", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
)  # fmt: skip


def preload() -> None:
    """Import what tables, figures and report of a run need; what cannot be is left to them."""
    for name in _MODULES:
        with suppress(ImportError):
            importlib.import_module(name)

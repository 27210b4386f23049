"""Tables of a study from its store, or from MLflow: `analyze`, `check`, `load`, `matrix`.

Nothing heavy is imported until one of them is used, because the command line imports this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# It notes the state of the sources, before any of them is used.
from analysis import code_version as code_version

if TYPE_CHECKING:
    from analysis.study_run import log_report
    from analysis.tables import analyze, check, fresh, load, matrix, refresh

__all__ = ["analyze", "check", "fresh", "load", "log_report", "matrix", "refresh"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "study_run" if name == "log_report" else "tables"
        return getattr(importlib.import_module(f"analysis.{home}"), name)
    try:
        return importlib.import_module(f"analysis.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"analysis.{name}":
            raise
        raise AttributeError(f"module 'analysis' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

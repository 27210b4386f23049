"""Tables of a study from its store, or from MLflow: `analyze`, `check`, `load`, `matrix`.

Nothing heavy is imported until one of them is used, because the command line imports this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.tables import analyze, check, load, log_report, matrix

__all__ = ["analyze", "check", "load", "log_report", "matrix"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(importlib.import_module("analysis.tables"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

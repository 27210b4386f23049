"""Declare a study, plan its trials, and schedule them with Ray Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.study import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    # PyTorch, Ray and MLflow are imported when they are needed, so that `--help` answers at once.
    import importlib

    if name == "Study":
        return importlib.import_module("study.study").Study
    try:
        return importlib.import_module(f"study.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"study.{name}":
            raise
        raise AttributeError(f"module 'study' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

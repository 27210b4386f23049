"""Declare a study, plan its trials, and schedule them with Ray Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.study import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    # PyTorch, Ray and MLflow are imported when they are needed, so that `--help` answers at once.
    if name == "Study":
        from study.study import Study

        return Study
    raise AttributeError(f"module 'study' has no attribute {name!r}")

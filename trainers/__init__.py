"""Guided training of one network in plain PyTorch: the work of one trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers import distances, measures
    from trainers.comparison import align
    from trainers.training.train import Result, load, train

__all__ = ["Result", "align", "distances", "load", "measures", "train"]

_MODULES = {"align": "trainers.comparison"}


def __getattr__(name: str) -> Any:
    # PyTorch is imported when it is needed, so that the command line starts at once.
    import importlib

    if name in ("Result", "align", "load", "train"):
        return getattr(importlib.import_module(_MODULES.get(name, "trainers.training.train")), name)
    try:
        return importlib.import_module(f"trainers.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"trainers.{name}":
            raise
        raise AttributeError(f"module 'trainers' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

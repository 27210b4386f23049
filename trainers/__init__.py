"""What one trial does: guided training of one network, in plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers import distances
    from trainers.loop import Result, load, train

__all__ = ["Result", "distances", "load", "train"]


def __getattr__(name: str) -> Any:
    # PyTorch is imported when it is needed, so that the command line starts at once.
    import importlib

    if name == "distances":
        return importlib.import_module("trainers.distances")
    if name in __all__:
        return getattr(importlib.import_module("trainers.loop"), name)
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")

"""Tasks: data, loss and metrics. One task is one file; `base` defines the interface."""

from trainers.tasks.base import (
    TASKS,
    Task,
    build,
    clear_cache,
    redrawn,
    register,
)
from trainers.tasks.classification import Classification
from trainers.tasks.regression import Regression
from trainers.tasks.specs import (
    ABSENT,
    IGNORE,
    InputKind,
    InputSpec,
    OutputSpec,
    Split,
    is_scored,
)

__all__ = [
    "ABSENT",
    "IGNORE",
    "TASKS",
    "Classification",
    "InputKind",
    "InputSpec",
    "OutputSpec",
    "Regression",
    "Split",
    "Task",
    "build",
    "clear_cache",
    "is_scored",
    "redrawn",
    "register",
]

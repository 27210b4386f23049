"""Tasks: data, loss and metrics. One task is one file; `base` defines the interface."""

from trainers.tasks.base import (
    TASKS,
    Task,
    build,
    clear_cache,
    register,
)
from trainers.tasks.specs import ABSENT, IGNORE, InputKind, InputSpec, OutputSpec, Split

__all__ = [
    "ABSENT",
    "IGNORE",
    "TASKS",
    "InputKind",
    "InputSpec",
    "OutputSpec",
    "Split",
    "Task",
    "build",
    "clear_cache",
    "register",
]

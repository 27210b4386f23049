"""Messages of training to those who follow it, and their one form between processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics of a replicate at a step, which the store holds, where there is one.

    `timestamp` is when they were measured, `started` when this process began to train the
    replicate, both in milliseconds since 1970.
    """

    replicate_id: str
    step: int
    metrics: Mapping[str, float]
    timestamp: int
    started: int

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"{self.replicate_id}, step {self.step}: {values}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial is done with a replicate; `error` says why where it is not finished."""

    replicate_id: str
    status: Literal["finished", "failed", "blocked"]
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that a person should know of a replicate, which goes on."""

    replicate_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Aborted:
    """A trial cannot do its work: other code or data than the driver's, or a store that is full."""

    error: str
    traceback: str


Message = Measured | Ended | Warned | Aborted
Report = Callable[[Message], object]

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Measured, Ended, Warned, Aborted)
}


def encode(message: Message) -> dict[str, Any]:
    """A message as JSON content."""
    return {"kind": type(message).__name__} | asdict(message)


def decode(content: Mapping[str, Any]) -> Message:
    """The message that `encode` was given."""
    fields = dict(content)
    return _KINDS[fields.pop("kind")](**fields)


def silent(_message: Message) -> None:
    """Report nothing: for a guide trained on the way, whose history is in the store."""

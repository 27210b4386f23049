"""Messages from training to its observers, and their encoding between processes.

Their texts have no secrets: Ray writes messages into its logs and into the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainers.secrets import masked

EndStatus = Literal["finished", "failed", "blocked", "missing"]


def _mask(message: object, *names: str) -> None:
    """Take secrets from texts of a message that is being made."""
    for name in names:
        text = getattr(message, name)
        if text is not None:
            object.__setattr__(message, name, masked(text))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics of a replicate at a step; the store, if any, holds them already.

    `timestamp` is the time of measurement, in milliseconds since 1970.
    """

    replicate_id: str
    step: int
    metrics: Mapping[str, float]
    timestamp: int

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"{self.replicate_id}, step {self.step}: {values}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """End of a trial's work on a replicate; `error` says why it is not finished, if it is not.

    `missing` replicates are left to another run.
    """

    replicate_id: str
    status: EndStatus
    error: str | None = None

    def __post_init__(self) -> None:
        _mask(self, "error")


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A warning about a replicate, whose training goes on."""

    replicate_id: str
    text: str

    def __post_init__(self) -> None:
        _mask(self, "text")


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A trace of some training steps of a replicate, written to `path`."""

    replicate_id: str
    path: str

    def __post_init__(self) -> None:
        _mask(self, "path")


@dataclass(frozen=True, kw_only=True)
class Aborted:
    """End of a trial that cannot work: other code or data than the driver's, or a full store.

    `traceback` is empty where the error is none of the program's.
    """

    error: str
    traceback: str

    def __post_init__(self) -> None:
        _mask(self, "error", "traceback")


Message = Measured | Ended | Warned | Traced | Aborted
Report = Callable[[Message], object]

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Measured, Ended, Warned, Traced, Aborted)
}


def encode(message: Message) -> dict[str, Any]:
    """A message as JSON values."""
    return {"kind": type(message).__name__} | asdict(message)


def decode(content: Mapping[str, Any]) -> Message:
    """The message that `encode` has encoded."""
    fields = dict(content)
    return _KINDS[fields.pop("kind")](**fields)


def silent(_message: Message) -> None:
    """Report nothing: for guides that are trained for a replicate, and for followers."""

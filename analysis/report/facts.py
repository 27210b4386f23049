"""Facts of a study that its tables do not have: the state of its run. Plain data, as JSON too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Live:
    """State of a run that goes on.

    `seconds_left` and `per_minute` (replicates finished a minute) are None until they are known;
    `running` names what trains now. The page is written every `refresh_seconds`.
    """

    finished: int
    total: int
    seconds_passed: float
    seconds_left: float | None = None
    per_minute: float | None = None
    running: tuple[str, ...] = ()
    refresh_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """State of a study's run: `live` while it goes on, and `notes`, lines that a person reads."""

    live: Live | None = None
    notes: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """The facts as data that JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Facts:
        """The facts in what `content` gave."""
        live = content.get("live")
        if live is not None:
            live = Live(**{**live, "running": tuple(live.get("running", ()))})
        return cls(live=live, notes=tuple(content.get("notes", ())))

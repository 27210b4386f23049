"""Which weights a pretrained guide has; `pretrained` reads and keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights by their `content`: a SHA-256 over names and values, or those of a publisher.

    Published ones are `library/model/name`, because what is under such a name does not change.
    `name` is for labels; `path` is where this machine has the file, where it has one. Neither is
    part of what they are.
    """

    content: str
    name: str = field(compare=False)
    path: str | None = field(default=None, compare=False)

    @property
    def published(self) -> bool:
        """Whether they have a name that everybody knows."""
        return "/" in self.content

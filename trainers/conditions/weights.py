"""Identity of a pretrained guide's weights; `guides.pretrained` reads and stores the tensors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights identified by their `content`: a SHA-256 over names and values, or a published name.

    Published weights are `library/model/name`, because the tensors under such a name do not change.
    `name` is for labels, `path` the file on this machine, if any; neither is part of the identity.
    """

    content: str
    name: str = field(compare=False)
    path: str | None = field(default=None, compare=False)

    @property
    def published(self) -> bool:
        """Whether a library publishes them under the name in `content`."""
        return "/" in self.content

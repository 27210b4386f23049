"""Identity of weights from elsewhere; `guides.pretrained` reads and stores the tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Before the id of a replicate in the content of its weights.
REPLICATE = "replicate:"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights identified by their `content`: a SHA-256 over names and values, or a name.

    Published weights are `library/model/name`, because the tensors under such a name do not change;
    those of a replicate of the store are `replicate:ID`, because they follow from its id.
    `name` is for labels, `path` the file on this machine, if any; neither is part of the identity.
    """

    content: str
    name: str = field(compare=False)
    path: str | None = field(default=None, compare=False)

    @property
    def published(self) -> bool:
        """Whether a library publishes them under the name in `content`."""
        return "/" in self.content

    @property
    def replicate_id(self) -> str | None:
        """Id of the replicate whose final weights they are; None of other weights."""
        _, mark, name = self.content.partition(REPLICATE)
        return name if mark else None

"""Reading a spec's YAML: data only, no duplicate keys, no aliases that multiply."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses what a spec never needs and a mistake or an attack may hold."""

    _inside_anchor = False

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key is a plain value, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchored = getattr(event, "anchor", None) is not None
        if self._inside_anchor and anchored:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases inside an anchored value", event.start_mark
            )
        outer = self._inside_anchor
        self._inside_anchor = outer or (anchored and not isinstance(event, yaml.AliasEvent))
        try:
            return super().compose_node(parent, index)
        finally:
            self._inside_anchor = outer


def parse(text: str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text holds; raises ValueError that names `source` and the line."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ValueError(f"{source}: not a readable YAML file: nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not a readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{source}: a spec is a mapping of keys to values, not {type(content).__name__}"
        )
    return content

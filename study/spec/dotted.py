"""Dotted keys of a spec: paths into its raw content, and the values that lie there when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.spec.entries import Entry


class PathError(ValueError):
    """A dotted key of which a part leads into a value without keys."""


def with_value(content: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of raw spec content with a dotted key set, in every entry of a list on the way.

    Raises PathError.
    """
    if not path:
        return value
    if isinstance(content, list):
        return [with_value(item, path, value) for item in content]
    if isinstance(content, str):
        content = {"name": content}
    if not isinstance(content, Mapping) and content is not None:
        raise PathError(f"{path[0]}: {content!r:.80} has no keys")
    content = dict(content or {})
    content[path[0]] = with_value(content.get(path[0]), path[1:], value)
    return content


def value_at(content: Any, path: Sequence[str]) -> Any:
    """The value of a dotted key in spec content that was read; of each list the first entry's."""
    if isinstance(content, list):
        content = content[0]
    if not path:
        return content
    first, *rest = path
    if isinstance(content, Entry) and first not in type(content).model_fields:
        component = content.components()[0]
        defaults = content.registry()[content.name].defaults
        return value_at((defaults | component.kwargs)[first], rest)
    return value_at(getattr(content, first), rest)

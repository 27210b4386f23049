"""Checks of options and settings against their annotations."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from trainers.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of a finite number, for annotations: `Annotated[int, Bounds(ge=1)]`.

    A number must be `ge` or more, above `gt`, and at most `le`. None: no such limit.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None

    def admit(self, value: float) -> bool:
        """Whether a number is finite and within the bounds."""
        above = (self.ge is None or value >= self.ge) and (self.gt is None or value > self.gt)
        return above and math.isfinite(value) and (self.le is None or value <= self.le)

    def __str__(self) -> str:
        """The bounds in words: `1 or more, up to 1024`."""
        words = (
            None if self.ge is None else f"{self.ge:g} or more",
            None if self.gt is None else f"above {self.gt:g}",
            None if self.le is None else f"up to {self.le:g}",
        )
        return ", ".join(word for word in words if word)


class Kind(NamedTuple):
    """Values that an annotation allows: `choices` if any, whether float or None, and `bounds`."""

    choices: tuple[Any, ...]
    is_float: bool
    optional: bool
    bounds: Bounds | None

    @classmethod
    def of(cls, annotation: Any) -> Kind:
        """The kind of an annotation; that of a union combines its parts."""
        whole = get_origin(annotation) in (Literal, Annotated)
        parts = (annotation,) if whole else get_args(annotation) or (annotation,)
        notes = [n for part in parts if get_origin(part) is Annotated for n in get_args(part)[1:]]
        parts = tuple(get_args(p)[0] if get_origin(p) is Annotated else p for p in parts)
        choices = [c for part in parts if get_origin(part) is Literal for c in get_args(part)]
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        return cls(tuple(choices), float in parts, NoneType in parts, bounds)

    def check(self, field: str, value: Any) -> Any:
        """Return `value`, or raise UserError if it is not allowed; `field` names it in the message.

        An int for a float option becomes a float: 1 and 1.0 are equal, but not as JSON, and equal
        conditions must have equal ids.
        """
        if value is None and self.optional:
            return value
        if self.choices and value not in self.choices:
            raise UserError(f"{field} is {value}; allowed: {', '.join(map(str, self.choices))}")
        if self.bounds is not None and not self.bounds.admit(value):
            raise UserError(f"{field} is {value}; allowed: {self.bounds}")
        return float(value) if self.is_float and type(value) is int else value


def check_fields(config: Any, where: str) -> None:
    """Raise UserError if a field of a frozen dataclass does not satisfy its annotation.

    Ints in float fields become floats. `where` begins the message.
    """
    for name, kind in _kinds(config.__class__):
        value = getattr(config, name)
        checked = kind.check(f"{where}: {name}", value)
        if checked is not value:
            object.__setattr__(config, name, checked)


@cache
def _kinds(config: Hashable) -> list[tuple[str, Kind]]:
    hints = get_type_hints(config, include_extras=True)
    kinds = {name: Kind.of(hint) for name, hint in hints.items()}
    return [(name, k) for name, k in kinds.items() if k.choices or k.is_float or k.bounds]


def frozen(value: Any) -> Any:
    """A hashable form: lists as tuples, and mappings as tuples of (key, value)."""
    if isinstance(value, Mapping):
        return tuple((key, frozen(item)) for key, item in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value

"""Checks of options and settings against their annotations."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

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


class HashedOnce:
    """Base of frozen dataclasses whose hash, that of all fields, is computed at first use and kept.

    Plans look conditions up many times, each a tree of such values. Pickles and copies are without
    it, because hashes of texts differ between processes; so is `vars`.
    """

    __slots__ = ("_hash",)

    if TYPE_CHECKING:
        # Not at run time, where type hints are those of fields to check.
        _hash: int

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # A class that inherits its hash would get another from `dataclass`.
        cls.__hash__ = HashedOnce.__hash__  # type: ignore[method-assign]

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            values = (getattr(self, item.name) for item in fields(self))  # type: ignore[arg-type]
            object.__setattr__(self, "_hash", hash(tuple(values)))
            return self._hash

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


class Kind(NamedTuple):
    """Values that an annotation allows: `choices`, values of `types`, and None if `optional`.

    `types` are bool, int, float and str; numbers are within `bounds`. Without `choices` and `types`
    any value is allowed, because the annotation names other types.
    """

    choices: tuple[Any, ...]
    types: tuple[type, ...]
    optional: bool
    bounds: Bounds | None

    @classmethod
    def of(cls, annotation: Any) -> Kind:
        """The kind of an annotation; that of a union combines its parts."""
        union = get_origin(annotation) in (Union, UnionType)
        parts = get_args(annotation) if union else (annotation,)
        notes = [n for part in parts if get_origin(part) is Annotated for n in get_args(part)[1:]]
        parts = tuple(get_args(p)[0] if get_origin(p) is Annotated else p for p in parts)
        choices = tuple(c for part in parts if get_origin(part) is Literal for c in get_args(part))
        types = tuple(part for part in parts if part in tuple(_ALLOWED))
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        checked = [p for p in parts if p in types or p is NoneType or get_origin(p) is Literal]
        if len(checked) < len(parts):
            choices, types = (), ()
        return cls(choices, types, NoneType in parts, bounds)

    def check(self, field: str, value: Any) -> Any:
        """Return `value`, or raise UserError if it is not allowed; `field` names it in the message.

        A number becomes a plain int or float, and an int for a float option becomes a float: 1 and
        1.0 are equal, but not as JSON, and equal conditions must have equal ids.
        """
        if (value is None and self.optional) or not (self.choices or self.types):
            return value
        if any(isinstance(value, type(choice)) and value == choice for choice in self.choices):
            return value
        plain = _plain(value, self.types)
        if plain is None:
            shown = value if self.choices and isinstance(value, str) else repr(value)
            raise UserError(f"{field} is {shown:.80}; {self._allowed}")
        if self.bounds is not None and not self.bounds.admit(plain):
            raise UserError(f"{field} is {value}; allowed: {self.bounds}")
        return plain

    @property
    def _allowed(self) -> str:
        choices = ", ".join(map(str, self.choices))
        types = " or ".join(_ALLOWED[kind] for kind in self.types)
        if not types:
            return f"allowed: {choices}"
        return f"give {types}" + (f", or one of: {choices}" if choices else "")


#: Types that are checked, and words for their values.
_ALLOWED: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def _plain(value: Any, types: Collection[type]) -> Any:
    """A value of one of the types, as that type; None if it is of none.

    NumPy's numbers count as numbers; True and False do not.
    """
    if isinstance(value, bool):
        return value if bool in types else None
    if float in types and isinstance(value, Real):
        with suppress(OverflowError):
            return float(value)
        return None
    if int in types and isinstance(value, Integral):
        return int(value)
    return value if str in types and isinstance(value, str) else None


def check_fields(config: Any, where: str) -> None:
    """Raise UserError if a field of a frozen dataclass does not satisfy its annotation.

    Numbers become plain ints and floats, as `Kind.check` says. `where` begins the message.
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
    return [(name, k) for name, k in kinds.items() if k.choices or k.types]


def frozen(value: Any) -> Any:
    """A hashable form: lists as tuples, and mappings as tuples of (key, value)."""
    if isinstance(value, Mapping):
        return tuple((key, frozen(item)) for key, item in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value

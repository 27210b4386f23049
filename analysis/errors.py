"""Errors of users, apart from errors of the program."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

#: Most names that a message lists, and how many of the nearest it lists of more.
LISTED, _NEAREST = 24, 8


class UserError(ValueError):
    """A mistake in what a user gave: a study, a table, a rule, a store. Says what is allowed."""


class DamagedFileError(UserError):
    """A file of the store is not what was written; the message has its path and what to do."""


def unknown(
    what: str,
    name: str,
    known: Iterable[str],
    more: str = "",
    *,
    order: Callable[[str], Any] | None = None,
) -> UserError:
    """An error that lists the known names and suggests the nearest to `name`.

    Of more than `LISTED` names it lists the nearest, or the first in an `order`; `more` says where
    all of them stand.
    """
    names = sorted(known, key=order)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    if len(names) > LISTED:
        alike = names[:LISTED]
        if order is None:
            alike = difflib.get_close_matches(name, names, n=_NEAREST, cutoff=0.0)
        names = [*alike, f"and {len(names) - len(alike)} more{more and f': {more}'}"]
    return UserError(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DamagedFileWarning(UserWarning):
    """A file of the store is damaged that only repeats what is known elsewhere: work goes on."""


class NotWrittenWarning(UserWarning):
    """Tables were made, and not written: the store is read-only, or lacks replicates."""

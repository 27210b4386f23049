"""Errors of users, apart from errors of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what a user gave: a study, a table, a rule, a store. Says what is allowed."""


class DamagedFileError(UserError):
    """A file of the store is not what was written; the message has its path and what to do."""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """An error that lists the known names and suggests the nearest to `name`."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


class NotWrittenWarning(UserWarning):
    """Tables were made, and not written: the store is read-only."""

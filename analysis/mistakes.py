"""Errors that say what exists, for all that a person may name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    """An error that says what exists, and which of it is nearest to `name`."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ValueError(f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})")


class NotWrittenWarning(UserWarning):
    """Tables were made, and not written: the store is read-only."""

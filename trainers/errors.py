"""The error that a user's mistake raises, as distinct from a program error."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what a user wrote or gave: a spec, a name, an option, a path, data.

    The message says what is wrong, its value, and what is allowed. Any other exception is a program
    error, and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

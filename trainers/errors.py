"""The error that a user's mistake raises, as distinct from a program error."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what a user wrote or gave: a spec, a name, an option, a path, data.

    The message says what is wrong, its value, and what is allowed. Any other exception is a program
    error, and keeps its traceback.
    """

"""What a user did wrong, apart from what the program does wrong."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what a user wrote or gave: a spec, a name, an option, a path, data.

    The message is for a person: what is wrong, its value, what is allowed. Any other exception is a
    program's, and keeps its traceback.
    """

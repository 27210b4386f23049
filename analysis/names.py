"""Names of studies and the default store, for `study` too; imports nothing heavy."""

from __future__ import annotations

import re

from analysis.errors import UserError

DEFAULT_STORE = "archprior-store"

#: File systems allow names of 255 bytes, and other names are made of this one.
LONGEST_NAME = 100
#: The form of a study's name, a regular expression.
NAME = rf"[a-z0-9][a-z0-9_.-]{{0,{LONGEST_NAME - 1}}}"


def is_name(study: str) -> bool:
    """Whether `study` can be the name of a study, and so of a folder."""
    return re.fullmatch(NAME, study) is not None


def check_name(study: str) -> None:
    """Raise ValueError unless `study` can be the name of a study."""
    if not is_name(study):
        raise UserError(
            f"study {study!r} is not a name of the form {NAME}: up to {LONGEST_NAME} lower-case "
            "letters, digits, `_`, `.` and `-`, the first a letter or a digit"
        )

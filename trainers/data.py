"""Where the files of data sets are."""

from __future__ import annotations

import os
from pathlib import Path

#: The variable that names the data root.
VARIABLE = "ARCHPRIOR_DATA"


def root() -> Path:
    """The folder under which data sets are looked for, and into which they are downloaded.

    `ARCHPRIOR_DATA`, else `archprior/data` in the user's cache (`XDG_CACHE_HOME` or `~/.cache`).
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "archprior", "data")

"""Stores that do not exist: one that is mistyped is not one without studies."""

from __future__ import annotations

import os
from pathlib import Path

from analysis.names import DEFAULT_STORE
from study.errors import SpecError
from trainers.store.folder import Folder

#: What to do where the default store does not exist.
NO_STORE_YET = (
    f"{DEFAULT_STORE} is not in this folder; a first study begins it (archprior run quickstart), "
    "and --store names another"
)


def check_there(uri: str | os.PathLike[str], root: Folder) -> None:
    """Raise SpecError where the folder of a store that was named does not exist."""
    if not root.is_local or Path(root.uri).exists():
        return
    if os.fspath(uri) == DEFAULT_STORE:
        raise SpecError(f"there is no store yet: {NO_STORE_YET}")
    raise SpecError(f"--store: {os.fspath(uri)} does not exist; archprior run makes a store")

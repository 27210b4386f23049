"""Commands that are suggested to a person, so that they work when they are copied as they are."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from analysis.names import DEFAULT_STORE
from trainers.secrets import masked


def command(*parts: str, store: str | os.PathLike[str] | None = None) -> str:
    """A command line: `archprior check small --store other`; without passwords.

    `store` is its folder or URI as a person or a program has it; the default one is not named.
    """
    options = [] if store is None else store_options(store)
    return masked(shlex.join(["archprior", *parts, *options]))


def store_options(store: str | os.PathLike[str]) -> list[str]:
    """The option of a command that names a store; below the current folder as a person would."""
    place = os.fspath(store)
    if "://" not in place:
        path, here = Path(place).absolute(), Path.cwd()
        place = os.fspath(path.relative_to(here)) if path.is_relative_to(here) else place
    return [] if place == DEFAULT_STORE else ["--store", place]

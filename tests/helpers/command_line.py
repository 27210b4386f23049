"""The type of the fixture `archprior`, which runs the command line in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable

#: Exit status, output and errors of a command.
Archprior = Callable[..., tuple[int, str, str]]

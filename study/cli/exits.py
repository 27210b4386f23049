"""Messages and exit statuses of commands that could not do their work.

1: a run could not do all its work. 2: a user's mistake, in one clear line; an exception inside a
module that the user's spec imports is one too. 3: an error of the program, with its traceback.
"""

from __future__ import annotations

import sys
import traceback

import typer

from analysis.servers import refusal
from trainers.secrets import masked

_REPORT = (
    "This is an error of archprior, not of yours: please report it, with the lines above. What was "
    "trained is kept."
)


def status_of(error: Exception) -> int:
    """Print an exception's meaning for the user; returns the exit status."""
    status = _incomplete(error) or _usage(error) or _mistake(error) or _refused(error)
    status = status or _mistake_in_a_module(error)
    if status is not None:
        return status
    typer.echo(masked("".join(traceback.format_exception(error))), err=True)
    typer.echo(f"\n{_REPORT}", err=True)
    return 3


def _incomplete(error: Exception) -> int | None:
    from study.errors import RunError
    from trainers.store.folder import StorageError
    from trainers.store.store import CorruptError

    if not isinstance(error, RunError | StorageError | CorruptError):
        return None
    typer.echo(f"error: {masked(str(error))}", err=True)
    return 1


def _mistake(error: Exception) -> int | None:
    from analysis.errors import UserError as AnalysisError
    from trainers.errors import UserError

    if not isinstance(error, UserError | AnalysisError):
        return None
    typer.echo(f"error: {masked(str(error))}", err=True)
    return 2


def _refused(error: Exception) -> int | None:
    told = refusal(error)
    if told is None:
        return None
    typer.echo(f"error: MLflow: {masked(told)}", err=True)
    return 2


def _mistake_in_a_module(error: Exception) -> int | None:
    from trainers.extensions.user_modules import where

    place = where(error)
    if place is None:
        return None
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    typer.echo(f"error: {place}: {type(error).__name__}: {first}", err=True)
    return 2


def _usage(error: Exception) -> int | None:
    # Typer may bring a click of its own: its errors are known by what they can do.
    show = getattr(error, "show", None)
    if show is None:
        return None
    show()
    return int(getattr(error, "exit_code", 2))

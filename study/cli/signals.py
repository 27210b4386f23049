"""The handlers of signals of this process's command, and how it ends after one."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from study.run.interrupts import Interruption, Interrupts
from trainers.secrets import masked

INTERRUPTS = Interrupts()


@contextmanager
def interruptible(again: Sequence[str] | None) -> Iterator[None]:
    """End the process after signal n with 128 + n; `again` is the command that goes on."""
    try:
        yield
    except Interruption as interruption:
        onward = "" if again is None else f"; {shlex.join(again)} {interruption.left}"
        with suppress(OSError):
            typer.echo(masked(f"{interruption.message}{onward}"), err=True)
        end_process(INTERRUPTS.status)


def end_process(status: int) -> NoReturn:
    """End the process without waiting for threads that still write to a lost MLflow."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)

"""The command `ui`: MLflow's server on a store, until Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import typer

from analysis.database import ARTIFACTS_FOLDER
from analysis.hints import command, store_options
from study.cli.arguments import HOST
from study.cli.mlflow_server import serve
from study.errors import SpecError
from study.run.interrupts import Interruption
from study.run.locations import find_store, tracking_uri_of
from study.tracking import database
from trainers.secrets import masked
from trainers.store.store import Store

_PORTS_TRIED = 50


def ui(
    store: str, tracking_uri: str | None, host: str, port: int, *, open_browser: bool = True
) -> None:
    """Serve MLflow's UI on a store until a signal ends it.

    Raises SpecError where the store or the address cannot be used, and Interruption for every
    signal but SIGINT, by which a person ends it.
    """
    place = find_store(store)
    if tracking_uri is None and place.root.is_local and not Path(place.uri).exists():
        raise SpecError(f"--store: {place.uri} does not exist; `archprior run` makes a store")
    uri = tracking_uri_of(place, tracking_uri)
    if uri.startswith(("http://", "https://")):
        raise SpecError(f"--tracking-uri: {masked(uri)} is a server: open it in a browser")
    _check_address(host, port, _again(place, tracking_uri, host))
    try:
        here = database.prepare(uri, place.root, None, typer.echo)
    except (OSError, sqlite3.Error) as error:
        raise SpecError(masked(f"--tracking-uri: {uri} cannot be used: {error}")) from error
    if not here:
        typer.echo(
            "the database is read-only: artifacts are shown where they were when it was made"
        )
    url = f"http://{_shown(host)}:{port}"

    def announce() -> None:
        typer.echo(f"{url}  (Ctrl-C ends it)")
        if open_browser and _has_display():
            webbrowser.open(f"{url}/#/experiments")

    try:
        serve(uri, (place.root / ARTIFACTS_FOLDER).uri, host, port, announce)
    except Interruption as interruption:
        if str(interruption) != signal.SIGINT.name:
            raise
        typer.echo("")


def _again(place: Store, tracking_uri: str | None, host: str) -> Sequence[str]:
    """The parts of this command that another one has to repeat."""
    given = [] if tracking_uri is None else ["--tracking-uri", tracking_uri]
    return ["ui", *store_options(place.uri), *given, *([] if host == HOST else ["--host", host])]


def _check_address(host: str, port: int, again: Sequence[str]) -> None:
    """Raise SpecError where nothing can listen there; it names a port that is free."""
    error = _refusal(host, port)
    if error is None:
        return
    if error.errno != errno.EADDRINUSE:
        raise SpecError(f"--host, --port: cannot listen on {host}:{port}: {error.strerror}")
    others = range(port + 1, min(port + _PORTS_TRIED, 2**16))
    free = next((other for other in others if _refusal(host, other) is None), None)
    hint = "" if free is None else f"; {free} is free: {command(*again, '--port', str(free))}"
    raise SpecError(f"--port: {port} is in use, perhaps by another archprior ui{hint}")


def _refusal(host: str, port: int) -> OSError | None:
    """The error of listening on an address; None where that works."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # A server that ended a moment ago is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _shown(host: str) -> str:
    """The host in an address that a browser on this machine reaches."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reached}]" if ":" in reached else reached


def _has_display() -> bool:
    """Whether there is a desktop; without one, Python would start a browser in the terminal."""
    if sys.platform in ("darwin", "win32") or "BROWSER" in os.environ:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))

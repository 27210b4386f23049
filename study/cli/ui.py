"""The command `ui`: MLflow's server on a store, with one worker, until Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from analysis.database import ARTIFACTS
from study.errors import RunError, SpecError
from study.run.interrupts import Interruption
from study.run.locations import find_store, tracking_uri_of
from study.tracking import database

#: Longest wait for the server's first answer; it takes a few seconds on a quiet machine.
_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2
#: Longest wait for its end after it was asked to.
_END_SECONDS = 10.0
_PORTS_TRIED = 50
_SOURCES = Path(__file__).resolve().parents[2]
#: Lines of MLflow that say nothing to who opens the UI; some begin with a time.
_NOISE = (" INFO ", "INFO:", "[MLflow] Security middleware enabled")
_LINES_KEPT = 15


def ui(
    store: str, tracking_uri: str | None, host: str, port: int, *, open_browser: bool = True
) -> None:
    """Serve MLflow's UI on a store until a signal ends it.

    Raises SpecError where the store or the address cannot be used, RunError where the server does
    not start, and Interruption for every signal but SIGINT, by which a person ends it.
    """
    place = find_store(store)
    if tracking_uri is None and place.root.is_local and not Path(place.uri).exists():
        raise SpecError(f"--store: {place.uri} does not exist; `archprior run` makes a store")
    uri = tracking_uri_of(place, tracking_uri)
    _check_address(host, port)
    try:
        here = database.prepare(uri, place.root, None, typer.echo)
    except (OSError, sqlite3.Error) as error:
        raise SpecError(f"--tracking-uri: {uri} cannot be used: {error}") from error
    if not here:
        typer.echo(
            "the database is read-only: artifacts are shown where they were when it was made"
        )
    url = f"http://{_shown(host)}:{port}"
    try:
        with _server(uri, (place.root / ARTIFACTS).uri, host, port) as server:
            server.wait_for(f"http://{_reached(host)}:{port}/health")
            typer.echo(f"{url}  (Ctrl-C ends it)")
            if open_browser and _has_display():
                webbrowser.open(url)
            server.wait()
    except Interruption as interruption:
        if str(interruption) != signal.SIGINT.name:
            raise
        typer.echo("")


class _Server:
    """The server in a process group of its own, so that signals reach it through us alone."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)
        self._up = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if any(noise in line for noise in _NOISE) or not line.strip():
                continue
            self._last.append(line.rstrip())
            if self._up:
                typer.echo(line.rstrip(), err=True)

    def wait_for(self, address: str) -> None:
        """Wait for the first answer; raises RunError where there is none."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with suppress(OSError):
                urllib.request.urlopen(address, timeout=5).close()
                self._up = True
                return
            time.sleep(_LOOK_SECONDS)
        self._reader.join(1)
        raise RunError("\n".join(["MLflow's server did not start:", *self._last]))

    def wait(self) -> None:
        """Wait for its end; raises RunError, for it should not end by itself."""
        while self._process.poll() is None:
            time.sleep(_LOOK_SECONDS)
        self._reader.join(1)
        raise RunError(f"MLflow's server ended by itself, with status {self._process.returncode}")

    def end(self) -> None:
        """End the server and its worker."""
        for kind, seconds in ((signal.SIGTERM, _END_SECONDS), (signal.SIGKILL, _END_SECONDS)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, kind)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                return


@contextmanager
def _server(uri: str, artifacts: str, host: str, port: int) -> Iterator[_Server]:
    command = [sys.executable, "-m", "study.cli.mlflow_server", uri, artifacts, host, str(port)]
    quiet = {
        # Its runners of jobs, which nothing of ours has, are seven processes more.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Deprecations in MLflow's own libraries.
        "PYTHONWARNINGS": "ignore",
    }
    paths = filter(None, (str(_SOURCES), os.environ.get("PYTHONPATH")))
    found = {"PYTHONPATH": os.pathsep.join(paths)}
    server = _Server(command, quiet | os.environ | found)
    try:
        yield server
    finally:
        server.end()


def _check_address(host: str, port: int) -> None:
    """Raise SpecError where nothing can listen there; it names a port that is free."""
    error = _refusal(host, port)
    if error is None:
        return
    if error.errno != errno.EADDRINUSE:
        raise SpecError(f"--host, --port: cannot listen on {host}:{port}: {error.strerror}")
    free = (other for other in range(port + 1, port + _PORTS_TRIED) if not _refusal(host, other))
    other = next(free, None)
    hint = "" if other is None else f"; {other} is free: archprior ui --port {other}"
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


def _reached(host: str) -> str:
    """The name by which this machine reaches a server that listens on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{reached}]" if ":" in reached else reached


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _has_display() -> bool:
    """Whether there is a desktop; without one, Python would start a browser in the terminal."""
    if sys.platform in ("darwin", "win32") or "BROWSER" in os.environ:
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))

"""Whether a Ray cluster answers at an address: Ray itself tries for a quarter of an hour.

A head's port speaks HTTP/2, whose servers say their settings as soon as a client has said its own.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from urllib.parse import urlsplit

from study.errors import SpecError

#: Seconds to connect, for each address that a name has, and for an answer.
CONNECT_SECONDS = 4.0
#: A client's first words of HTTP/2, and the frame of its settings, of which it has none.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEAD, _TYPE_AT, _SETTINGS = 9, 3, 4
_CLIENT = "ray://"
_VARIABLE = "RAY_ADDRESS"


def check_answer(address: str) -> None:
    """Raise SpecError unless something that may be a Ray cluster answers at `--address`.

    `HOST:PORT` is tried, and for `auto` the cluster that RAY_ADDRESS names, or else that Ray finds
    on this machine, where the files of one that has gone may be left. `ray://` is refused: there
    Tune runs elsewhere, so that neither progress nor a signal would pass. Anything else is left to
    Ray: the schemes of others, and what is no address at all.
    """
    given, meant = repr(address), address
    if address == "auto":
        if variable := os.environ.get(_VARIABLE):
            given, meant = f"{given} ({_VARIABLE}={variable})", variable
        elif found := _found_here():
            given, meant = f"{given} (last on this machine: {found})", found
    if meant.startswith(_CLIENT):
        raise SpecError(
            f"--address: {given}: a study cannot run through Ray Client; run it on a node of the "
            "cluster (--address auto), or hand it in: archprior submit --address http://HEAD:8265"
        )
    place = place_of(meant)
    if place is None:
        return
    try:
        with socket.create_connection(place, timeout=CONNECT_SECONDS) as connection:
            problem = None if _encrypted() else _problem(connection)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem is not None:
        raise SpecError(f"--address: {given}: no Ray cluster answers there: {problem}")


def _found_here() -> str | None:
    """The address that `auto` means to Ray; None where it finds none, and says so itself at once.

    It asks the machine's processes, then a file that the last head here wrote and nobody removes.
    """
    # Ray has no public word for it; one that has moved it finds out for itself.
    with suppress(ImportError, ConnectionError):
        from ray._private.services import get_ray_address_from_environment

        found: str | None = get_ray_address_from_environment("auto", None)
        return found
    return None


def place_of(address: str) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT`; None where it is none."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme or not parts.hostname or port is None:
        return None
    return parts.hostname, port


def _encrypted() -> bool:
    return os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")


def _problem(connection: socket.socket) -> str | None:
    """How a server differs from one of HTTP/2; None if it does not. Raises OSError."""
    silent = "it takes connections, and says nothing"
    try:
        connection.sendall(_GREETING)
        said = connection.recv(_FRAME_HEAD, socket.MSG_WAITALL)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        return silent
    if not said:
        return silent
    if len(said) == _FRAME_HEAD and said[_TYPE_AT] == _SETTINGS:
        return None
    return "something else than a Ray cluster listens there (a head's port is 6379 by default)"

"""Servers of MLflow: whether one answers at all, and its URI without the password."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from analysis.errors import UserError, first_line

#: Seconds for an answer. MLflow's own clients try again for minutes before they say anything.
ANSWER_SECONDS = 8.0
#: Seconds to connect and for an answer: a name may have two addresses, each with its own time.
_TIMEOUTS = (ANSWER_SECONDS / 4, ANSWER_SECONDS / 2)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
#: Up to the last @ of a word: names of users and passwords may hold one, and slashes.
_PASSWORD = re.compile(r"(://[^/\s:]*):[^\s]*@")
_QUERY = re.compile(r"([?&](?:password|passwd|pwd)=)[^&\s]+", re.IGNORECASE)


class NoAnswerError(UserError):
    """No MLflow answers at a tracking URI; the message names it."""


def masked(text: str) -> str:
    """A URI, or a text with URIs in it, with `***` for the passwords."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def check_answer(uri: str) -> None:
    """Raise NoAnswerError unless the server of a tracking URI answers in `ANSWER_SECONDS`.

    Of a database only the port is tried. A URI without a server passes.
    """
    try:
        if uri.startswith(("http://", "https://")):
            _ask(uri)
        elif "://" in uri:
            _connect(uri)
    except OSError as error:
        cause = masked(first_line(error))
        raise NoAnswerError(f"MLflow at {masked(uri)} does not answer: {cause}") from error


def _ask(uri: str) -> None:
    import requests

    # Whatever the status: a refusal is an answer, too, and so is a certificate of which MLflow's
    # own variables may say that it is good.
    with suppress(requests.exceptions.SSLError):
        address = f"{uri.rstrip('/')}/health"
        requests.get(address, timeout=_TIMEOUTS, stream=True, allow_redirects=False).close()


def _connect(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        # MLflow says better what is wrong with it.
        return
    port = url.port or _PORTS.get(url.get_backend_name())
    if url.host and port:
        socket.create_connection((url.host, port), timeout=ANSWER_SECONDS / 2).close()

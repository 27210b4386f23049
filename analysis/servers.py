"""Servers of MLflow: whether one answers at all, and what its refusal means."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from analysis.errors import UserError, first_line
from trainers.secrets import masked

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

#: Seconds for an answer. MLflow's own clients try again for minutes before they say anything.
ANSWER_SECONDS = 8.0
#: Seconds to connect and for an answer: a name may have two addresses, each with its own time.
_TIMEOUTS = (ANSWER_SECONDS / 4, ANSWER_SECONDS / 2)
#: Drivers of PostgreSQL, by SQLAlchemy's names.
_DRIVERS = ("psycopg", "psycopg2")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


class NoAnswerError(UserError):
    """No MLflow answers at a tracking URI; the message names it."""


def refusal(error: BaseException) -> str | None:
    """The meaning of an error of a server that refuses a user, in one line; None for any other."""
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        return (
            "it refuses user and password: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
            "must say those of an account there"
        )
    if code == "PERMISSION_DENIED":
        return f"it does not permit that to this user: {first_line(error)}"
    return None


def timed_out(error: BaseException | None) -> bool:
    """Whether an error follows from a server that took a request and did not answer in time."""
    from requests import Timeout
    from urllib3.exceptions import TimeoutError as PoolTimeout

    while error is not None and not isinstance(error, (Timeout, PoolTimeout)):
        error = error.__cause__ or error.__context__
    return error is not None


def check_answer(uri: str) -> None:
    """Raise NoAnswerError unless the server of a tracking URI answers in `ANSWER_SECONDS`.

    A PostgreSQL is logged in to; of other databases only the port is tried. A URI without a server
    passes.
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
        if url.get_backend_name() == "postgresql":
            _log_in(url)


def _log_in(url: URL) -> None:
    """Connect to a PostgreSQL, because MLflow tries a wrong password for minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    if url.get_driver_name() not in _DRIVERS:
        return
    shown = masked(url.render_as_string(hide_password=True))
    # Both drivers hand it to PostgreSQL's own library.
    limit = {"connect_timeout": int(ANSWER_SECONDS / 2)}
    try:
        create_engine(url, poolclass=NullPool, connect_args=limit).connect().close()
    except ModuleNotFoundError as error:
        raise NoAnswerError(
            f"MLflow at {shown}: {error}; install it, or name the driver that is installed: "
            f"{' or '.join(f'postgresql+{name}://' for name in _DRIVERS)}"
        ) from error
    except OperationalError as error:
        cause = masked(first_line(error.orig or error))
        raise NoAnswerError(f"MLflow at {shown} takes no connection: {cause}") from error

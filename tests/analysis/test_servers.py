"""Servers of MLflow that do not answer, and refusals of those that do."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException, get_error_code

from analysis import database
from analysis.errors import UserError
from analysis.servers import NoAnswerError, check_answer, refusal


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    "uri",
    [
        # Nobody listens on port 9 of this machine.
        "http://team:secret@127.0.0.1:9",
        "postgresql://team:secret@127.0.0.1:9/mlflow",
        "mysql+pymysql://team:secret@127.0.0.1:9/mlflow",
    ],
)
def test_a_server_that_is_not_there_is_said_without_its_password(uri: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"MLflow at .*\*\*\*@.* does not answer") as raised:
        database.opened(uri)
    assert time.monotonic() - began < 10
    assert "secret" not in str(raised.value)


@pytest.mark.processes
def test_a_server_that_says_nothing_is_not_waited_for(silent: int) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match="does not answer"):
        check_answer(f"http://127.0.0.1:{silent}")
    assert time.monotonic() - began < 10


def test_a_certificate_that_only_mlflow_knows_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any, **_options: Any) -> Any:
        raise requests.exceptions.SSLError("self-signed certificate")

    monkeypatch.setattr(requests, "get", refused)
    check_answer("https://mlflow.lab")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////store/mlflow.db",
        "databricks",
        "/a/folder",
        "postgresql:///mlflow",
        "tape://",
        "postgresql://host:port/mlflow",
        "mssql+pyodbc://ann:secret@DSN",
    ],
)
def test_what_is_no_server_is_not_asked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("it is asked")

    monkeypatch.setattr(socket, "create_connection", never)
    check_answer(uri)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "it refuses user and password: MLFLOW_TRACKING_USERNAME and "),
        (403, "it does not permit that to this user: not yours"),
        (500, None),
    ],
)
def test_a_refusal_by_the_server_is_told_from_other_errors(status: int, told: str | None) -> None:
    error = MlflowException("not yours\nat all", error_code=get_error_code(status))
    said = refusal(error)
    assert (said is None) if told is None else said is not None and said.startswith(told)


def test_errors_of_others_are_no_refusal() -> None:
    assert refusal(OSError("no")) is None

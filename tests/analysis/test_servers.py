"""Servers of MLflow that do not answer, and passwords in their URIs."""

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
from analysis.servers import NoAnswerError, check_answer, holds_secret, masked, refusal


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
    ("text", "shown"),
    [
        ("http://ann:pa:ss@w0rd@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://u:p@h/db, and s3://k:s@e", "postgresql://u:***@h/db, and s3://k:***@e"),
        ("http://ann@corp.com:secret@host:5000", "http://***@host:5000"),
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=***"),
        ("http://host:5000", "http://host:5000"),
        ("http://ann@host", "http://***@host"),
        ("https://tok3n@h/x", "https://***@h/x"),
        ("HTTPS://tok3n:@h/x", "HTTPS://***@h/x"),
        ("https://tok3n:x-oauth@h", "https://***@h"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("https://h/a@b", "https://h/a@b"),
        ("https://h/?token=abc", "https://h/?token=***"),
        (
            "https://h/?a=1&access_token=x&b=2&secret=y",
            "https://h/?a=1&access_token=***&b=2&secret=***",
        ),
        ("postgresql://h/db?sslpassword=zz", "postgresql://h/db?sslpassword=***"),
        ("https://h/?X-API-Key=zz#there", "https://h/?X-API-Key=***"),
        ("https://h/?passwd=a&pwd=b", "https://h/?passwd=***&pwd=***"),
        ("https://h/?sv=1&sig=SAS%2B", "https://h/?sv=1&sig=***"),
        (
            "https://h/?X-Amz-Credential=a/b&X-Amz-Signature=c&X-Goog-Signature=d",
            "https://h/?X-Amz-Credential=***&X-Amz-Signature=***&X-Goog-Signature=***",
        ),
        ("https://h/?design=2&sigma=1", "https://h/?design=2&sigma=1"),
        ("https://h/?page=2&q=token", "https://h/?page=2&q=token"),
        ('{"at": "https://h/?token=abc", "n": 1}', '{"at": "https://h/?token=***", "n": 1}'),
        ('{"at": "http://h", "to": "a@b"}', '{"at": "http://h", "to": "a@b"}'),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("see http://host:5000 or ann@host", "see http://host:5000 or ann@host"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert holds_secret(text) == (text != shown)


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

"""Ray beside other work: one thread starts and ends it, and a failure reaches whoever waits."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import ray

from study.errors import RunError, SpecError
from study.run.ray_session import RaySession
from tests.helpers.driver import ROOT

#: The first frame of every server of HTTP/2, without settings.
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray is asked, by which thread, with which signals blocked."""
    found: dict[str, Any] = {}

    def init(**options: Any) -> None:
        found["init"] = threading.current_thread()
        found["blocked"] = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        found["options"] = options

    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: found.update(shutdown=threading.current_thread()))
    return found


def test_one_thread_starts_and_ends_it(seen: dict[str, Any]) -> None:
    """Linux ends Ray's processes with the thread that made them."""
    with RaySession(None, []) as session:
        session.up.result(timeout=300)
        assert "shutdown" not in seen
    assert seen["init"] is seen["shutdown"] is not threading.main_thread()
    assert {signal.SIGTERM, signal.SIGHUP} <= seen["blocked"]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_it_ends_when_it_is_told_and_once(seen: dict[str, Any]) -> None:
    with RaySession(None, []) as session:
        session.end()
        assert seen.pop("shutdown")
    assert "shutdown" not in seen


def test_a_machine_on_which_it_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_options: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with (
        RaySession(None, []) as session,
        pytest.raises(RunError, match=r"did not start on this machine: The current node timed out"),
    ):
        session.up.result(timeout=300)


def test_who_waits_for_it_gets_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_options: Any) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        RaySession("auto", []) as session,
        pytest.raises(SpecError, match="--address: 'auto': no Ray cluster answers there: nobody"),
    ):
        session.up.result(timeout=300)


def test_who_waits_for_it_is_told_that_ray_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with RaySession(None, []) as session, pytest.raises(ImportError, match="ray"):
        session.up.result(timeout=300)


def test_a_ray_that_the_caller_started_is_left_running(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with RaySession(None, []) as session:
        session.up.result(timeout=300)
    assert seen == {}


class Port:
    """A port of this machine that takes connections, and says `greeting` to each."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting, self._taken = greeting, ExitStack()
        self._listening = self._taken.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                connection, _ = self._listening.accept()
                self._taken.callback(connection.close)
                connection.sendall(self._greeting)
        except OSError:
            return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._taken.close()


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[Port]:
    made = Port(request.param)
    yield made
    made.close()


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def refused(address: str) -> str:
    """The error of a session at this address, which must come within ten seconds."""
    began = time.monotonic()
    with RaySession(address, []) as session, pytest.raises(SpecError) as raised:
        session.up.result(timeout=60)
    assert time.monotonic() - began < 10
    return str(raised.value)


def test_a_closed_port_is_said_at_once(closed: str) -> None:
    said = refused(closed)
    assert said.startswith(f"--address: {closed!r}: no Ray cluster answers there: ")
    assert "Connection refused" in said
    assert "\n" not in said


def test_auto_means_the_address_of_the_environment(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", closed)
    said = refused("auto")
    assert said.startswith(f"--address: 'auto' (RAY_ADDRESS={closed}): no Ray cluster answers")


def test_auto_does_not_wait_for_a_cluster_that_has_gone(
    closed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A head that was killed leaves a file that names it."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    # Other tests may run a Ray, which has precedence.
    found = "ray._private.services.find_gcs_addresses"
    monkeypatch.setattr(found, functools.cache(set))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(closed)
    said = refused("auto")
    assert said.startswith(f"--address: 'auto' (last on this machine: {closed}): no Ray cluster")


@pytest.mark.parametrize("by_variable", [False, True])
def test_ray_client_is_refused(by_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through it neither reports nor signals would reach the driver."""
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    said = refused("auto" if by_variable else "ray://head:10001")
    assert "ray://head:10001" in said
    assert "archprior submit" in said


@pytest.mark.parametrize(
    ("port", "told"),
    [
        (b"", "it takes connections, and says nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else than a Ray cluster listens there"),
    ],
    indirect=["port"],
)
def test_a_port_of_something_else_is_said_soon(port: Port, told: str) -> None:
    assert told in refused(port.address)


@pytest.mark.parametrize("port", [SETTINGS], indirect=True)
def test_a_port_that_answers_is_left_to_ray(port: Port, seen: dict[str, Any]) -> None:
    with RaySession(port.address, []) as session:
        session.up.result(timeout=300)
    assert seen["options"]["address"] == port.address


@pytest.mark.parametrize("port", [SETTINGS], indirect=True)
def test_who_is_interrupted_does_not_wait_for_a_cluster(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray tries a cluster that does not answer for a quarter of an hour."""
    trying, over = threading.Event(), threading.Event()

    def init(**_options: Any) -> None:
        trying.set()
        over.wait()

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with RaySession(port.address, []) as session:
        assert trying.wait(60)
        began = time.monotonic()
        session.end()
    assert time.monotonic() - began < 10
    over.set()


@pytest.mark.processes
@pytest.mark.parametrize("port", [SETTINGS], indirect=True)
def test_a_signal_ends_doctor_while_ray_tries(port: Port, tmp_path: Path) -> None:
    """Ray's own code, against a port that seems to be a cluster and then says no more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "study", "doctor", "--store", tmp_path, "--address", port.address],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert "store" in process.stdout.readline()
    assert "MLflow" in process.stdout.readline()
    time.sleep(8)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143

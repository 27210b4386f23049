"""Ray beside other work: one thread starts and ends it, and a failure reaches whoever waits."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import pytest
import ray

from study.errors import RunError, SpecError
from study.run.ray_session import RaySession


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
    with (
        RaySession("ray://somewhere:1", []) as session,
        pytest.raises(SpecError, match="--address: 'ray://somewhere:1': no Ray cluster answers"),
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

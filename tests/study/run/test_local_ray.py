"""What a local Ray needs of the machine: looked for before anything starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from study import Study
from study.run import local_ray
from study.spec.read import SpecError

LONG = "x" * 60


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_ray_chooses_its_folder_where_it_can(environment: pytest.MonkeyPatch) -> None:
    assert local_ray.temporary_folder() is None
    environment.setenv("TMPDIR", "/tmp")
    assert local_ray.temporary_folder() is None


def test_a_long_temporary_folder_is_not_for_sockets(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("TMPDIR", str(tmp_path / LONG))
    assert local_ray.temporary_folder() == "/tmp/ray"


def test_a_folder_of_ones_own_for_ray_is_used_or_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("RAY_TMPDIR", str(tmp_path / LONG))
    with pytest.raises(SpecError, match=rf"^RAY_TMPDIR: .*{LONG} is too long .* 39 bytes or less"):
        local_ray.temporary_folder()
    study = Study(
        name="t",
        task="mnist1d",
        targets="fcn",
        guides="cnn1d",
        controls=[],
        seeds=1,
        train={"steps": 1},
    )
    with pytest.raises(SpecError, match="RAY_TMPDIR"):
        study.run(store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    environment.setenv("RAY_TMPDIR", "/proc/none")
    with pytest.raises(SpecError, match="RAY_TMPDIR: /proc/none cannot be written"):
        local_ray.temporary_folder()


def test_a_home_that_takes_no_token_is_not_needed(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("HOME", str(tmp_path))
    assert local_ray.missing_token() is None
    environment.setenv("HOME", "/proc/none")
    token = local_ray.missing_token()
    assert token is not None
    assert len(token) == 64
    environment.setenv("RAY_AUTH_MODE", "disabled")
    assert local_ray.missing_token() is None


DEAF = """
import signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up", flush=True)
time.sleep(600)
"""
HEARS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(3)))
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_who_cannot_hear_is_killed_once_it_is_asked_to_end() -> None:
    with ExitStack() as stack:
        deaf, other, hears = (
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            )
            for code in (DEAF, DEAF, HEARS)
        )
        for process in (deaf, other, hears):
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        with local_ray.ended_at_once():
            for process in (deaf, hears):
                process.terminate()
            assert deaf.wait(10) == -signal.SIGKILL
            assert hears.wait(10) == 3
            assert other.poll() is None

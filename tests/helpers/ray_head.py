"""The head of a Ray cluster as processes of its own, beside other clusters of the machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import requests

ROOT = Path(__file__).resolve().parents[2]
_UP_SECONDS = 240.0


class Head(NamedTuple):
    """A running head: the address of the cluster, of its dashboard, and its folder."""

    address: str
    dashboard: str
    folder: Path
    environment: Mapping[str, str]


@contextmanager
def ray_head(folder: Path, *, num_cpus: int = 2, token: str | None = None) -> Iterator[Head]:
    """Start a head whose home, logs and token are in `folder`; it ends with the context.

    With a `token` it asks for it, otherwise for none. It does not have this package's sources.
    """
    port, dashboard = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(folder), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    # Jobs run the `python` of the head's PATH, which `make` does not set.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    if token is not None:
        path = folder / "token"
        path.write_text(token)
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    # Of sockets Linux takes paths of 107 bytes.
    short = tempfile.mkdtemp(prefix="r")
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
        f"--port={port}", f"--num-cpus={num_cpus}", f"--dashboard-port={dashboard}",
        f"--temp-dir={short}", "--disable-usage-stats", "--include-dashboard=true",
    ]  # fmt: skip
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, f"http://127.0.0.1:{dashboard}/api/version", folder / "head.log")
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", folder, environment)
    finally:
        below = _below(process)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for each in [*below, process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        shutil.rmtree(short, ignore_errors=True)


def _below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            # Also a refusal is an answer.
            requests.get(url, timeout=5)
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text())


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

"""Nodes of a Ray cluster as processes of their own, beside other clusters of the machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import requests

from tests.helpers.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
_UP_SECONDS = 900.0
#: Ray's smallest, because several nodes share a machine.
_OBJECT_STORE_BYTES = 80 * 2**20


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
    # Of sockets Linux takes paths of 107 bytes.
    short = tempfile.mkdtemp(prefix="r")
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
    process = _ray_start(
        folder / "head.log", environment, "--head", f"--port={port}", f"--num-cpus={num_cpus}",
        f"--dashboard-port={dashboard}", f"--temp-dir={short}", "--disable-usage-stats",
        "--include-dashboard=true",
    )  # fmt: skip
    try:
        _wait(process, f"http://127.0.0.1:{dashboard}/api/version", folder / "head.log")
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", folder, environment)
    finally:
        _end(process)
        shutil.rmtree(short, ignore_errors=True)


class Worker:
    """A node that joins the cluster of a head, with the CPUs and GPUs that it says it has."""

    def __init__(
        self,
        head: Head,
        name: str,
        *,
        num_cpus: int,
        num_gpus: int = 0,
        sources: Path | None = None,
    ) -> None:
        """Join; with `sources`, a folder that its processes find modules in."""
        self._log = head.folder / f"{name}.log"
        # Without `--num-gpus`, Ray would count those of this machine once more.
        options = (
            f"--address={head.address}", f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
        )  # fmt: skip
        environment = dict(head.environment)
        if sources is not None:
            environment["PYTHONPATH"] = str(sources)
        if num_gpus:
            # Ray compares what it is told with what it may see.
            environment.pop("CUDA_VISIBLE_DEVICES", None)
        deadline = time.monotonic() + _UP_SECONDS
        while True:
            self._process = _ray_start(self._log, environment, *options)
            if self._is_up(deadline):
                return
            assert time.monotonic() < deadline, self._log.read_text()

    def _is_up(self, deadline: float) -> bool:
        """Whether it has joined; on a machine with other work Ray gives up after 30 seconds.

        Waited for, because of two nodes that start at once on a machine Ray loses one.
        """
        while "Ray runtime started" not in self._log.read_text():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)
        return True

    def processes(self, kind: str) -> list[psutil.Process]:
        """Ray's processes of a kind, such as `ray::RayTrainWorker`, on this node."""
        found = []
        for process in _below(self._process):
            with suppress(psutil.Error):
                if any(kind in part for part in process.cmdline()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """What happens to a spot machine: all of the node's processes are gone at once."""
        for process in [*_below(self._process), self._process]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def end(self) -> None:
        """Leave the cluster."""
        _end(self._process)


def _ray_start(log: Path, environment: Mapping[str, str], *options: str) -> subprocess.Popen[bytes]:
    # The agent of a node takes no jobs where another Ray of the machine has the port by default.
    agent = f"--dashboard-agent-listen-port={free_port()}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", agent, *options]
    with log.open("w") as file:
        return subprocess.Popen(
            command, cwd=log.parent, env=dict(environment), stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    below = _below(process)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    for each in [*below, process]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


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

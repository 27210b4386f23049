"""`archprior` in a process of its own, with all that it starts, which can be killed by kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
#: What stands in the command of each kind of Ray's processes.
KINDS = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "trial": "ray::ImplicitFunc",
    "raylet": "raylet/raylet",
}


class Driver:
    """`archprior run` in a process of its own, and all the processes below it."""

    def __init__(
        self,
        *arguments: object,
        log: Path,
        code: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        environment = dict(environment) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.log = log
        program = ["-m", "study"] if code is None else ["-c", code]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *program, *map(str, arguments)],
                cwd=log.parent, env=environment, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self._below: dict[int, psutil.Process] = {}

    def below(self) -> list[psutil.Process]:
        """Its processes that are alive, orphans included."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self._below |= {process.pid: process for process in found}
        return [p for p in self._below.values() if p.is_running()]

    def kill(self, kind: str) -> bool:
        """kill -9 the driver, or all its processes of a kind; False when there are none."""
        if kind == "driver":
            self.below()
            self.process.kill()
            return True
        victims = [p for p in self.below() if KINDS[kind] in _command(p)]
        for victim in victims:
            victim.kill()
        return bool(victims)

    def wait(self, seconds: float = 600) -> int:
        """Its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.below()
            time.sleep(0.1)
        assert self.process.poll() is not None, self.log.read_text()
        return int(self.process.returncode)

    def end(self) -> None:
        """Leave nothing behind."""
        for process in [*self.below(), psutil.Process()]:
            if process.pid != os.getpid():
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
        self.process.kill()
        self.process.wait()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

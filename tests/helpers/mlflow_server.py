"""An MLflow server in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.helpers.ports import free_port


class Server:
    """An `mlflow server` on loopback, that may be killed and started again on its data.

    `options` of the command name where these are, by default sqlite and files in `folder`;
    `environment` are variables of its own.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._options = folder, options
        self._environment = environment or {}
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    @property
    def log(self) -> Path:
        """What it prints, each request among it."""
        return self._folder / "log"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
            "--port", str(self._port), "--workers", "1", *(self._options or self._own_data()),
        ]  # fmt: skip
        with self.log.open("a") as log:
            # Its runners of jobs are seven processes more.
            environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            environment |= self._environment
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 300
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"no MLflow server at {self.url}")

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            # Its workers are in its session.
            os.killpg(self._process.pid, signum)
            self._process.wait(30)
            self._process = None

    def _own_data(self) -> list[str]:
        return [
            "--backend-store-uri", f"sqlite:///{self._folder}/server.db",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip

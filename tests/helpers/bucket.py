"""A server that speaks S3, for tests of stores in buckets."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import boto3
from moto.server import ThreadedMotoServer

from tests.helpers.ports import free_port

_SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
ThreadedMotoServer("127.0.0.1", int(sys.argv[1])).start()
while True:
    time.sleep(60)
"""


def environment_of(url: str) -> dict[str, str]:
    """Variables with which clients find the server at `url`."""
    return {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip


class InProcessBucket:
    """A server of S3 in this process, which keeps its content while it is away."""

    def __init__(self, port: int) -> None:
        self._port, self.url = port, f"http://127.0.0.1:{port}"
        self.come()

    def come(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def leave(self) -> None:
        self._server.stop()


class Bucket:
    """A server that speaks S3, as a process that can be stopped and go on, with a bucket `lab`."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        self.url, self.log = f"http://127.0.0.1:{port}", log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(port)], stdout=file, stderr=file
            )
        self.environment = environment_of(self.url)

    def __enter__(self) -> Self:
        try:
            self._create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def client(self) -> Any:
        """A client of the server."""
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test",
            region_name="us-east-1",
        )  # fmt: skip

    def _create(self) -> None:
        """Make the bucket, once the server is up."""
        client = self.client()
        deadline = time.monotonic() + 120
        while True:
            try:
                client.create_bucket(Bucket="lab")
            except Exception:
                assert time.monotonic() < deadline, self.log.read_text()
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.5)
            else:
                return

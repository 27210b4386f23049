"""Where studies of the fault campaign run: in one process, on Ray, with servers, in a bucket."""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import boto3
import fsspec

from tests.helpers import jumping_clock
from tests.helpers.bucket import InProcessBucket, environment_of
from tests.helpers.driver import ROOT, Driver
from tests.helpers.front import BucketFront
from tests.helpers.jumping_clock import JumpingClock
from tests.helpers.mlflow_server import Server
from tests.helpers.ports import free_port
from tests.helpers.small_disk import can_mount, small_disk
from trainers.store.outages import VARIABLE as OUTAGE_SECONDS

#: Eight replicates, of half a second or less each where nothing else runs, and 68 checkpoints.
SPEC: dict[str, Any] = {
    "name": "campaign",
    "imports": [str(ROOT / "tests/helpers/greedy.py")],
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "greedy", "depth": 3, "width": 64}],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "states": ["trained"],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 60, "batch_size": 100, "report_every": 6, "optimizer": "adam"},
    "guide_train": {"steps": 36},
}


class Ground:
    """A store in a folder and runs in one process, until the context ends.

    `store` is its path or URI, `uri` that of MLflow; its processes are killed at the end.
    """

    options: tuple[str, ...] = ("--local",)
    #: Seconds between two looks at the store.
    look_seconds = 0.05

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, f"{folder}/store"
        self.uri = f"sqlite:///{folder}/store/mlflow.db"
        self.hunger = folder / "hunger"
        self.environment = dict(os.environ) | {"GREEDY_FILE": str(self.hunger)}
        self.ending = ExitStack()
        self._logs: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.ending.close()

    def start(self, command: str = "run") -> Driver:
        """Start the study's command, always the same."""
        spec = self.folder / "spec.yaml"
        spec.write_text(json.dumps(SPEC))
        log = self.folder / f"log-{len(self._logs)}.txt"
        self._logs.append(log)
        arguments = [command, spec, "--store", self.store, "--tracking-uri", self.uri]
        driver = Driver(*arguments, *self.options, log=log, environment=self.environment)
        self.ending.callback(driver.end)
        return driver

    def said(self) -> str:
        """The ends of what all runs have printed."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in self._logs)

    def calm(self) -> None:
        """End what disturbs it."""


class Local(Ground):
    """On a small disk, with a clock that may jump, where this machine can have them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if can_mount():
            self.ending.enter_context(small_disk(Path(self.store)))
        self.clock = JumpingClock(folder) if jumping_clock.can_jump() else None
        if self.clock is not None:
            self.environment |= self.clock.environment


class OnRay(Ground):
    """Through Ray, which each run starts on this machine."""

    options = ()


class WithServer(Ground):
    """With a server of MLflow."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        place = folder / "server"
        place.mkdir()
        self.server = Server(place)
        self.uri = self.server.url
        self.server.start()
        self.ending.callback(self.server.kill)


class InBucket(Ground):
    """In a bucket, with a server whose answers may go wrong, and which may go away.

    An outage is waited out for `SECONDS`.
    """

    SECONDS = 20
    look_seconds = 0.5

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # It would print each request.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self.bucket = InProcessBucket(free_port())
        self.ending.callback(self.bucket.leave)
        self.front = BucketFront(self.bucket.url)
        self.ending.callback(self.front.end)
        # This process asks the server itself.
        mine = environment_of(self.bucket.url)
        os.environ |= mine
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        # Of other rounds of this process the server knows the bucket.
        boto3.client("s3", endpoint_url=self.bucket.url).create_bucket(Bucket="lab")
        self.store, self.uri = f"s3://lab/{folder.name}", f"sqlite:///{folder}/mlflow.db"
        self.environment |= environment_of(self.front.url)
        self.environment[OUTAGE_SECONDS] = str(self.SECONDS)

    def calm(self) -> None:
        self.front.break_down(0)

"""A store in a bucket whose server goes away in mid-study, or whose answers go wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
import requests

from study import Study
from study.cli.exits import status_of
from study.run import status
from tests.helpers.bucket import InProcessBucket, environment_of
from tests.helpers.front import BucketFront
from tests.helpers.ports import free_port
from trainers.store import outages
from trainers.store.store import Store

pytestmark = pytest.mark.timeout(1800)
SPEC: dict[str, Any] = {
    "name": "bucket",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["shuffled"],
    "states": ["trained"],
    "seeds": 1,
    "train": {"steps": 12, "batch_size": 50, "report_every": 3},
}
NUM_REPLICATES = 4
STORE = "s3://lab/store"


#: The server says here what it was asked.
_LOG = logging.getLogger("werkzeug")


class _Written(logging.Handler):
    """Sets `reached` at the moment when the server has taken `count` files of a name."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__()
        self._name, self._left, self.reached = name, count, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "PUT " in said and f"{self._name} " in said:
            self._left -= 1
            if self._left <= 0:
                self.reached.set()


class Bucket(InProcessBucket):
    """A server of S3 in this process, which leaves when something is written."""

    def __init__(self, port: int) -> None:
        self._watchers: list[tuple[threading.Event, threading.Thread]] = []
        self._over = threading.Event()
        super().__init__(port)

    def leave_once(self, name: str, seconds: float | None, count: int = 1) -> threading.Thread:
        """Leave once `count` files of a name are written; be back after `seconds`, or stay away."""
        written = _Written(name, count)
        _LOG.addHandler(written)

        def watch() -> None:
            written.reached.wait()
            _LOG.removeHandler(written)
            if self._over.is_set():
                return
            self.leave()
            if seconds is not None:
                time.sleep(seconds)
                self.come()

        thread = threading.Thread(target=watch, daemon=True)
        self._watchers.append((written.reached, thread))
        thread.start()
        return thread

    def end(self) -> None:
        """Leave for good, and wait for those that watch: they would fail in the next test."""
        self._over.set()
        for reached, thread in self._watchers:
            reached.set()
            thread.join()
        self.leave()


@pytest.fixture(scope="module")
def port() -> int:
    """The same for all tests: MLflow keeps its client of a bucket for minutes."""
    return free_port()


@pytest.fixture
def bucket(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Bucket]:
    for name, value in environment_of(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(outages, "HICCUP_SECONDS", 0.5)
    caplog.set_level(logging.INFO, logger=_LOG.name)
    # Clients of another test have its server's address.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    made = Bucket(port)
    # What other tests of this process have left.
    requests.post(f"http://127.0.0.1:{port}/moto-api/reset", timeout=30)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("lab")
    yield made
    made.end()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a folder."""
    store = tmp_path_factory.mktemp("quiet")
    assert Study(**SPEC).run(store=store, local=True).complete
    return store


def check_same(quiet: Path) -> None:
    for name in ("transfer", "replicates"):
        found, wanted = (
            pd.read_parquet(f"{place}/studies/bucket/{name}.parquet").drop(
                columns=["train_seconds", "run_id"], errors="ignore"
            )
            for place in (STORE, quiet)
        )
        pd.testing.assert_frame_equal(found, wanted, check_exact=True, obj=name)


def run(tmp_path: Path) -> Any:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return Study(**SPEC).run(store=STORE, tracking_uri=uri, local=True)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("plan.parquet", 4, id="MLflow"),
        pytest.param("result.json", 4, id="trial"),
        pytest.param("result.json", 120, id="two minutes", marks=pytest.mark.slow),
    ],
)
def test_an_outage_is_waited_out_and_said(
    name: str, seconds: float, bucket: Bucket, quiet: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # The plan is the last file before MLflow has its first artifacts.
    watching = bucket.leave_once(name, seconds)
    assert run(tmp_path).complete
    watching.join()
    said = " ".join(capsys.readouterr().out.split())
    assert "the store at s3://lab does not answer (" in said
    assert "waiting, for 180 s at most" in said
    assert "the store at s3://lab answers again, after" in said
    check_same(quiet)


def test_a_longer_one_ends_the_run_and_loses_nothing(
    bucket: Bucket, quiet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(outages.VARIABLE, "2")
    watching = bucket.leave_once("result.json", seconds=None, count=2)
    with pytest.raises(Exception, match="it has not answered for") as raised:
        run(tmp_path)
    watching.join()
    assert status_of(raised.value) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: cannot ")
    bucket.come()
    results = {name for name in Store(STORE).known() if Store(STORE).replicate(name).result()}
    assert results
    before = {name: Store(STORE).replicate(name).folder.modified("result.json") for name in results}
    assert run(tmp_path).complete
    for name, time_of_result in before.items():
        assert Store(STORE).replicate(name).folder.modified("result.json") == time_of_result
    check_same(quiet)


@pytest.fixture
def front(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketFront]:
    """A proxy before the server."""
    made = BucketFront(bucket.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield made
    made.end()


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param(BucketFront.WAYS, id="all"),
        *(pytest.param((way,), id=way, marks=pytest.mark.slow) for way in BucketFront.WAYS),
    ],
)
def test_answers_that_go_wrong_cost_only_time(
    ways: tuple[str, ...], front: BucketFront, quiet: Path, tmp_path: Path
) -> None:
    front.break_down(0.1, ways)
    assert run(tmp_path).complete
    front.break_down(0)
    assert front.injected.keys() == set(ways)
    check_same(quiet)


def test_the_status_of_many_replicates_takes_a_few_requests(
    bucket: Bucket, quiet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    for part in ("studies", "replicates"):
        files.put(f"{quiet}/{part}", f"lab/store/{part}", recursive=True)
    caplog.clear()
    found = status.load("bucket", Store(STORE))
    assert found.progress.counts()["finished"] == NUM_REPLICATES
    asked = [record.getMessage() for record in caplog.records if record.name == _LOG.name]
    of_replicates = [line for line in asked if "replicates" in line]
    # The names, a listing and one file of each.
    assert len(of_replicates) == NUM_REPLICATES + 2, of_replicates

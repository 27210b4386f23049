"""A bucket that is away for a while, and for too long."""

from __future__ import annotations

import errno
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from trainers.store import outages
from trainers.store.folder import Folder, StorageError
from trainers.store.lease import Lease


class AwayError(Exception):
    """As the errors of botocore, it is no OSError."""


class Bucket:
    """Reads of a file fail until `back`, in seconds of the monotonic clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # All folders of a bucket share its outage: a bucket for each test.
        self.name = f"memory://{uuid.uuid4().hex}"
        self.folder = Folder(f"{self.name}/store")
        self.folder.write("file", b"content")
        self.back, self.asked = 0.0, 0
        self._lock, read = threading.Lock(), MemoryFileSystem.cat_file

        def cat_file(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.asked += 1
            if time.monotonic() < self.back:
                raise AwayError("no route")
            return read(*arguments, **options)

        monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)

    def leave(self, seconds: float) -> None:
        self.back, self.asked = time.monotonic() + seconds, 0


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(outages, "HICCUP_SECONDS", 0.1)
    return Bucket(monkeypatch)


def test_an_outage_is_waited_out_and_said_once_by_all_threads(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.leave(2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bucket.folder.read, ["file"] * 4))
    assert found == [b"content"] * 4
    away, back = (record.getMessage() for record in caplog.records)
    assert away.startswith(
        f"the store at {bucket.name} does not answer (AwayError: no route): waiting"
    )
    assert "for 180 s at most" in away
    assert back.startswith(f"the store at {bucket.name} answers again, after ")
    bucket.leave(0)
    assert bucket.folder.read("file") == b"content"
    assert len(caplog.records) == 2


def test_a_hiccup_is_not_spoken_of(
    bucket: Bucket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "HICCUP_SECONDS", 60.0)
    bucket.leave(0.3)
    assert bucket.folder.read("file") == b"content"
    assert bucket.asked > 1
    assert not caplog.records


def test_it_is_not_waited_for_longer_than_asked(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(outages.VARIABLE, "1.5")
    bucket.leave(60)
    with pytest.raises(StorageError, match=r"store/file: AwayError: no route; it has not answered"):
        bucket.folder.read("file")
    assert bucket.asked > 2
    # What follows is not waited for once more, or a run would end after many minutes.
    bucket.asked = 0
    with pytest.raises(StorageError):
        bucket.folder.read("file")
    assert bucket.asked == 1
    bucket.leave(0)
    assert bucket.folder.read("file") == b"content"


def test_an_answer_is_no_outage(bucket: Bucket) -> None:
    with pytest.raises(FileNotFoundError):
        bucket.folder.read("absent")
    assert bucket.asked == 1


def test_who_does_not_wait_is_told_at_once(bucket: Bucket) -> None:
    bucket.leave(60)
    with pytest.raises(StorageError):
        bucket.folder.at_once().read("file")
    assert bucket.asked == 1


@pytest.mark.parametrize("value", ["", "long"])
def test_without_a_number_it_is_the_default(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(outages.VARIABLE, value)
    assert outages.seconds_to_wait() == outages.OUTAGE_SECONDS


class Asked:
    """A request that raises these errors, one a call, and then answers; counts its calls."""

    def __init__(self, *errors: Exception) -> None:
        self.calls, self._errors = 0, iter(errors)

    def __call__(self) -> str:
        self.calls += 1
        error = next(self._errors, None)
        if error is not None:
            raise error
        return "answer"


def test_a_request_that_is_never_taken_ends_though_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(outages.VARIABLE, "0.5")
    outage, done = outages.Outage("the store"), threading.Event()

    def succeed() -> None:
        while not done.wait(0.05):
            outage.wait_out(Asked())

    others = threading.Thread(target=succeed)
    others.start()
    try:
        began = time.monotonic()
        with pytest.raises(AwayError, match="too large"):
            outage.wait_out(Asked(*[AwayError("too large")] * 10_000))
        assert time.monotonic() - began < 30
    finally:
        done.set()
        others.join()


def test_that_there_is_no_such_file_is_an_answer() -> None:
    outage = outages.Outage("the store")
    with pytest.raises(FileNotFoundError):
        outage.wait_out(Asked(AwayError("no route"), FileNotFoundError("file")))
    assert outage.seconds == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), TypeError("no such option")])
def test_what_is_wrong_here_is_no_outage(error: Exception) -> None:
    asked = Asked(error)
    with pytest.raises(type(error)):
        outages.Outage("the store").wait_out(asked)
    assert asked.calls == 1


def test_a_lease_is_written_at_once_or_not_at_all(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that was repeated through an outage would undo that of whoever took over."""

    def away(*_arguments: Any, **_options: Any) -> None:
        raise AwayError("no route")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", away)
    began = time.monotonic()
    with pytest.raises(StorageError), Lease(bucket.folder):
        raise AssertionError("it is held")
    assert time.monotonic() - began < 60

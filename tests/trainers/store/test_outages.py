"""A bucket that is away for a while, and for too long."""

from __future__ import annotations

import errno
import json
import math
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from trainers.errors import UserError
from trainers.store import lease as leases
from trainers.store import outages
from trainers.store.folder import Folder, StorageError
from trainers.store.lease import Holder, Lease, LeasedError


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


@pytest.mark.parametrize(
    ("value", "seconds"), [("", 180.0), ("0", 0.0), ("2.5", 2.5), ("inf", math.inf)]
)
def test_the_environment_says_how_long(
    value: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(outages.VARIABLE, value)
    assert outages.seconds_to_wait() == seconds


@pytest.mark.parametrize("value", ["3m", "nan", "-1", "1,5"])
def test_what_is_no_time_is_refused_by_each_request(
    value: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(outages.VARIABLE, value)
    with pytest.raises(UserError, match=f"ARCHPRIOR_OUTAGE_SECONDS: .* \\(got '{value}'\\)"):
        bucket.folder.read("file")


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


class Writes:
    """Writes of small files: `failures` of them fail, before or `after` the file is there.

    At the first failure the file gets `theirs`, as if another process were faster.
    """

    def __init__(self, failures: int, *, after: bool = False, theirs: bytes | None = None) -> None:
        self.calls, self.failures, self._after, self._theirs = 0, failures, after, theirs
        self._write = MemoryFileSystem.pipe_file

    def __call__(self, fs: MemoryFileSystem, path: str, content: bytes) -> None:
        self.calls += 1
        fails = self.calls <= self.failures
        if not fails or self._after:
            self._write(fs, path, content)
        if fails:
            if self._theirs is not None:
                self._write(fs, path, self._theirs)
            raise AwayError("slow down")


def install(writes: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe_file(fs: MemoryFileSystem, path: str, content: bytes) -> None:
        writes(fs, path, content)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)


def of_another() -> bytes:
    now = time.time()
    return json.dumps(Holder("another", "elsewhere", 1, now, now + 60)._asdict()).encode()


@pytest.mark.parametrize("after", [False, True], ids=["not taken", "answer lost"])
def test_a_lease_is_taken_though_a_write_is_not_answered(
    after: bool, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(2, after=after)
    install(writes, monkeypatch)
    with Lease(bucket.folder) as lease:
        lease.check()
        assert writes.calls == 3


def test_a_lease_is_not_taken_from_who_took_it_in_the_outage(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = of_another()
    writes = Writes(1, theirs=theirs)
    install(writes, monkeypatch)
    with pytest.raises(LeasedError, match="process 1 on elsewhere"), Lease(bucket.folder):
        raise AssertionError("it is held")
    assert writes.calls == 1
    assert bucket.folder.read("lease.json") == theirs


def test_a_store_that_takes_no_lease_for_long_is_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(outages.VARIABLE, "1")
    install(Writes(10_000), monkeypatch)
    with pytest.raises(StorageError, match=r"lease\.json: AwayError"), Lease(bucket.folder):
        raise AssertionError("it is held")


def test_a_renewal_that_failed_does_not_undo_the_lease_of_who_took_over(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    with Lease(bucket.folder) as lease:
        writes = Writes(1, theirs=of_another())
        install(writes, monkeypatch)
        while not writes.calls:
            time.sleep(0.01)
        time.sleep(2)
        with pytest.raises(LeasedError, match="process 1 on elsewhere"):
            lease.check()
    assert writes.calls == 1

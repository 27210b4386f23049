"""Leases on folders of the store, so that no two processes do the same work.

A lease is a file that names its owner and when it expires. A thread renews it while the owner
lives. A lease that has expired, or whose owner was a process of this machine (in a container: of
this one) and is gone, can be taken at once. Who looks whether it is free and takes it locks a file
meanwhile. Two owners at the same time are possible, for seconds, if two take it together in a
bucket or where files cannot be locked, if clocks of machines differ by more than a lease lasts, or
if a store shows writes late. They then waste work, but corrupt nothing, because files are written
atomically and checked by digests.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from filelock import BaseFileLock, FileLock

from trainers.data import json_mapping
from trainers.store.folder import Folder

RENEW_SECONDS = 15.0
EXPIRE_SECONDS = 90.0
_LOOK_SECONDS = 0.5
#: Longest wait for a look at a lease that another process takes, and the pause between attempts.
_LOCKED_SECONDS, _POLL_SECONDS = 10.0, 0.01

#: Name of the file in a leased folder.
LEASE = "lease.json"
#: Name of the file that is locked while a lease is taken: a temporary, as those of leases.
_LOCK = ".lease.lock"
#: Ids of the owners in this process.
_OWNERS: set[str] = set()


class LeasedError(RuntimeError):
    """Another process holds the lease on this folder; the message names it."""


class Holder(NamedTuple):
    """The holder of a lease; `since` and `expires` in seconds since 1970.

    `namespace` is Linux's name for where its process number counts: containers that share a
    machine's name number their processes each by themselves. Empty in leases of before, and
    elsewhere.
    """

    owner: str
    host: str
    pid: int
    since: float
    expires: float
    namespace: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_whole(self) -> bool:
        """Whether its values have their types, and its process a number that processes have."""
        texts = all(isinstance(each, str) for each in (self.owner, self.host, self.namespace))
        times = all(type(each) in (int, float) for each in (self.since, self.expires))
        return texts and times and type(self.pid) is int and 0 < self.pid < 2**31

    @property
    def is_here(self) -> bool:
        """Whether its process would be seen from this one, if it lived."""
        return self.host == _host() and self.namespace in ("", _namespace())

    @property
    def alive(self) -> bool:
        """Whether the lease has not expired, and its process is not known to be gone."""
        if self.is_here and _gone(self.pid, self.owner):
            return False
        return self.expires > time.time()


def holder(folder: Folder) -> Holder | None:
    """The holder of a folder's lease now; None if it is free."""
    found = _read(folder)
    return found if found is not None and found.alive else None


def outlive(folder: Folder, say: Callable[[str], object]) -> None:
    """Wait for the end of a folder's lease whose holder, where this one cannot see, may be dead.

    A job that was killed and started again on another machine meets its own old lease. Returns when
    the lease is free; raises LeasedError where its holder is alive: it runs on this machine, or has
    renewed the lease meanwhile. `say` gets a line before it waits.
    """
    first = holder(folder)
    if first is None:
        return
    now: Holder | None = first
    if not first.is_here:
        seconds = max(0.0, first.expires - time.time())
        say(f"{first} holds it, and may be gone: waiting for {seconds:.0f} s at most")
        while (now := holder(folder)) == first:
            time.sleep(_LOOK_SECONDS)
        if now is None:
            return
    raise LeasedError(f"{now} is at work on {folder.uri}")


class Lease:
    """The right to work on a folder; `with Lease(folder) as lease:` takes and returns it.

    Entering raises LeasedError while another owner holds it.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._owner, self._since = uuid.uuid4().hex, time.time()
        self._other: Holder | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        _OWNERS.add(self._owner)
        try:
            with _locked(self._folder):
                if not self._folder.write_if_given(LEASE, self._unless_held):
                    raise LeasedError(f"{self._other} is at work on {self._folder.uri}")
            # If two found it free all the same, the one that wrote last holds it.
            self.check()
        except BaseException:
            _OWNERS.discard(self._owner)
            raise
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _OWNERS.discard(self._owner)
        self._done.set()
        self._thread.join()
        with _locked(self._folder):
            if self._is_mine():
                self._folder.remove_file(LEASE)

    def check(self) -> None:
        """Raise LeasedError if the lease is lost: then nothing more may be written."""
        if not self._is_mine():
            raise LeasedError(f"{_read(self._folder)} has taken over {self._folder.uri}")

    def _keep(self) -> None:
        pause = RENEW_SECONDS
        while not self._done.wait(pause):
            try:
                with _locked(self._folder):
                    if self._is_mine():
                        self._renew()
                pause = RENEW_SECONDS
            except OSError:
                # The store may be back soon; if not, the next write fails.
                pause = _LOOK_SECONDS

    def _is_mine(self) -> bool:
        found = _read(self._folder)
        return found is not None and found.owner == self._owner

    def _unless_held(self) -> bytes | None:
        """The lease as it would be now; None where another holds one.

        A write whose answer was lost may have made it this owner's already.
        """
        self._other = holder(self._folder)
        if self._other is not None and self._other.owner != self._owner:
            return None
        return self._encoded()

    def _renew(self) -> None:
        # At once or not at all: a renewal that was repeated through an outage would land on the
        # lease of whoever took over meanwhile.
        self._folder.at_once().write(LEASE, self._encoded())

    def _encoded(self) -> bytes:
        expires = time.time() + EXPIRE_SECONDS
        content = Holder(self._owner, _host(), os.getpid(), self._since, expires, _namespace())
        return json.dumps(content._asdict()).encode()


@contextmanager
def _locked(folder: Folder) -> Iterator[None]:
    """Context in which no other process looks at a folder's lease, where files can be locked."""
    lock = _lock(Path(folder.uri, _LOCK)) if folder.is_local else None
    try:
        yield
    finally:
        if lock is not None:
            # Whoever waits for it notices that the file is gone, and makes another.
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _lock(path: Path) -> BaseFileLock | None:
    lock = FileLock(path, timeout=_LOCKED_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=_POLL_SECONDS)
    except (OSError, NotImplementedError):
        # Also after that time: a process that hangs meanwhile holds nobody up.
        return None
    return lock


def _read(folder: Folder) -> Holder | None:
    try:
        found = Holder(**json_mapping.parse(folder.read(LEASE)))
        return found if found.is_whole else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        # A damaged lease counts as none.
        return None


def _host() -> str:
    return socket.gethostname()


def _namespace() -> str:
    """Name of the namespace in which this process has its number (Linux); else empty."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _gone(pid: int, owner: str) -> bool:
    """Whether an owner on this machine, in process `pid`, has ended."""
    if pid == os.getpid():
        # A restarted container may have the host name and process number of the previous one.
        return owner not in _OWNERS
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not waited for it yet (Linux)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state == b"Z"

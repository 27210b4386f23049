"""Leases: one process at a time, dead owners make room, a lost lease stops its owner."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainers
from trainers.conditions.condition import Condition
from trainers.messages import Measured
from trainers.store import lease as module
from trainers.store.folder import Folder
from trainers.store.lease import Lease, LeasedError, holder
from trainers.store.store import Store

MakeCondition = Callable[..., Condition]
HOST = socket.gethostname()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def write(folder: Folder, **changes: Any) -> None:
    content = {
        "owner": "another", "host": "elsewhere", "pid": 1,
        "since": time.time(), "expires": time.time() + 60,
    }  # fmt: skip
    folder.write("lease.json", json.dumps(content | changes).encode())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lease_is_taken_and_returned(folder: Folder) -> None:
    with Lease(folder) as lease:
        lease.check()
        found = holder(folder)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(LeasedError, match=f"process {os.getpid()}"), Lease(folder):
            pass
    assert holder(folder) is None
    assert folder.names() == []


def test_it_is_returned_after_an_error(folder: Folder) -> None:
    with pytest.raises(RuntimeError), Lease(folder):
        raise RuntimeError
    with Lease(folder):
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": 1.0},
        {"host": HOST, "pid": dead_process()},
        # A container that was restarted has host and process number of the one that died.
        {"host": HOST, "pid": os.getpid()},
    ],
)
def test_what_is_over_makes_room_at_once(folder: Folder, changes: dict[str, Any]) -> None:
    write(folder, **changes)
    assert holder(folder) is None
    with Lease(folder) as lease:
        lease.check()


#: A container that shares this machine's name numbers its processes by itself.
CONTAINED = {"host": HOST, "namespace": "pid:[1]"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"host": HOST, "pid": os.getppid()},
        CONTAINED | {"pid": dead_process()},
        CONTAINED | {"pid": os.getpid()},
    ],
)
def test_what_is_alive_is_respected(folder: Folder, changes: dict[str, Any]) -> None:
    write(folder, **changes)
    with pytest.raises(LeasedError), Lease(folder):
        pass
    assert holder(folder) is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 1}', b"null"])
def test_a_damaged_lease_holds_nobody_up(folder: Folder, content: bytes) -> None:
    folder.write("lease.json", content)
    with Lease(folder) as lease:
        lease.check()


def test_it_is_renewed_while_its_owner_lives(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)
    with Lease(folder):
        first = holder(folder)
        time.sleep(0.3)
        second = holder(folder)
    assert first is not None
    assert second is not None
    assert second.expires > first.expires
    assert second.since == first.since


def test_a_killed_owner_makes_room(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom trainers.store.folder import Folder\n"
        "from trainers.store.lease import Lease\n"
        "with Lease(Folder(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(LeasedError), Lease(Folder(tmp_path)):
            pass
        process.kill()
        process.wait()
    with Lease(Folder(tmp_path)):
        pass


def test_who_lost_it_is_told_and_leaves_the_new_owner_alone(folder: Folder) -> None:
    lease = Lease(folder)
    with lease:
        write(folder)
        with pytest.raises(LeasedError, match="elsewhere has taken over"):
            lease.check()
    found = holder(folder)
    assert found is not None
    assert found.owner == "another"


def test_of_many_that_race_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(8) as pool:
        winners = pool.map(_compete, [str(tmp_path)] * 8)
    assert sum(winners) == 1


def _compete(folder: str) -> bool:
    try:
        with Lease(Folder(folder)) as lease:
            time.sleep(0.5)
            lease.check()
    except LeasedError:
        return False
    return True


class Slow(Folder):
    """A folder whose writes come some time after it was decided what to write."""

    def write_if_given(self, name: str, content: Callable[[], bytes | None]) -> bool:
        def later() -> bytes | None:
            given = content()
            time.sleep(0.3)
            return given

        return super().write_if_given(name, later)


def test_of_two_that_find_it_free_together_one_takes_it(tmp_path: Path) -> None:
    """Else the second would sweep away what the first is writing."""
    took: list[str] = []

    def take() -> None:
        try:
            with Lease(Slow(tmp_path)):
                took.append("taken")
                time.sleep(0.6)
        except LeasedError:
            took.append("refused")

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert sorted(took) == ["refused", "taken"]
    assert list(tmp_path.iterdir()) == []


def test_training_without_its_lease_writes_nothing_more(
    make: MakeCondition, tmp_path: Path
) -> None:
    condition = make()
    folder = Store(tmp_path).replicate_of(condition, 0).folder
    before: list[bytes] = []

    def report(payload: Measured) -> None:
        if payload.step == 2:
            write(folder)
            before.append(folder.read("checkpoint/latest.json"))

    with pytest.raises(LeasedError):
        trainers.train(condition, store=tmp_path, report=report)
    assert before == [folder.read("checkpoint/latest.json")]
    assert not folder.exists("result.json")


def test_training_under_another_lease_does_not_begin(make: MakeCondition, tmp_path: Path) -> None:
    condition = make()
    folder = Store(tmp_path).replicate_of(condition, 0).folder
    write(folder)
    with pytest.raises(LeasedError, match="process 1 on elsewhere"):
        trainers.train(condition, store=tmp_path, report=lambda _payload: None)
    assert folder.names() == ["lease.json"]


def test_a_dead_holder_of_another_machine_is_outlived(folder: Folder) -> None:
    write(folder, expires=time.time() + 1.5)
    said = list[str]()
    module.outlive(folder, said.append)
    assert holder(folder) is None
    assert said == ["process 1 on elsewhere holds it, and may be gone: waiting for 1 s at most"]
    module.outlive(folder, said.append)
    assert len(said) == 1


def test_a_holder_in_another_container_is_outlived(folder: Folder) -> None:
    write(folder, **CONTAINED, pid=os.getpid(), expires=time.time() + 1.5)
    said = list[str]()
    module.outlive(folder, said.append)
    assert said == [
        f"process {os.getpid()} on {HOST} holds it, and may be gone: waiting for 1 s at most"
    ]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs unshare, as root")
def test_a_container_on_this_machine_is_not_taken_for_dead(folder: Folder) -> None:
    """A real process in a process namespace of its own, whose number is another's here."""
    code = (
        "import sys\nfrom trainers.store.folder import Folder\n"
        "from trainers.store.lease import Lease\n"
        "with Lease(Folder(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    contained = subprocess.Popen(
        ["unshare", "--pid", "--fork", sys.executable, "-c", code, folder.uri],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert contained.stdout is not None
    assert contained.stdout.readline() == "held\n"
    found = holder(folder)
    assert found is not None
    assert (found.host, found.pid) == (HOST, 1)
    assert found.namespace != str(Path("/proc/self/ns/pid").readlink())
    contained.communicate()
    assert holder(folder) is None


def test_one_that_renews_its_lease_is_not_waited_for(folder: Folder) -> None:
    write(folder, expires=time.time() + 60)
    renewal = threading.Timer(1, lambda: write(folder, expires=time.time() + 90))
    renewal.start()
    begun = time.monotonic()
    with pytest.raises(LeasedError, match="process 1 on elsewhere is at work"):
        module.outlive(folder, lambda _line: None)
    assert time.monotonic() - begun < 30
    renewal.join()


def test_the_message_names_who_took_the_lease_meanwhile(folder: Folder) -> None:
    write(folder, expires=time.time() + 60)
    taken = threading.Timer(1, lambda: write(folder, pid=2, expires=time.time() + 90))
    taken.start()
    with pytest.raises(LeasedError, match="process 2 on elsewhere is at work"):
        module.outlive(folder, lambda _line: None)
    taken.join()


def test_one_of_this_machine_is_known_to_live(folder: Folder) -> None:
    write(folder, host=HOST, pid=os.getppid())
    with pytest.raises(LeasedError, match=f"process {os.getppid()} on {HOST}"):
        module.outlive(folder, pytest.fail)

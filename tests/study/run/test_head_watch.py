"""A head that goes is told of, on a socket that stands in for it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from study.run.head_watch import HeadWatch


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def watched(
    address: str, *, said: float, gone: float
) -> Iterator[tuple[HeadWatch, list[str], list[int]]]:
    lines, statuses = list[str](), list[int]()
    watch = HeadWatch(
        address, lines.append, statuses.append,
        pause_seconds=0.02, said_seconds=said, gone_seconds=gone,
    )  # fmt: skip
    yield watch, lines, statuses
    watch.stop()


def test_a_head_that_answers_is_not_mentioned() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with watched(address, said=0.1, gone=0.3) as (_, lines, statuses):
            time.sleep(0.6)
    assert (lines, statuses) == ([], [])


def test_one_that_comes_back_is_said_and_nothing_ends() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    with watched(f"127.0.0.1:{port}", said=0.1, gone=600) as (_, lines, statuses):
        server.close()
        until(lambda: lines)
        with socket.create_server(("127.0.0.1", port)):
            until(lambda: len(lines) == 2)
    assert "does not answer" in lines[0]
    assert lines[1] == f"the Ray cluster at 127.0.0.1:{port} answers again"
    assert statuses == []


def test_one_that_has_gone_ends_the_run_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with watched(f"127.0.0.1:{port}", said=0.1, gone=0.3) as (_, lines, statuses):
        until(lambda: statuses)
        time.sleep(0.3)
    assert statuses == [1]
    assert len(lines) == 2
    assert "goes on from the last checkpoints" in lines[1]


def test_it_may_be_stopped_by_what_it_calls() -> None:
    """As where the end of the process leaves its blocks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    held, stopped = list[HeadWatch](), threading.Event()

    def end(_status: int) -> None:
        held[0].stop()
        stopped.set()

    address = f"127.0.0.1:{port}"
    watch = HeadWatch(
        address, lambda _line: None, end, pause_seconds=0.02, said_seconds=60, gone_seconds=0.1
    )
    held.append(watch)
    assert stopped.wait(30)

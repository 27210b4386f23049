"""Real process groups on this machine, kept for all tests that need one of their size."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from torch import multiprocessing

from tests.helpers.ports import free_port

#: Longest wait for what the processes do.
SECONDS = 120.0


def _serve(rank: int, size: int, port: int, inbox: Connection) -> None:
    """A process of the group: calls what it is sent, and sends back what comes of it."""
    import torch
    from torch import distributed

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=size)
    while True:
        try:
            work, arguments = inbox.recv()
        except EOFError:
            return
        try:
            answer = work(*arguments), None
        except Exception:
            answer = None, traceback.format_exc()
        inbox.send(answer)


class ProcessGroup:
    """`size` processes of one `torch.distributed` group over loopback."""

    def __init__(self, size: int) -> None:
        port = free_port()
        context = multiprocessing.get_context("spawn")
        self.processes: list[Any] = []
        self._pipes: list[Any] = []
        for rank in range(size):
            mine, its = context.Pipe()
            process = context.Process(target=_serve, args=(rank, size, port, its), daemon=True)
            process.start()
            its.close()
            self.processes.append(process)
            self._pipes.append(mine)

    def send(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have every process call `work`, a function of a module."""
        for pipe in self._pipes:
            pipe.send((work, arguments))

    def receive(self) -> list[tuple[Any, str | None]]:
        """By process: what the call returned, and the traceback of what it raised."""
        answers: list[tuple[Any, str | None]] = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(SECONDS), f"process {rank} hangs"
            try:
                answers.append(pipe.recv())
            except EOFError:
                answers.append((None, "died"))
        return answers

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What each process returns; none may raise."""
        self.send(work, *arguments)
        answers = self.receive()
        assert [trace for _, trace in answers] == [None] * len(answers), answers
        return [value for value, _ in answers]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

"""Ports for servers of tests; by Python's own library alone, as what all tests load."""

from __future__ import annotations

import socket
from contextlib import closing


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

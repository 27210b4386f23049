"""Jobs of a cluster: what is refused before anything travels, and what is sent."""

from __future__ import annotations

import socket
import time

import pytest

from study.cluster.jobs import Jobs
from study.errors import SpecError


def test_a_silent_dashboard_is_not_waited_for() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(SpecError, match=f"--address: http://{address}: no .*: no answer in 4"):
            Jobs(address)
    assert time.monotonic() - began < 30

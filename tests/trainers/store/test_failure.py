"""The record of a failure tells why, and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path

from trainers.store.store import Store

TEXT = "401 for https://bob:hunter2@data.lab/x?token=hunter2"


def test_no_secret_is_written(tmp_path: Path) -> None:
    replicate = Store(tmp_path).replicate("0" * 16)
    error = OSError(TEXT)
    error.add_note(f"while reading {TEXT}")
    error.__cause__ = ValueError(TEXT)
    replicate.fail(error)
    written = replicate.folder.read("failure.json").decode()
    assert "hunter2" not in written
    found = replicate.failure()
    assert found is not None
    assert found.error == "OSError: 401 for https://***@data.lab/x?token=***"
    assert found.traceback.count("https://***@data.lab/x?token=***") == 3


def test_secrets_of_an_earlier_version_are_not_read(tmp_path: Path) -> None:
    replicate = Store(tmp_path).replicate("0" * 16)
    content = {"error": TEXT, "traceback": f"Traceback:\n  {TEXT}", "time": 1.0}
    replicate.folder.write("failure.json", json.dumps(content).encode())
    found = replicate.failure()
    assert found is not None
    assert "hunter2" not in repr(found)
    assert "data.lab" in found.error

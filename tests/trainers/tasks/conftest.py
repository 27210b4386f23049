"""What tests of tasks share: where data is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("ARCHPRIOR_DATA", str(tmp_path))
    return tmp_path

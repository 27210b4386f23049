"""What was expected of a study's replicates stays, beside what it took."""

from __future__ import annotations

import json
from pathlib import Path

from study.run.expected import remember
from trainers.store.folder import Folder


def test_the_first_expectation_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    path = tmp_path / "study" / "expected_seconds.json"
    remember(folder, {"a": 1.0, "b": 2.0})
    assert json.loads(path.read_text()) == {"a": 1.0, "b": 2.0}
    remember(folder, {"b": 9.0, "c": 3.0})
    assert json.loads(path.read_text()) == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    remember(folder, {"a": 1.0})
    path = tmp_path / "study" / "expected_seconds.json"
    path.write_text("{")
    remember(folder, {"a": 2.0})
    assert json.loads(path.read_text()) == {"a": 2.0}


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    remember(folder, {})
    assert not (tmp_path / "study" / "expected_seconds.json").exists()
    remember(folder, {"a": 1.0})
    before = (tmp_path / "study" / "expected_seconds.json").stat().st_ino
    remember(folder, {"a": 5.0})
    assert (tmp_path / "study" / "expected_seconds.json").stat().st_ino == before

"""Imports that were killed, and bundles that come a second time with more."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from study.bundle import bringing, writing
from study.bundle.bringing import Brought
from trainers import load
from trainers.store.folder import Folder, StorageError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "store"


class KilledError(BaseException):
    """Nothing is tidied up after it but by Python itself."""


def test_an_import_goes_on_where_one_was_killed(
    bundle: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, count = Folder.write, 0

    def killed(folder: Folder, name: str, content: bytes) -> object:
        nonlocal count
        count += "replicates" in folder.uri and name != "lease.json"
        if count == 10:
            raise KilledError
        return write(folder, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", killed)
        with pytest.raises(KilledError):
            bringing.bring(bundle, target)
    begun = len(list((target / "replicates").iterdir()))
    assert begun > 1
    found = bringing.bring(bundle, target)
    assert found.num_unfinished == 0
    assert found.num_added + found.num_there == 10
    assert bringing.bring(bundle, target).num_added == 0


def test_what_a_killed_import_unpacked_is_removed_a_day_later(bundle: Path, target: Path) -> None:
    old, new = target / ".import-old", target / ".import-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    bringing.bring(bundle, target)
    assert not old.exists()
    assert new.exists()


def test_weights_come_later(analyzed: Path, bundle: Path, target: Path, tmp_path: Path) -> None:
    bringing.bring(bundle, target)
    whole = tmp_path / "whole.zip"
    writing.export("small", analyzed, whole, weights=True)
    found = bringing.bring(whole, target)
    # One has failed, and has no weights.
    assert found == Brought("small", 0, 0, 1, 0, weights=True, num_weights=9)
    assert "9 there and given their weights" in " ".join(bringing.lines(found))
    for result in target.glob("replicates/*/result.json"):
        load(target, result.parent.name)
    assert bringing.bring(whole, target).num_there == 9


def test_a_full_disk_is_said(bundle: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bringing.Bundle, "unpack", full)
    with pytest.raises(StorageError, match=r"cannot write .*: No space left on device"):
        bringing.bring(bundle, target)

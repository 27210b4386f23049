"""The contract of stores takes folders and buckets, and says by name what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from trainers.store.folder import Folder, Written
from trainers.testing import ContractError, check_store, store_rules


class OtherBytes(Folder):
    """It writes text with other ends of lines."""

    def write(self, name: str, content: bytes) -> Written:
        return super().write(name, content.replace(b"\n", b"\r\n"))


class AlwaysThere(Folder):
    """Every file is there."""

    def exists(self, name: str) -> bool:
        return True

    def remove(self, name: str) -> None:
        Folder.remove(Folder(self.uri), name)


class InPlace(Folder):
    """It writes over the bytes that are there."""

    def write(self, name: str, content: bytes) -> Written:
        old = self.read(name) if name == "file" and self.exists(name) else b""
        return super().write(name, content + old[len(content) :])


class Torn(Folder):
    """A write that fails leaves a part of the new bytes."""

    def write_with(self, name: str, save: Callable[[Path], object]) -> Written:
        try:
            return super().write_with(name, save)
        except ValueError:
            Path(self.uri, name).write_bytes(b"ha")
            raise


class Shortened(Folder):
    """Files that are read at a path lack their end."""

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        with super().local(name) as path:
            short = path.with_name("short")
            short.write_bytes(path.read_bytes()[:-1])
            yield short


class Flat(Folder):
    """It names the files of all folders in it."""

    def names(self, *, hidden: bool = False) -> list[str]:
        root = Path(self.uri)
        files = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
        names = {f if "deep" not in f and "folder" not in f else f[0] for f in files}
        return sorted(name for name in names if hidden or not name.startswith("."))


class ShowsHidden(Folder):
    """It names hidden files to all."""

    def names(self, *, hidden: bool = False) -> list[str]:
        return super().names(hidden=True)


class Keeps(Folder):
    """It removes files, and no folders."""

    def remove(self, name: str) -> None:
        if name != "folder":
            super().remove(name)


class Forgetful(Folder):
    """It forgets who has a lease."""

    def read(self, name: str) -> bytes:
        if name == "lease.json":
            raise FileNotFoundError(name)
        return super().read(name)


BROKEN: dict[str, type[Folder]] = {
    "what_is_written_is_read": OtherBytes,
    "what_is_not_there_is_absent": AlwaysThere,
    "a_file_is_replaced_whole": InPlace,
    "a_write_that_fails_leaves_the_old": Torn,
    "large_files_go_by_way_of_a_path": Shortened,
    "names_are_those_of_files_and_folders": Flat,
    "hidden_files_do_not_count": ShowsHidden,
    "what_is_removed_is_gone": Keeps,
    "a_lease_has_one_owner": Forgetful,
}
#: Other rules that a store cannot but break with its own.
ALSO = {"what_is_not_there_is_absent": "what_is_removed_is_gone"}


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder of fsspec's file system in memory, which stands for a bucket."""
    uri = f"memory://{uuid4().hex}/store"
    yield uri
    fsspec.filesystem("memory").store.clear()


def test_a_local_folder(tmp_path: Path) -> None:
    assert store_rules() == list(BROKEN)
    check_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket(bucket: str) -> None:
    Folder(bucket).write("before", b"x")
    check_store(bucket)
    assert Folder(bucket).names(hidden=True) == ["before"]


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str, tmp_path: Path) -> None:
    folder: Any = BROKEN[rule](tmp_path)
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: ") as caught:
        check_store(folder)
    assert {*caught.value.broken} == {rule, ALSO.get(rule, rule)}
    with pytest.raises(ContractError, match="breaks 1 of 1 rules"):
        check_store(folder, rule=rule)

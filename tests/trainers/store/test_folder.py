"""Folders of a store: what counts of what lies in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from trainers.conditions.condition import Condition
from trainers.store import checkpoint
from trainers.store.folder import Folder, StorageError
from trainers.store.store import WEIGHTS, Store


def test_what_a_killed_process_was_writing_is_no_name(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("result.json", b"1")
    (tmp_path / ".result.json.0123abcd").write_bytes(b"half")
    (tmp_path / ".DS_Store").touch()
    assert folder.names() == ["result.json"]
    assert sorted(folder.names(hidden=True)) == [
        ".DS_Store",
        ".result.json.0123abcd",
        "result.json",
    ]


def test_hidden_folders_are_no_replicates(tmp_path: Path) -> None:
    for name in ("0123", ".ipynb_checkpoints"):
        (tmp_path / "replicates" / name).mkdir(parents=True)
    assert Store(tmp_path).known() == {"0123"}


def test_what_is_discarded_leaves_nothing_hidden(
    make: Callable[..., Condition], tmp_path: Path
) -> None:
    replicate = Store(tmp_path).replicate_of(make(), 0)
    replicate.folder.write(WEIGHTS, b"1")
    for name in (".history.parquet.0123abcd", "checkpoint/.4.pt.0123abcd", "checkpoint/4.pt"):
        Path(replicate.folder.uri, name).write_bytes(b"half")
    checkpoint.drop_all_but_final(replicate)
    (kept,) = Path(replicate.folder.uri, "checkpoint").iterdir()
    assert kept == Path(replicate.folder.uri, WEIGHTS)
    replicate.discard()
    assert list(Path(replicate.folder.uri).iterdir()) == []


def test_a_bucket_that_does_not_answer_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndpointError(Exception):
        """As that of botocore, which is no OSError."""

    def fails(*_args: Any, **_options: Any) -> Any:
        raise EndpointError("no route")

    folder = Folder("memory://out/of/reach").at_once()
    folder.write("a", b"1")
    for name in ("ls", "exists", "size", "cat_file", "get_file", "pipe_file", "put_file", "rm"):
        monkeypatch.setattr(MemoryFileSystem, name, fails)
    calls: list[Callable[[], object]] = [
        folder.names,
        lambda: folder.exists("a"),
        lambda: folder.size("a"),
        lambda: folder.read("a"),
        lambda: folder.write("a", b"2"),
        lambda: folder.write_with("a", lambda path: path.write_bytes(b"2")),
        lambda: folder.remove("a"),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"out/of/reach.*EndpointError: no route"):
            call()
    with pytest.raises(StorageError), folder.local("a"):
        pass
    assert not Store("memory://out/of/reach").stop_requested("run")


def test_what_fails_while_a_file_is_made_is_no_storage_error() -> None:
    def fails(_path: Path) -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Folder("memory://some/where").write_with("a", fails)

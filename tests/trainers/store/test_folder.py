"""Folders of a store: what counts of what lies in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainers.conditions.condition import Condition
from trainers.store import checkpoint
from trainers.store.folder import Folder
from trainers.store.store import Store


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
    replicate.folder.write("checkpoint/weights", b"1")
    for name in (".history.parquet.0123abcd", "checkpoint/.weights.0123abcd"):
        Path(replicate.folder.uri, name).write_bytes(b"half")
    checkpoint._keep_only(replicate, {"checkpoint/weights"})
    assert [path.name for path in Path(replicate.folder.uri, "checkpoint").iterdir()] == ["weights"]
    replicate.discard()
    assert list(Path(replicate.folder.uri).iterdir()) == []

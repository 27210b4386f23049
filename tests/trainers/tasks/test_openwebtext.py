"""OpenWebText: documents held out by their own text, files that count, and the download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import text_files
from trainers.tasks import ABSENT, TASKS, openwebtext


def new(name: str, **options: Any) -> Any:
    return TASKS[name].factory(**options)


def test_documents_of_openwebtext_are_held_out_by_their_own_text(root: Path) -> None:
    folder = root / "openwebtext"
    text_files.write_openwebtext(folder)
    task = new("openwebtext", context=5, tokenizer="bytes", documents=20)
    rows: list[str] = []
    for number in range(2):
        file = folder / f"train-{number:05}-of-00003.parquet"
        rows += (row.rstrip("\n") for row in pq.read_table(file)["text"].to_pylist())
    counted = {"train": 14, "validation": 4, "test": 2}
    for split, count in counted.items():
        expected = [row for row in rows if openwebtext.split_of(f"{row}\n") == split]
        assert len(expected) == count
        text = "".join(f"{row}\n" for row in expected)
        assert task.read()[split] == text
        assert (
            bytes(task.splits[split].inputs.flatten().tolist())
            == text.encode()[: -1 - (len(text) - 1) % 5]
        )
    # Of fewer documents, those of each split are the first of them.
    fewer = new("openwebtext", tokenizer="bytes", documents=12).read()
    assert all(task.read()[split].startswith(fewer[split]) for split in counted)
    assert fewer["train"] != task.read()["train"]


def test_half_a_percent_of_documents_are_in_each_split_that_is_held_out() -> None:
    drawn = [openwebtext.split_of(f"document {number}\n") for number in range(40_000)]
    # Binomial, of mean 200 and deviation 14.
    assert drawn.count("validation") == pytest.approx(200, abs=56)
    assert drawn.count("test") == pytest.approx(200, abs=56)


def test_files_of_openwebtext_count_where_they_are_needed(root: Path) -> None:
    folder = root / "openwebtext"
    options = {"context": 8, "tokenizer": "bytes"}
    text_files.write_openwebtext(folder)
    digest = new("openwebtext", **options, documents=20).data_digest()
    assert digest != new("openwebtext", **options, documents=10).data_digest()
    (folder / "train-00002-of-00003.parquet").unlink()
    (folder / "._train-00000-of-00003.parquet").write_bytes(b"of a file system")
    assert new("openwebtext", **options, documents=20).data_digest() == digest
    assert new("openwebtext", **options, documents=21).data_digest() == ABSENT


def test_openwebtext_is_downloaded(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for the network: a snapshot as the hub gives it.
    import huggingface_hub

    snapshot = tmp_path_factory.mktemp("snapshot")
    text_files.write_openwebtext(snapshot / "plain_text")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    task = new("openwebtext", context=8, tokenizer="bytes", documents=10)
    task.check_data()
    # Of the snapshot's three files, ten documents ask for the first.
    assert [file.name for file in (root / "openwebtext").iterdir()] == [
        "train-00000-of-00003.parquet"
    ]
    assert task.read()["test"]
    # What the hub has is less than what was asked for.
    with pytest.raises(FileNotFoundError, match=r"holds 10 documents in 1 files .* is 11"):
        new("openwebtext", context=8, tokenizer="bytes", documents=11).check_data()

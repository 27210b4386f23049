"""Folders of a bucket as a listing has shown them: the same by either way of listing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainers.store.folder import Folder
from trainers.store.listed import listed

NUM_FOLDERS = 400


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A bucket in memory with many folders of two files."""
    made = Folder(f"memory:/{tmp_path}")
    for number in range(NUM_FOLDERS):
        (made / f"{number}" / "checkpoint").write("1.pt", b"x" * number)
        (made / f"{number}").write("result.json", b"%d" % number)
    return made


@pytest.mark.parametrize(
    ("wanted", "num_listings"), [([], 0), (["5", "7", "none"], 2), (range(NUM_FOLDERS), 1)]
)
def test_a_few_are_listed_each_and_many_at_once(
    wanted: list[object], num_listings: int, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, sizes = [], Folder.sizes

    def counted(self: Folder) -> Iterator[tuple[str, int]]:
        asked.append(self.uri)
        return sizes(self)

    monkeypatch.setattr(Folder, "sizes", counted)
    names = [str(each) for each in wanted]
    found = listed(folder, names, ["result.json"])
    assert len(asked) == num_listings
    assert found.keys() == {*names} - {"none"}
    for name, each in found.items():
        assert each.read("result.json") == name.encode()
        assert each.size("checkpoint/1.pt") == int(name)
        assert not each.exists("failure.json")

"""A folder of a bucket as a listing has shown it, so that many are seen by few requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from typing import Self, TypeVar

from trainers.store.folder import Folder

T = TypeVar("T")

#: A bucket lists so many files an answer; a replicate has about so many.
_FILES_AN_ANSWER, _FILES_EACH = 1000, 8


class ListedFolder(Folder):
    """A folder with files of these sizes, some of them with their contents, at one moment.

    What the listing does not tell is asked of the bucket. It is to be read only.
    """

    def __init__(
        self, folder: Folder, sizes: Mapping[str, int], contents: Mapping[str, bytes]
    ) -> None:
        self.__dict__.update(vars(folder))
        self._sizes_listed, self._contents = sizes, contents

    def __truediv__(self, name: str) -> Self:
        below = copy(super().__truediv__(name))
        below._sizes_listed = _below(self._sizes_listed, name)
        below._contents = _below(self._contents, name)
        return below

    def exists(self, name: str) -> bool:
        """Whether the listing has a file `name`."""
        return name in self._sizes_listed

    def size(self, name: str) -> int | None:
        """Size of a file in the listing in bytes; None where it has none."""
        return self._sizes_listed.get(name)

    def sizes_of(self, names: Iterable[str]) -> dict[str, int | None]:
        """Sizes of files in the listing by name, None for an absent one."""
        return {name: self.size(name) for name in names}

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        if name in self._contents:
            return self._contents[name]
        if name not in self._sizes_listed:
            raise FileNotFoundError(f"{self.uri}/{name}")
        return super().read(name)


def listed(
    folder: Folder, names: Collection[str], contents: Collection[str]
) -> dict[str, ListedFolder]:
    """The folders with these names that a folder has, with the contents of the files `contents`.

    The files are listed, all at once or those of each folder, whichever takes fewer requests, and
    then read many at a time.
    """
    if not names:
        return {}
    there = folder.names()
    wanted = set(names).intersection(there)
    few = len(wanted) * _FILES_AN_ANSWER < len(there) * _FILES_EACH
    sizes: dict[str, dict[str, int]] = {}
    for path, size in _sizes_of_each(folder, wanted) if few else folder.sizes():
        name, _, file = path.partition("/")
        if name in wanted:
            sizes.setdefault(name, {})[file] = size
    read = folder.read_some(
        f"{name}/{file}" for name, files in sizes.items() for file in contents if file in files
    )
    found: dict[str, dict[str, bytes]] = {name: {} for name in sizes}
    for path, content in read.items():
        name, _, file = path.partition("/")
        found[name][file] = content
    return {name: ListedFolder(folder / name, files, found[name]) for name, files in sizes.items()}


def _sizes_of_each(folder: Folder, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Files below folders of a folder with their sizes, by a listing of each."""
    for name in names:
        for file, size in (folder / name).sizes():
            yield f"{name}/{file}", size


def _below(files: Mapping[str, T], folder: str) -> dict[str, T]:
    start = f"{folder}/"
    return {
        name.removeprefix(start): each for name, each in files.items() if name.startswith(start)
    }

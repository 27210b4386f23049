"""Large sets of image files by class: what is there, found once a machine, and their bytes.

Either a tree `<part>/<class>/<image>` or a Hugging Face dataset that was saved to disk, with the
columns `image` and `label`.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainers import node_cache

_SUFFIXES = (".jpeg", ".jpg", ".png")
_SAVED = "dataset_dict.json"
_VERSION = 1
#: Times of change by folder, relative to the root: while they are the same, so is the content.
_State = tuple[tuple[str, int], ...]


class Index(NamedTuple):
    """What is in a root: by part, labels (N,) in the order of the images.

    `digests` are of the names and sizes of files, one a class, or one for all where files hold
    images of many classes; `names` (N,) by part are those of a tree's files.
    """

    num_classes: int
    digests: list[str]
    labels: Mapping[str, np.ndarray]
    names: Mapping[str, np.ndarray]

    def digest(self, classes: int) -> str:
        """First 16 hex digits of what stands for the content of the first classes."""
        used = self.digests[:classes]
        return hashlib.sha256(" ".join([*used, str(classes)]).encode()).hexdigest()[:16]


class Images(ABC):
    """The image files of one part."""

    @abstractmethod
    def read(self, index: int) -> tuple[str, bytes]:
        """What an image is called in errors, and its bytes."""


def index_of(root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...]) -> Index | None:
    """What is in a root; None where it is neither form. `saved_parts` are a dataset's names.

    The first look reads a whole tree; it is kept in the node cache until a folder changes. A file
    that is overwritten in its place does not change its folder, and is not noticed.
    """
    saved = (root / _SAVED).is_file()
    if not saved and not all((root / part).is_dir() for part in parts):
        return None
    state = _saved_state(root, saved_parts) if saved else _tree_state(root, parts)
    return _indexed(root, parts, saved_parts if saved else (), state)


def open_images(root: Path, part: str, saved_part: str, index: Index) -> Images:
    """The images of a part."""
    if part in index.names:
        return _TreeImages(root / part, index.names[part])
    return _SavedImages(root / saved_part)


@lru_cache(maxsize=4)
def _indexed(
    root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...], state: _State
) -> Index:
    key = node_cache.key_of({"root": str(root), "version": _VERSION})
    kept = node_cache.load("indexes", key)
    if kept is None or kept.facts["state"] != [list(pair) for pair in state]:
        made = _of_saved(root, parts, saved_parts) if saved_parts else _of_tree(root, parts)
        arrays = {f"{part}.labels": labels for part, labels in made.labels.items()}
        arrays |= {f"{part}.names": names for part, names in made.names.items()}
        facts = {"state": state, "num_classes": made.num_classes, "digests": made.digests}
        node_cache.save("indexes", key, arrays, facts)
        return made
    found: dict[str, dict[str, np.ndarray]] = {"labels": {}, "names": {}}
    for name, array in kept.arrays.items():
        part, _, kind = name.rpartition(".")
        found[kind][part] = array
    return Index(kept.facts["num_classes"], kept.facts["digests"], found["labels"], found["names"])


def _tree_state(root: Path, parts: tuple[str, ...]) -> _State:
    folders = [folder for part in parts for folder in _folders(root / part)]
    return tuple((str(f.relative_to(root)), f.stat().st_mtime_ns) for f in folders)


def _folders(part: Path) -> Iterator[Path]:
    yield part
    with os.scandir(part) as entries:
        yield from sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _of_tree(root: Path, parts: tuple[str, ...]) -> Index:
    classes = sorted({f.name for part in parts for f in list(_folders(root / part))[1:]})
    digests = [hashlib.sha256() for _ in classes]
    names: dict[str, list[bytes]] = {part: [] for part in parts}
    labels: dict[str, list[int]] = {part: [] for part in parts}
    for part in parts:
        for label, name in enumerate(classes):
            for file, size in _images(root / part / name):
                digests[label].update(f"{part}/{name}/{file} {size}\n".encode())
                names[part].append(os.fsencode(f"{name}/{file}"))
                labels[part].append(label)
    return Index(
        len(classes),
        [digest.hexdigest()[:16] for digest in digests],
        {part: np.array(values, np.int64) for part, values in labels.items()},
        {part: np.array(values, np.bytes_) for part, values in names.items()},
    )


def _images(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes, by name."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(
            (entry.name, entry.stat().st_size)
            for entry in entries
            if entry.name.lower().endswith(_SUFFIXES)
        )


def _saved_files(root: Path, saved_parts: tuple[str, ...]) -> list[Path]:
    return sorted(path for part in saved_parts for path in (root / part).glob("*.arrow"))


def _saved_state(root: Path, saved_parts: tuple[str, ...]) -> _State:
    files = _saved_files(root, saved_parts)
    return tuple((str(path.relative_to(root)), path.stat().st_mtime_ns) for path in files)


def _of_saved(root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...]) -> Index:
    digest = hashlib.sha256()
    for path in _saved_files(root, saved_parts):
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
    labels = {
        part: np.asarray(_saved(root / name).with_format("numpy")["label"][:], np.int64)
        for part, name in zip(parts, saved_parts, strict=True)
    }
    num_classes = 1 + max(int(values.max()) for values in labels.values())
    return Index(num_classes, [digest.hexdigest()[:16]], labels, {})


def _saved(folder: Path) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise FileNotFoundError(
            f"{folder.parent} is a saved Hugging Face dataset, and the package datasets, which "
            "reads it, is not installed: pip install 'archprior[vision]'"
        ) from error
    return load_from_disk(str(folder))


class _TreeImages(Images):
    def __init__(self, folder: Path, names: np.ndarray) -> None:
        self._folder, self._names = folder, names

    def read(self, index: int) -> tuple[str, bytes]:
        path = self._folder / os.fsdecode(bytes(self._names[index]))
        return str(path), path.read_bytes()


class _SavedImages(Images):
    def __init__(self, folder: Path) -> None:
        from datasets import Image

        self._folder = folder
        self._rows = _saved(folder).cast_column("image", Image(decode=False))

    def read(self, index: int) -> tuple[str, bytes]:
        image = self._rows[index]["image"]
        content = image["bytes"]
        return f"{self._folder}[{index}]", content or Path(image["path"]).read_bytes()

"""Large sets of image files by class: an index that a machine makes once, and the files' bytes.

Either a tree `<part>/<class>/<image>` or a Hugging Face dataset that was saved to disk, with the
columns `image` and `label` (see `saved_images`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from trainers.data import data_root, machine_cache, saved_images
from trainers.data.saved_images import SavedImages
from trainers.errors import UserError

_SUFFIXES = (".jpeg", ".jpg", ".png")
_VERSION = 2
#: Times of change by folder or file, relative to the root: equal states mean equal content.
_State = tuple[tuple[str, int], ...]


class Fault(NamedTuple):
    """A fault of a class; the message names the folder or file and says what to do."""

    label: int
    message: str


class Index(NamedTuple):
    """Content of a root: by part, labels (N,) in the order of the images.

    `digests` are over names and sizes of files, one per class, or one for all if files hold images
    of many classes. `names` (N,) are the paths of a tree's files in their part, by part.
    """

    num_classes: int
    digests: list[str]
    labels: Mapping[str, np.ndarray]
    names: Mapping[str, np.ndarray]
    faults: list[Fault]

    def digest(self, classes: int) -> str:
        """First 16 hex digits of a SHA-256 that identifies the content of the first classes."""
        used = self.digests[:classes]
        return hashlib.sha256(" ".join([*used, str(classes)]).encode()).hexdigest()[:16]

    def fault(self, classes: int) -> str | None:
        """Message of the first fault of the first classes and the number of others, or None."""
        messages = [fault.message for fault in self.faults if fault.label < classes]
        if not messages:
            return None
        return messages[0] + (f" (and {len(messages) - 1} more)" if messages[1:] else "")


class Images(Protocol):
    """The image files of one part."""

    def read(self, index: int) -> tuple[str, bytes]:
        """Name of an image for messages, and its bytes; raises UserError with that name."""


class _FaultyFilesError(Exception):
    """Carries an index that must not be cached: its faults can be mended without a new state."""

    def __init__(self, index: Index) -> None:
        super().__init__("an index that is not to be kept")
        self.index = index


def index_of(root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...]) -> Index | None:
    """The index of a root; None if it has neither form.

    `parts` are the names of the parts in a tree, `saved_parts` those in a saved dataset. The first
    call reads the whole tree; the index is in the machine's cache until a folder changes. A file
    that is overwritten in place does not change its folder, and is not noticed. Raises UserError if
    a folder cannot be read or a dataset lacks these splits with labels, and FileNotFoundError if
    the package that reads a dataset is missing.
    """
    try:
        for place in (root, *(root / part for part in parts)):
            if place.is_symlink():
                # A broken link, say to an unmounted disk, is an error, not the absence of data.
                place.stat()
        saved = (root / saved_images.MARK).is_file()
        if not saved and not all((root / part).is_dir() for part in parts):
            return None
        state = _saved_state(root, saved_parts) if saved else _tree_state(root, parts)
        return indexed(root, parts, saved_parts if saved else (), state)
    except _FaultyFilesError as error:
        return error.index
    except OSError as error:
        if error.filename is None:
            # The package that reads datasets is missing.
            raise
        raise UserError(data_root.unreadable(Path(error.filename), error)) from error


def open_images(root: Path, part: str, saved_part: str, index: Index) -> Images:
    """The image files of a part, in the order of the index."""
    if part in index.names:
        return _TreeImages(root / part, index.names[part])
    return SavedImages(root / saved_part)


@lru_cache(maxsize=4)
def indexed(
    root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...], state: _State
) -> Index:
    """The index of a root in a state, which the process and the machine's cache remember."""
    key = machine_cache.key_of({"root": str(root), "version": _VERSION})
    cached = machine_cache.load("indexes", key)
    if cached is None or cached.facts["state"] != [list(pair) for pair in state]:
        made = _of_saved(root, parts, saved_parts) if saved_parts else _of_tree(root, parts)
        arrays = {f"{part}.labels": labels for part, labels in made.labels.items()}
        arrays |= {f"{part}.names": names for part, names in made.names.items()}
        facts = {
            "state": state,
            "num_classes": made.num_classes,
            "digests": made.digests,
            "faults": made.faults,
        }
        machine_cache.save("indexes", key, arrays, facts)
        return made
    found: dict[str, dict[str, np.ndarray]] = {"labels": {}, "names": {}}
    for name, array in cached.arrays.items():
        part, _, kind = name.rpartition(".")
        found[kind][part] = array
    return Index(
        cached.facts["num_classes"],
        cached.facts["digests"],
        found["labels"],
        found["names"],
        [Fault(*fault) for fault in cached.facts["faults"]],
    )


def _tree_state(root: Path, parts: tuple[str, ...]) -> _State:
    folders = [folder for part in parts for folder in _folders(root / part)]
    return tuple((str(f.relative_to(root)), _changed(f)) for f in folders)


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        # The class has a fault, and an index with faults in files is not cached.
        return 0


def _folders(part: Path) -> Iterator[Path]:
    yield part
    with os.scandir(part) as entries:
        yield from sorted(Path(entry.path) for entry in entries if _is_class(entry))


def _is_class(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a part is the folder of a class, or a broken link to one."""
    if _hidden(entry.name):
        return False
    try:
        return entry.is_dir() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True


def _hidden(name: str) -> bool:
    """Whether a tool (an editor, a notebook, macOS) left this file or folder."""
    return name.startswith(".") or name == "__MACOSX"


def _of_tree(root: Path, parts: tuple[str, ...]) -> Index:
    classes = sorted({f.name for part in parts for f in list(_folders(root / part))[1:]})
    digests = [hashlib.sha256() for _ in classes]
    names: dict[str, list[bytes]] = {part: [] for part in parts}
    labels: dict[str, list[int]] = {part: [] for part in parts}
    faults: list[Fault] = []
    for part in parts:
        for label, name in enumerate(classes):
            found, wrong = _images(root / part / name)
            faults += [Fault(label, message) for message in wrong]
            for file, size in found:
                digests[label].update(os.fsencode(f"{part}/{name}/{file} {size}\n"))
                names[part].append(os.fsencode(f"{name}/{file}"))
                labels[part].append(label)
    index = Index(
        len(classes),
        [digest.hexdigest()[:16] for digest in digests],
        {part: np.array(values, np.int64) for part, values in labels.items()},
        {part: np.array(values, np.bytes_) for part, values in names.items()},
        [],
    )
    named = {fault.label for fault in faults}
    empty = [f for f in _without_images(root, classes, index.labels) if f.label not in named]
    index = index._replace(faults=sorted(faults + empty))
    if faults:
        raise _FaultyFilesError(index)
    return index


def _without_images(
    root: Path, classes: list[str], labels: Mapping[str, np.ndarray]
) -> list[Fault]:
    """Faults of the classes that have no images in one of the parts."""
    counts = {part: np.bincount(found, minlength=len(classes)) for part, found in labels.items()}
    faults = []
    for label, name in enumerate(classes):
        lacking = [part for part, count in counts.items() if not count[label]]
        if lacking:
            places = " and ".join(str(root / part / name) for part in lacking)
            faults.append(
                Fault(
                    label,
                    f"class {name!r} has no images: there is none in {places} "
                    f"({', '.join(_SUFFIXES)}, not in folders below). Put them there, or remove "
                    f"the folder {name} from {' and '.join(labels)}",
                )
            )
    return faults


def _images(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """Names and sizes of a folder's images in the order of names, and messages of its faults."""
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError as error:
        # A class without a folder has no images in this part.
        missing = isinstance(error, FileNotFoundError) and not folder.is_symlink()
        return [], [] if missing else [data_root.unreadable(folder, error)]
    if _bad_name(folder.name):
        return [], [f"the name of the folder {data_root.shown(folder)} is not UTF-8: rename it"]
    found, wrong = [], []
    for entry in entries:
        if entry.name.lower().endswith(_SUFFIXES) and not _hidden(entry.name):
            size = _size(entry)
            if isinstance(size, str):
                wrong.append(size)
            elif size is not None:
                found.append((entry.name, size))
    return found, wrong


def _size(entry: os.DirEntry[str]) -> int | str | None:
    """The size of an image in bytes, or the message of its fault; None if it is no file."""
    try:
        status = entry.stat()
    except OSError as error:
        return data_root.unreadable(Path(entry.path), error)
    if not stat.S_ISREG(status.st_mode):
        return None
    if _bad_name(entry.name):
        return f"the name of the image {data_root.shown(Path(entry.path))} is not UTF-8: rename it"
    if not status.st_size:
        image = data_root.shown(Path(entry.path))
        return f"the image {image} is empty (0 bytes): replace or remove it"
    return status.st_size


def _bad_name(name: str) -> bool:
    return not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name)


def _saved_state(root: Path, saved_parts: tuple[str, ...]) -> _State:
    files = saved_images.files(root, saved_parts)
    return tuple((str(path.relative_to(root)), path.stat().st_mtime_ns) for path in files)


def _of_saved(root: Path, parts: tuple[str, ...], saved_parts: tuple[str, ...]) -> Index:
    digest = hashlib.sha256()
    for path in saved_images.files(root, saved_parts):
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
    found = {name: saved_images.labels(root, name) for name in saved_parts}
    classes = saved_images.classes(found)
    labels = {part: found[name].values for part, name in zip(parts, saved_parts, strict=True)}
    return Index(
        len(classes),
        [digest.hexdigest()[:16]],
        labels,
        {},
        [Fault(*fault) for fault in saved_images.without_images(root, classes, found)],
    )


class _TreeImages:
    def __init__(self, folder: Path, names: np.ndarray) -> None:
        self._folder, self._names = folder, names

    def read(self, index: int) -> tuple[str, bytes]:
        path = self._folder / os.fsdecode(bytes(self._names[index]))
        try:
            return str(path), path.read_bytes()
        except OSError as error:
            raise UserError(data_root.unreadable(path, error)) from error

"""The data root: the folder of data sets' files, downloads into it, and digests of its files."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainers.data import machine_cache
from trainers.errors import UserError

#: The variable that names the data root.
VARIABLE = "ARCHPRIOR_DATA"

_READ_AT_A_TIME = 2**20
_DOWNLOAD_SECONDS = 60.0
_DIGEST_LENGTH = 16


def root() -> Path:
    """The folder in which data sets are looked for, and into which they are downloaded.

    `ARCHPRIOR_DATA`, else `archprior/data` in the user's cache (`XDG_CACHE_HOME` or `~/.cache`).
    """
    return machine_cache.user_folder(VARIABLE, "archprior", "data")


def place_of(files: Iterable[str], places: Iterable[Path]) -> Path | None:
    """The first of some folders that has all the files, or None; raises UserError as `is_file`."""
    names = list(files)
    found = (place for place in places if all(is_file(place / name) for name in names))
    return next(found, None)


def is_file(path: Path) -> bool:
    """Whether a file exists; raises UserError if its folder cannot be read."""
    with reading(path):
        return path.is_file()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of a file that is missing, forbidden or damaged into UserError, with its name."""
    try:
        yield
    except OSError as error:
        raise UserError(unreadable(path, error)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)} is not UTF-8: {error}") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{shown(path)} is damaged: {error}") from error


def unreadable(path: Path, error: OSError) -> str:
    """Message why a file or folder cannot be read, with a remedy if one is known."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = shown(path.readlink())
        return f"{shown(path)} is a link to {target}, which is not there: mend or remove it"
    return f"{shown(path)} cannot be read: {error.strerror or error}"


def shown(path: Path) -> str:
    """A path as printable text: bytes that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_labels(where: str, labels: np.ndarray, num_classes: int | None = None) -> None:
    """Raise UserError unless labels (N,) are 0 to `num_classes` - 1; `where` begins the message."""
    outside = labels < 0
    if num_classes is not None:
        outside |= labels >= num_classes
    if outside.any():
        first = int(outside.argmax())
        allowed = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
        raise UserError(
            f"{where}: {int(outside.sum())} of {len(labels)} labels are no class, the first in row "
            f"{first} ({labels[first]}; allowed: {allowed})"
        )


def download(base: str, files: Mapping[str, str], into: Path) -> None:
    """Download `base` + name for each name that is missing; `files` are hashes (`md5:...`) by name.

    Each file has its name only once it is complete. Raises OSError if a download fails, and
    ValueError if the content does not have the published hash.
    """
    import pooch

    for name, known_hash in files.items():
        pooch.retrieve(
            f"{base}{name}", known_hash, fname=name, path=into,
            downloader=pooch.HTTPDownloader(timeout=_DOWNLOAD_SECONDS),
        )  # fmt: skip


def digest(contents: Mapping[str, str]) -> str:
    """First 16 hex digits of a SHA-256 over files' names and the digests of their contents."""
    lines = "".join(f"{name} {content}\n" for name, content in sorted(contents.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST_LENGTH]


def unpacked_digest(path: Path) -> str:
    """SHA-256 of a gzip file's content, whatever the compression.

    Raises UserError if the file is damaged or cannot be read.
    """
    with reading(path):
        return machine_cache.remembered(path, _unpacked_digest)


def _unpacked_digest(path: Path) -> str:
    found = hashlib.sha256()
    with gzip.open(path) as file:
        while part := file.read(_READ_AT_A_TIME):
            found.update(part)
    return found.hexdigest()

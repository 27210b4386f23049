"""Where the files of data sets are: the data root, and what is downloaded into it."""

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
    """The folder under which data sets are looked for, and into which they are downloaded.

    `ARCHPRIOR_DATA`, else `archprior/data` in the user's cache (`XDG_CACHE_HOME` or `~/.cache`).
    """
    return machine_cache.user_folder(VARIABLE, "archprior", "data")


def place_of(files: Iterable[str], places: Iterable[Path]) -> Path | None:
    """The first of some folders that has all the files; raises ValueError as `is_file`."""
    names = list(files)
    found = (place for place in places if all(is_file(place / name) for name in names))
    return next(found, None)


def is_file(path: Path) -> bool:
    """Whether a file is there; raises ValueError where its folder does not let that be seen."""
    with reading(path):
        return path.is_file()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of a file that is missing, forbidden or damaged into ValueError.

    The message names the file.
    """
    try:
        yield
    except OSError as error:
        raise UserError(unreadable(path, error)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)} is not UTF-8: {error}") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{shown(path)} is damaged: {error}") from error


def unreadable(path: Path, error: OSError) -> str:
    """Say why a file or folder cannot be read, and what to do where that is known."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = shown(path.readlink())
        return f"{shown(path)} is a link to {target}, which is not there: mend or remove it"
    return f"{shown(path)} cannot be read: {error.strerror or error}"


def shown(path: Path) -> str:
    """A path in a form that can be printed: bytes that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_labels(where: str, labels: np.ndarray, num_classes: int | None = None) -> None:
    """Raise ValueError, in the name of `where`, unless labels are 0 to `num_classes` - 1."""
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
    """Fetch `base` + name for every name, of known hash (`md5:...`), where it is not there yet.

    Each file appears under its name when it is whole. Raises OSError where it cannot be had, and
    ValueError where it is not what was published.
    """
    import pooch

    for name, known_hash in files.items():
        pooch.retrieve(
            f"{base}{name}", known_hash, fname=name, path=into,
            downloader=pooch.HTTPDownloader(timeout=_DOWNLOAD_SECONDS),
        )  # fmt: skip


def digest(contents: Mapping[str, str]) -> str:
    """First 16 hex digits of the SHA-256 over names and SHA-256s of files' contents."""
    lines = "".join(f"{name} {content}\n" for name, content in sorted(contents.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:_DIGEST_LENGTH]


def unpacked_digest(path: Path) -> str:
    """SHA-256 of a gzip file's content: the same however well it was packed.

    Raises ValueError where the file is not whole, or cannot be read.
    """
    with reading(path):
        return machine_cache.remembered(path, _unpacked_digest)


def _unpacked_digest(path: Path) -> str:
    found = hashlib.sha256()
    with gzip.open(path) as file:
        while part := file.read(_READ_AT_A_TIME):
            found.update(part)
    return found.hexdigest()

"""Where the files of data sets are: the data root, and what is downloaded into it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainers import node_cache

#: The variable that names the data root.
VARIABLE = "ARCHPRIOR_DATA"

_READ_AT_A_TIME = 2**20
_DOWNLOAD_SECONDS = 60.0
_DIGEST_LENGTH = 16


def root() -> Path:
    """The folder under which data sets are looked for, and into which they are downloaded.

    `ARCHPRIOR_DATA`, else `archprior/data` in the user's cache (`XDG_CACHE_HOME` or `~/.cache`).
    """
    return node_cache.user_folder(VARIABLE, "archprior", "data")


def place_of(files: Iterable[str], places: Iterable[Path]) -> Path | None:
    """The first of some folders that has all the files."""
    names = list(files)
    found = (place for place in places if all((place / name).is_file() for name in names))
    return next(found, None)


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
    """SHA-256 of a gzip file's content: the same however well it was packed."""
    return node_cache.remembered(path, _unpacked_digest)


def _unpacked_digest(path: Path) -> str:
    found = hashlib.sha256()
    with gzip.open(path) as file:
        while part := file.read(_READ_AT_A_TIME):
            found.update(part)
    return found.hexdigest()

"""Reading and writing whole files at a local path or a bucket URI; writes are atomic.

Small files go through memory. Large ones are written to and read from a local path, so that
libraries stream them: that of the file itself in a local folder, else a temporary file (`TMPDIR`).
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from trainers.data import atomic
from trainers.errors import UserError
from trainers.store.outages import ANSWERS, Outage

T = TypeVar("T")

_S3 = ("s3", "s3a")
#: Small files that are asked for together.
_AT_ONCE = 256
#: A request is soon given up, since it is asked again here (`trainers.store.outages`).
_S3_CLIENT = {"connect_timeout": 10, "read_timeout": 30, "retries": {"total_max_attempts": 1}}
#: Attempts at each part of a file, so that one lost answer costs a part alone.
_S3_ATTEMPTS = 3


class StorageError(OSError):
    """The store does not answer or take a file: no space left, no permission, no connection."""


class Written(NamedTuple):
    """Size in bytes and SHA-256 in hex of a file as it was written."""

    size: int
    digest: str


class Folder:
    """A folder at a path or URI (`/data/store`, `s3://bucket/store`)."""

    #: Options of this file system for reading a small file.
    _reading: Mapping[str, Any] = {}

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        if "://" in os.fspath(uri):
            protocol = os.fspath(uri).partition("://")[0]
            options: dict[str, Any] = {}
            if protocol in _S3:
                theirs = fsspec.config.conf.get(protocol, {}).get("config_kwargs", {})
                options["config_kwargs"] = {**theirs, **_S3_CLIENT}
            # Other processes write here, too: a listing of a while ago is wrong.
            self._fs, path = fsspec.core.url_to_fs(
                os.fspath(uri), use_listings_cache=False, **options
            )
            if protocol in _S3:
                self._fs.retries = _S3_ATTEMPTS
                if "max_concurrency" in inspect.signature(self._fs._cat_file).parameters:
                    # Otherwise it asks for the size before each file.
                    self._reading = {"max_concurrency": 1}
            self._outage: Outage | None = _outage_of("/".join(os.fspath(uri).split("/")[:3]))
        else:
            # Not parsed by fsspec, which would take `a::b` for `a`.
            path = str(Path(os.path.expanduser(uri)).absolute())  # noqa: PTH111
            self._fs = LocalFileSystem()
            self._outage = None
        self._path = path.rstrip("/")

    def __truediv__(self, name: str) -> Self:
        child = copy(self)
        child._path = f"{self._path}/{name}"
        return child

    def at_once(self) -> Self:
        """The same folder, which raises at the first request that is not answered."""
        impatient = copy(self)
        impatient._outage = None
        return impatient

    @property
    def uri(self) -> str:
        """Absolute path (local) or URI."""
        return self._path if self.is_local else str(self._fs.unstrip_protocol(self._path))

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a mounted file system."""
        return isinstance(self._fs, LocalFileSystem)

    def names(self, *, hidden: bool = False) -> list[str]:
        """Names of the files and folders in it; empty if it does not exist.

        With `hidden`, also names that begin with a dot: temporary files of killed processes, and
        files of editors and file managers.
        """
        return [name for name in self._names() if hidden or not name.startswith(".")]

    def _names(self) -> list[str]:
        if self.is_local:
            folder = Path(self._path)
            return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        try:
            entries: list[Any] = self._ask(
                "list", "", lambda: self._fs.ls(self._path, detail=False, refresh=True)
            )
        except FileNotFoundError:
            return []
        return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

    def sizes(self) -> Iterator[tuple[str, int]]:
        """All files below, each with its size in bytes; paths are relative to the folder.

        Hidden files count, links do not; none if the folder does not exist.
        """
        if self.is_local:
            yield from _sizes(self._path)
            return
        found: dict[str, Any] = self._ask(
            "list", "", lambda: self._fs.find(self._path, detail=True)
        )
        start = len(self._path) + 1
        for path, entry in found.items():
            # Of a file's path, fsspec finds the file itself.
            if path[start:]:
                yield path[start:], int(entry["size"] or 0)

    def modified(self, name: str) -> float | None:
        """When a file was last written, in seconds since 1970; None where that is not known."""
        path = f"{self._path}/{name}"
        try:
            return float(self._ask("read", name, lambda: self._fs.modified(path)).timestamp())
        except (FileNotFoundError, NotImplementedError):
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        if self.is_local:
            # Here and below, a tenth of the time that fsspec takes.
            return Path(self._path, name).exists()
        return bool(self._ask("read", name, lambda: self._fs.exists(f"{self._path}/{name}")))

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None when there is no such file."""
        try:
            if self.is_local:
                return Path(self._path, name).stat().st_size
            return int(self._ask("read", name, lambda: self._fs.size(f"{self._path}/{name}")))
        except FileNotFoundError:
            return None

    def sizes_of(self, names: Iterable[str]) -> dict[str, int | None]:
        """Sizes of files by name, None for an absent one; of a bucket by one listing."""
        if self.is_local:
            return {name: self.size(name) for name in names}
        there = dict(self.sizes())
        return {name: there.get(name) for name in names}

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        if self.is_local:
            return Path(self._path, name).read_bytes()
        path = f"{self._path}/{name}"
        content: bytes = self._ask("read", name, lambda: self._fs.cat_file(path, **self._reading))
        return content

    def read_some(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of small files by name, absent ones left out; of a bucket many at a time."""
        wanted = list(names)
        found: dict[str, bytes] = {}
        if self.is_local:
            for name in wanted:
                with suppress(FileNotFoundError):
                    found[name] = self.read(name)
            return found
        for start in range(0, len(wanted), _AT_ONCE):
            found |= self._ask("read", "", partial(self._cat, wanted[start : start + _AT_ONCE]))
        return found

    def _cat(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {f"{self._path}/{name}": name for name in names}
        found = self._fs.cat(list(paths), on_error="return", **self._reading)
        for content in found.values():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
        return {
            paths[path]: content for path, content in found.items() if isinstance(content, bytes)
        }

    def _ask(self, doing: str, name: str, request: Callable[[], T]) -> T:
        """Answer of the file system; a bucket that does not answer is asked again for a while.

        Whatever its client raises then is an OSError, as it is of a mounted disk.
        """
        if self.is_local:
            return request()
        try:
            return request() if self._outage is None else self._outage.wait_out(request)
        except (*ANSWERS, UserError):
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            seconds = 0.0 if self._outage is None else self._outage.seconds
            away = f"; it has not answered for {seconds:.0f} s" if seconds >= 1 else ""
            raise StorageError(f"cannot {doing} {self.uri}/{name}: {cause}{away}") from error

    def write(self, name: str, content: bytes) -> Written:
        """Write a small file atomically: a reader sees the old bytes or the new ones, never a part.

        Raises StorageError with the file's name.
        """
        self.write_if_given(name, lambda: content)
        return Written(len(content), digest(content))

    def write_if_given(self, name: str, content: Callable[[], bytes | None]) -> bool:
        """Write a small file atomically, as `write` does, unless `content` gives None.

        It is called again before each attempt, because others may have written meanwhile. Gives
        whether the file was written.
        """

        def request() -> bool:
            given = content()
            if given is None:
                return False
            if self.is_local:
                self._write_local(Path(self._path, name), lambda path: path.write_bytes(given))
            else:
                self._fs.pipe_file(f"{self._path}/{name}", given)
            return True

        with self._naming(name):
            return self._ask("write", name, request)

    def write_with(self, name: str, save: Callable[[Path], object]) -> Written:
        """Write a file atomically, as `write` does, by a function that saves it at a local path.

        The content need not fit in memory.
        """
        with self._naming(name):
            if self.is_local:
                return self._write_local(Path(self._path, name), save)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "file")
                save(path)
                target = f"{self._path}/{name}"
                self._ask("write", name, lambda: self._fs.put_file(str(path), target))
                return written_at(path)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Context of a local path at which the file can be read; raises FileNotFoundError."""
        if self.is_local:
            path = Path(self._path, name)
            if not path.is_file():
                raise FileNotFoundError(path)
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            source = f"{self._path}/{name}"
            self._ask("read", name, lambda: self._fs.get_file(source, str(path)))
            yield path

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"cannot write {self.uri}/{name}: {error}") from error

    def _write_local(self, target: Path, save: Callable[[Path], object]) -> Written:
        with atomic.replaced(target, durable=True) as temporary:
            save(temporary)
            return written_at(temporary)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content; nothing if there is none."""
        path = f"{self._path}/{name}"

        def request() -> None:
            if self._fs.exists(path):
                self._fs.rm(path, recursive=True)

        self._ask("remove", name, request)

    def remove_file(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        if self.is_local:
            Path(self._path, name).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            self._ask("remove", name, lambda: self._fs.rm_file(f"{self._path}/{name}"))


@cache
def _outage_of(bucket: str) -> Outage:
    """That of a bucket, which all folders of this process in it share."""
    return Outage(f"the store at {bucket}")


def _sizes(root: str) -> Iterator[tuple[str, int]]:
    """Regular files below a local folder with their sizes."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = os.scandir(f"{root}/{below}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{below}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    # It may have gone since, as temporary files do.
                    with suppress(FileNotFoundError):
                        yield below + entry.name, entry.stat(follow_symlinks=False).st_size


def digest(content: bytes) -> str:
    """SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


def written_at(path: Path) -> Written:
    """Size and digest of a local file, read in blocks."""
    with path.open("rb") as file:
        return Written(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

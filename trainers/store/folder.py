"""Reading and writing whole files at a local path or a bucket URI; a write is all or nothing."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class StorageError(OSError):
    """The store does not take a file: no space left, no permission, no connection."""


class Folder:
    """A folder at a path or URI (`/data/store`, `s3://bucket/store`)."""

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        if "://" in os.fspath(uri):
            self._fs, path = fsspec.core.url_to_fs(os.fspath(uri))
        else:
            # As it is: fsspec would take `a::b` for `a`.
            path = str(Path(os.path.expanduser(uri)).absolute())  # noqa: PTH111
            self._fs = LocalFileSystem()
        self._path = path.rstrip("/")

    def __truediv__(self, name: str) -> Folder:
        child = Folder.__new__(Folder)
        child._fs, child._path = self._fs, f"{self._path}/{name}"
        return child

    @property
    def uri(self) -> str:
        """Absolute path (local) or URI."""
        return self._path if self.is_local else str(self._fs.unstrip_protocol(self._path))

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a mounted file system."""
        return isinstance(self._fs, LocalFileSystem)

    def names(self, *, hidden: bool = False) -> list[str]:
        """Names of the files and folders in it; none when it does not exist.

        With `hidden`, also those that begin with a dot: what a killed process was writing, and what
        editors and file managers leave.
        """
        return [name for name in self._names() if hidden or not name.startswith(".")]

    def _names(self) -> list[str]:
        if self.is_local:
            folder = Path(self._path)
            return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        try:
            entries: list[Any] = self._fs.ls(self._path, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        return bool(self._fs.exists(f"{self._path}/{name}"))

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None when there is no such file."""
        try:
            return int(self._fs.size(f"{self._path}/{name}"))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        content: bytes = self._fs.cat_file(f"{self._path}/{name}")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old bytes or the new ones, never a part.

        Raises StorageError, which names the file.
        """
        try:
            if self.is_local:
                self._write_local(Path(self._path, name), content)
            else:
                self._fs.pipe_file(f"{self._path}/{name}", content)
        except OSError as error:
            raise StorageError(f"cannot write {self.uri}/{name}: {error}") from error

    def _write_local(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all it holds, if it is there."""
        path = f"{self._path}/{name}"
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, in hex."""
    return hashlib.sha256(content).hexdigest()

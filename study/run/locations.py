"""Locations that a study writes to, its store and its MLflow, checked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from analysis import database
from study.errors import SpecError
from study.run.absent_store import check_there
from trainers.store.store import Store

#: File systems on which sqlite's locks do not hold: two writers corrupt the database.
_NETWORK = (
    "nfs", "cifs", "smb", "9p", "afs", "beegfs", "ceph", "glusterfs", "gpfs", "mmfs", "lustre",
    "wekafs", "panfs", "orangefs", "pvfs", "davfs", "fuse",
)  # fmt: skip
#: File systems that a program serves from a local disk.
_LOCAL_FUSE = (
    "fuseblk", "fuse.ntfs", "fuse.ext", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.mergerfs",
    "fuse.bindfs", "fuse.gocryptfs", "fuse.encfs",
)  # fmt: skip

#: Extras of this package by the protocol of a store.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


def find_store(uri: str | os.PathLike[str]) -> Store:
    """The store, checked to be readable, whether it exists yet or not; raises SpecError."""
    store = _store(uri)
    try:
        if store.root.is_local:
            _check_folder(Path(store.uri))
        else:
            store.root.at_once().names()
    except Exception as error:
        # Each protocol has errors of its own.
        raise SpecError(f"--store: {store.uri} cannot be read: {error}") from error
    return store


def existing_store(uri: str | os.PathLike[str]) -> Store:
    """The store, checked to be readable and, where it is a folder, to exist; raises SpecError."""
    store = find_store(uri)
    check_there(uri, store.root)
    return store


def _store(uri: str | os.PathLike[str]) -> Store:
    if not os.fspath(uri):
        raise SpecError("--store: give a folder, or a URI such as s3://bucket/store (got '')")
    try:
        return Store(uri)
    except ImportError as error:
        # It says which package.
        extra = _EXTRAS.get(os.fspath(uri).partition("://")[0])
        ours = "" if extra is None else f": pip install 'archprior[{extra}]', on every node"
        raise SpecError(f"--store: {uri}: {error}{ours}") from error
    except ValueError as error:
        raise SpecError(
            f"--store: {uri}: {error}; give a folder, or a URI such as s3://bucket/store"
        ) from error


def _check_folder(path: Path) -> None:
    """Raise OSError where the path is not a folder, or cannot be listed; an absent one is fine."""
    try:
        next(path.iterdir(), None)
    except FileNotFoundError:
        if not path.parent.exists():
            _check_folder(path.parent)


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The store, checked to be writable; raises SpecError."""
    store = _store(uri)
    try:
        # Not empty: a full disk takes names.
        root = store.root.at_once()
        root.write(".writable", bytes(2**16))
        root.remove_file(".writable")
    except OSError as error:
        raise SpecError(f"--store: {store.uri} is not writable: {error}") from error
    return store


def tracking_uri_of(store: Store, given: str | None) -> str:
    """The MLflow that a study is written to: as given, else `sqlite:///<store>/mlflow.db`.

    Raises SpecError where that is sqlite on a network file system or in a bucket.
    """
    if given is None and not store.root.is_local:
        raise SpecError(
            f"--tracking-uri: the store {store.uri} is not a local folder, so it cannot hold "
            "MLflow's sqlite data base; name an MLflow server (http://...)"
        )
    uri = _own_uri(store) if given is None else given
    path = database.path_of(uri)
    if path is not None:
        kind = _file_system(path)
        if kind.startswith(_NETWORK) and not kind.startswith(_LOCAL_FUSE):
            raise SpecError(
                f"--tracking-uri: {uri} is sqlite on a network file system ({kind}), whose locks "
                "sqlite cannot rely on: the data base would be corrupted; start an MLflow server "
                "on one machine (mlflow server) and name it (http://...), or give the path of a "
                "local disk (sqlite:////local/mlflow.db)"
            )
    return uri


def _own_uri(store: Store) -> str:
    try:
        return database.uri_of(Path(store.uri) / database.NAME)
    except ValueError as error:
        raise SpecError(f"--store: {error}") from error


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path, whether it exists or not: `ext4`, `nfs4`."""
    place = path.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in place.parents if parent in mounts), "")

"""Locations that a study writes to, its store and its MLflow, checked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec

from analysis import database
from study.errors import SpecError
from study.run.absent_store import check_there
from study.tracking import file_systems
from trainers.store.store import Store

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
    given = os.fspath(uri)
    if not given:
        raise SpecError("--store: give a folder, or a URI such as s3://bucket/store (got '')")
    scheme, colon, rest = given.partition(":")
    if colon and not rest.startswith("//") and scheme in fsspec.available_protocols():
        meant = f"{scheme}://{rest.lstrip('/')}"
        raise SpecError(f"--store: {given}: a URI has two slashes: {meant} (a folder: ./{given})")
    try:
        store = Store(uri)
    except ImportError as error:
        # It says which package.
        extra = _EXTRAS.get(os.fspath(uri).partition("://")[0])
        ours = "" if extra is None else f": pip install 'archprior[{extra}]', on every node"
        raise SpecError(f"--store: {uri}: {error}{ours}") from error
    except ValueError as error:
        raise SpecError(
            f"--store: {uri}: {error}; give a folder, or a URI such as s3://bucket/store"
        ) from error
    if not store.uri:
        raise SpecError(f"--store: {given} is the root of all files; give a folder below it")
    return store


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
        kind = file_systems.type_of(path)
        if file_systems.is_shared(kind):
            raise SpecError(
                f"--tracking-uri: {uri} is sqlite on a network file system ({kind}), whose locks "
                "sqlite cannot rely on: the data base would be corrupted; start an MLflow server "
                "on one machine (mlflow server) and name it (http://...), or give the path of a "
                "local disk (sqlite:////local/mlflow.db)"
            )
    return uri


def tracking_options(store: Store) -> list[str]:
    """Options without which a command on a store has no MLflow; HOST stands for a server's."""
    try:
        tracking_uri_of(store, None)
    except SpecError:
        return ["--tracking-uri", "http://HOST:5000"]
    return []


def _own_uri(store: Store) -> str:
    try:
        return database.uri_of(Path(store.uri) / database.NAME)
    except ValueError as error:
        raise SpecError(f"--store: {error}") from error

"""Finds and checks the weights that a spec names, when it is planned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.errors import SpecError
from study.spec.entries import RivalEntry
from trainers.architectures import ARCHITECTURES, Network
from trainers.conditions.weights import REPLICATE, Weights
from trainers.errors import UserError
from trainers.guides import pretrained, published
from trainers.registry import Component

#: A file with the SHA-256 of its tensors, as the specs in a store name it.
_PINNED = re.compile(r"(.+)@sha256:([0-9a-f]{64})")


class Sources:
    """Folders in which weights of a spec are looked for: the spec's own, then the current one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folders = [Path.cwd()] if folder is None else [folder.resolve(), Path.cwd()]
        #: Names of files with their digest, by the name in the spec.
        self.pins: dict[str, str] = {}

    def find(self, written: str, architecture: Component) -> Weights:
        """The weights that a spec names for an architecture; raises SpecError.

        A file that has its digest beside it may be missing: the store may have its tensors.
        """
        file, digest = _unpinned(written)
        try:
            if Path(file).suffix not in pretrained.SUFFIXES:
                content = published.content_of(architecture, file)
                return Weights(content=content, name=file)
            return self._file(written, file, digest)
        except UserError as error:
            raise SpecError(f"guides: {architecture.name}: weights: {error}") from error

    def starts(self, entry: RivalEntry) -> list[Weights]:
        """The weights that a rival of a spec starts from; raises SpecError.

        Those of a replicate are looked for in the store when the study runs.
        """
        found = [
            Weights(content=f"{REPLICATE}{name}", name=name)
            for name in entry.replicate
            if name is not None
        ]
        return found + [self._start(path, entry.name) for path in entry.path if path is not None]

    def _start(self, written: str, rival: str) -> Weights:
        where, (file, digest) = f"rivals: {rival}: path", _unpinned(written)
        if Path(file).suffix not in pretrained.SUFFIXES:
            raise SpecError(f"{where} is {file!r}; allowed: {', '.join(pretrained.SUFFIXES)}")
        try:
            return self._file(written, file, digest)
        except UserError as error:
            raise SpecError(f"{where}: {error}") from error

    def _file(self, written: str, file: str, digest: str | None) -> Weights:
        """The weights in a file, by its digest alone where another or no file is there."""
        found = self._read(file)
        if digest is not None and (found is None or found.content != digest):
            return Weights(content=digest, name=Path(file).name)
        if found is None:
            places = " nor in ".join(dict.fromkeys(map(str, self._folders)))
            raise UserError(f"no file {file!r} in {places}")
        self.pins[written] = f"{file}@sha256:{found.content}"
        return found

    def _read(self, file: str) -> Weights | None:
        for folder in self._folders:
            try:
                return pretrained.of_file(folder / file)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"cannot read {folder / file}: {error.strerror}") from error
        return None


def _unpinned(written: str) -> tuple[str, str | None]:
    """The name of a file in a spec, and the digest beside it."""
    match = _PINNED.fullmatch(written)
    return (written, None) if match is None else (match[1], match[2])


def pinned(content: Any, pins: Mapping[str, str], *, inside: bool = False) -> Any:
    """A spec as written, with the digest of each weights file added to its name (`pins`).

    It can then be planned where the files are absent. `inside` is for the recursion.
    """
    if isinstance(content, Mapping):
        return {
            key: pinned(value, pins, inside=str(key).rpartition(".")[2] in ("weights", "path"))
            for key, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [pinned(item, pins, inside=inside) for item in content]
    return pins.get(content, content) if inside and isinstance(content, str) else content


def named(architecture: Component, *, start: bool) -> str:
    """The words for weights in messages: those of a guide, or those that a rival `start`s from."""
    label = ARCHITECTURES.label(architecture)
    return f"rivals: weights for {label}" if start else f"guides: {label}"


def check(
    weights: Weights,
    architecture: Component,
    task: Component,
    network: Network,
    *,
    start: bool = False,
) -> None:
    """Raise SpecError where weights that are on this machine do not fit a network (on `meta`).

    `start` as in `named`.
    """
    shapes = pretrained.shapes(weights)
    if shapes is not None:
        fit(shapes, weights, architecture, task, network, start=start)


def fit(
    tensors: pretrained.State,
    weights: Weights,
    architecture: Component,
    task: Component,
    network: Network,
    *,
    start: bool = False,
) -> None:
    """Raise SpecError where tensors do not fit a network (on `meta`); `start` as in `named`."""
    try:
        pretrained.fitted(tensors, network)
    except UserError as error:
        where = "weights" if weights.replicate_id is None else "replicate"
        raise SpecError(
            f"{named(architecture, start=start)} on task {task.name!r}: {where} "
            f"{weights.name}: {error}"
        ) from error

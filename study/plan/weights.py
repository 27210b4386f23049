"""Finds and checks the weights that a spec names, when it is planned."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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


def changed(content: Any, change: Callable[[str, str], str], place: str = "") -> Any:
    """A spec as written, each name of weights in it given to `change` with its place.

    A place is that of the spec itself (`place`) and the keys: `study.guides[0].weights`.
    """
    return _changed(content, change, place, names=False)


def _changed(content: Any, change: Callable[[str, str], str], place: str, *, names: bool) -> Any:
    if isinstance(content, Mapping):
        return {
            key: _changed(
                value, change, f"{place}.{key}",
                names=str(key).rpartition(".")[2] in ("weights", "path"),
            )
            for key, value in content.items()
        }  # fmt: skip
    if isinstance(content, list | tuple):
        return [
            _changed(item, change, f"{place}[{index}]", names=names)
            for index, item in enumerate(content)
        ]
    return change(place, content) if names and isinstance(content, str) else content


def pinned(content: Any, pins: Mapping[str, str]) -> Any:
    """A spec as written, with the digest of each weights file added to its name (`pins`).

    It can then be planned where the files are absent.
    """
    return changed(content, lambda _place, name: pins.get(name, name))


def is_of_a_folder(written: str) -> bool:
    """Whether a name of weights is a path from some folder, without the digest beside it."""
    file, digest = _unpinned(written)
    path = Path(file)
    return digest is None and path.suffix in pretrained.SUFFIXES and not path.is_absolute()


class Use(NamedTuple):
    """A network that gets weights: a guide, or the `start` of a rival."""

    architecture: Component
    task: Component
    start: bool = False

    @property
    def named(self) -> str:
        """Words for its weights in messages."""
        label = ARCHITECTURES.label(self.architecture)
        return f"rivals: weights for {label}" if self.start else f"guides: {label}"


def check(weights: Weights, use: Use, network: Network) -> None:
    """Raise SpecError where weights that are on this machine do not fit a network (on `meta`)."""
    shapes = pretrained.shapes(weights)
    if shapes is not None:
        fit(shapes, weights, use, network)


def fit(tensors: pretrained.State, weights: Weights, use: Use, network: Network) -> None:
    """Raise SpecError where tensors do not fit a network (on `meta`)."""
    try:
        pretrained.fitted(tensors, network)
    except UserError as error:
        where = "weights" if weights.replicate_id is None else "replicate"
        raise SpecError(
            f"{use.named} on task {use.task.name!r}: {where} {weights.name}: {error}"
        ) from error

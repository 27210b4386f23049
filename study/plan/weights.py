"""Finds and checks the weights that a spec names, when it is planned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.errors import SpecError
from trainers.architectures import ARCHITECTURES, Network
from trainers.conditions.weights import Weights
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
        match = _PINNED.fullmatch(written)
        file, digest = (written, None) if match is None else match.groups()
        where = f"guides: {architecture.name}: weights"
        try:
            if Path(file).suffix not in pretrained.SUFFIXES:
                content = published.content_of(architecture, file)
                return Weights(content=content, name=file)
            found = self._read(file)
        except UserError as error:
            raise SpecError(f"{where}: {error}") from error
        if digest is not None and (found is None or found.content != digest):
            return Weights(content=digest, name=Path(file).name)
        if found is None:
            places = " nor in ".join(dict.fromkeys(map(str, self._folders)))
            raise SpecError(f"{where}: no file {file!r} in {places}")
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


def pinned(content: Any, pins: Mapping[str, str], *, inside: bool = False) -> Any:
    """A spec as written, with the digest of each weights file added to its name (`pins`).

    It can then be planned where the files are absent. `inside` is for the recursion.
    """
    if isinstance(content, Mapping):
        return {
            key: pinned(value, pins, inside=str(key).rpartition(".")[2] == "weights")
            for key, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [pinned(item, pins, inside=inside) for item in content]
    return pins.get(content, content) if inside and isinstance(content, str) else content


def check(weights: Weights, architecture: Component, task: Component, network: Network) -> None:
    """Raise SpecError where weights that are on this machine do not fit a network (on `meta`)."""
    shapes = pretrained.shapes(weights)
    if shapes is not None:
        fit(shapes, weights, architecture, task, network)


def fit(
    tensors: pretrained.State,
    weights: Weights,
    architecture: Component,
    task: Component,
    network: Network,
) -> None:
    """Raise SpecError where tensors do not fit a network (on `meta`)."""
    try:
        pretrained.fitted(tensors, network)
    except UserError as error:
        raise SpecError(
            f"guides: {ARCHITECTURES.label(architecture)} on task {task.name!r}: weights "
            f"{weights.name}: {error}"
        ) from error

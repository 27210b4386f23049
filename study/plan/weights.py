"""Weights that a spec names: found when it is planned, in the store before anything trains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.errors import SpecError
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.guides import pretrained, published
from trainers.registry import Component

if TYPE_CHECKING:
    from study.plan.progress import Progress

#: A file with the SHA-256 of its tensors: what stands in the specs that a store keeps.
_PINNED = re.compile(r"(.+)@sha256:([0-9a-f]{64})")


class Sources:
    """Where the weights of a spec are found: its own folder first, then the current one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folders = [Path.cwd()] if folder is None else [folder.resolve(), Path.cwd()]
        #: Files as the spec has them, and the same with their digest.
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
    """A spec as written, with the digest of its files of weights beside their names.

    So it can be planned where the files are not.
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
    """Raise SpecError where weights that are here do not fit a network, built without values."""
    shapes = pretrained.shapes(weights)
    if shapes is not None:
        _fit(shapes, weights, architecture, task, network)


def provide(progress: Progress) -> None:
    """Copy into the store the weights of what is still to train.

    Raises SpecError where they cannot be had or do not fit, and says what to do.
    """
    needed: dict[Weights, dict[tuple[Component, Component], None]] = {}
    for weights, architecture, task in _uses(progress):
        needed.setdefault(weights, {})[architecture, task] = None
    for weights, networks in needed.items():
        tensors = pretrained.stored(progress.store, weights)
        kept = tensors is not None
        if tensors is None:
            try:
                tensors = pretrained.obtain(weights)
            except (OSError, UserError) as error:
                name = next(iter(networks))[0].name
                raise SpecError(f"guides: {name}: weights: {weights.name}: {error}") from error
        for architecture, task in networks:
            built = tasks.build(task)
            network = architectures.blueprint(architecture, built.input, built.output)
            _fit(tensors, weights, architecture, task, network)
        if not kept:
            pretrained.put(progress.store, weights, tensors)


def _uses(progress: Progress) -> Iterator[tuple[Weights, Component, Component]]:
    for replicate in progress.todo:
        condition = replicate.condition
        if condition.weights is not None:
            yield condition.weights, condition.target, condition.task
        guidance = condition.guidance
        if guidance is not None and guidance.guide.weights is not None:
            yield guidance.guide.weights, guidance.guide.architecture, condition.task


def _fit(
    tensors: pretrained.State,
    weights: Weights,
    architecture: Component,
    task: Component,
    network: Network,
) -> None:
    try:
        pretrained.fitted(tensors, network)
    except UserError as error:
        raise SpecError(
            f"guides: {ARCHITECTURES.label(architecture)} on task {task.name!r}: weights "
            f"{weights.name}: {error}"
        ) from error

"""Checkpoints of a half-trained replicate, and the final weights of a finished one.

A checkpoint is a file named by its step and a pointer, written after it, with the digests of the
file and of the history so far: a crash at any moment leaves the previous checkpoint intact. Files
are written, digested and read tensor by tensor, never whole in memory. No generator state is saved,
because every draw is a function of its stream and step.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainers.conditions.training import Steps
from trainers.errors import UserError, first_line
from trainers.options import Bounds, check_fields
from trainers.store.folder import Written, digest, written_at
from trainers.store.pointer import Pointer, name_of
from trainers.store.store import POINTER, WEIGHTS, Replicate
from trainers.store.tables import History


@dataclass(frozen=True, kw_only=True)
class CheckpointEvery:
    """Interval of checkpoints: a number of steps or of seconds; by default every report.

    It changes neither results nor ids. Raises UserError if both are given.
    """

    steps: Steps | None = None
    seconds: Annotated[float, Bounds(gt=0)] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "checkpoint_every")
        if self.steps is not None and self.seconds is not None:
            raise UserError("give steps or seconds, not both")

    def due(self, step: int, seconds: float, *, reported: bool) -> bool:
        """Whether to write a checkpoint after `step`, `seconds` after the last one."""
        if self.steps is not None:
            return step % self.steps == 0
        return reported if self.seconds is None else seconds >= self.seconds


EACH_REPORT = CheckpointEvery()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training run after `step` steps and `train_seconds` of training.

    `learned` are the parameters of a distance that learns, `balance` is the factor of a balanced
    schedule, `window` the state of `log.Window` since the last report.
    """

    step: int
    train_seconds: float
    weights: Mapping[str, Tensor]
    learned: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    balance: float | None = None
    window: Mapping[str, Any]


def save(
    replicate: Replicate,
    checkpoint: Checkpoint,
    history: History,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write a checkpoint, then the pointer to it, then remove the previous one.

    `history` is the replicate's history in the store. `check` is called before the pointer is
    written, and raises if it may not be.
    """
    name = name_of(checkpoint.step)
    state = {k: v for k, v in vars(checkpoint).items() if k not in ("step", "train_seconds")}
    written = replicate.folder.write_with(name, partial(_save_state, state))
    pointer = Pointer(
        checkpoint.step, checkpoint.train_seconds, name, written,
        _points_digest(history.until(checkpoint.step)),
    )  # fmt: skip
    check()
    replicate.folder.write(POINTER, json.dumps(pointer._asdict()).encode())
    _keep_only(replicate, {name, POINTER})


def load(replicate: Replicate, history: History | None) -> Checkpoint | None:
    """The latest checkpoint, tensors on the CPU; None if there is none.

    Raises CorruptError if it, or the replicate's `history` up to its step, is damaged.
    """
    pointer = Pointer.of(replicate)
    if pointer is None:
        return None
    points = (history or History(replicate.id)).until(pointer.step)
    if _points_digest(points) != pointer.history:
        raise replicate.corrupt("history.parquet is damaged")
    with _undamaged(replicate, pointer.file, pointer.written) as path:
        # On the CPU: the replicate may resume on another device than it was saved on.
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            return Checkpoint(step=pointer.step, train_seconds=pointer.train_seconds, **state)
        except Exception as error:
            if _is_of_the_machine(error):
                raise
            # Who changed it may have written its digest, too; unpicklers then raise anything.
            raise replicate.corrupt(f"{pointer.file} is damaged ({first_line(error)})") from error


def save_final(replicate: Replicate, network: nn.Module) -> Written:
    """Write the final weights beside the last checkpoint."""
    return replicate.folder.write_with(WEIGHTS, partial(save_weights, network))


def drop_all_but_final(replicate: Replicate) -> None:
    """Remove the checkpoint of a finished replicate, but not its final weights."""
    _keep_only(replicate, {WEIGHTS})


def load_final(replicate: Replicate) -> dict[str, Tensor]:
    """The final weights of a finished replicate; raises CorruptError."""
    with _undamaged(replicate, WEIGHTS, replicate.vouched(WEIGHTS)) as path:
        try:
            weights: dict[str, Tensor] = load_file(path)
        except (SafetensorError, ValueError, RuntimeError, TypeError) as error:
            if _is_of_the_machine(error):
                raise
            raise replicate.corrupt(f"{WEIGHTS} is damaged ({first_line(error)})") from error
    return weights


def _is_of_the_machine(error: Exception) -> bool:
    """Whether an error says that this machine lacks something, and nothing about the file."""
    lacking = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
    is_lack = isinstance(error, OSError) and error.errno in lacking
    return is_lack or isinstance(error, MemoryError) or "alloc" in str(error).lower()


@contextmanager
def _undamaged(replicate: Replicate, name: str, written: Written) -> Iterator[Path]:
    """A local path of a file; raises CorruptError where it is missing, or not as it was written."""
    try:
        with replicate.folder.local(name) as path:
            if written_at(path) != written:
                raise replicate.corrupt(f"{name} is damaged")
            yield path
    except FileNotFoundError as error:
        raise replicate.corrupt(f"{name} is missing") from error


def _save_state(state: Mapping[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # On a full disk PyTorch reports only that it cannot finish its archive.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def save_weights(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's weights to a local safetensors file; raises OSError."""
    try:
        save_file(_untied(network.state_dict()), path, None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _untied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in weights.items():
        saved = tensor.detach().cpu().contiguous()
        # Tied weights are one tensor under several names, which the format does not accept.
        if saved.untyped_storage().data_ptr() in storages:
            saved = saved.clone()
        storages.add(saved.untyped_storage().data_ptr())
        tensors[name] = saved
    return tensors


def _points_digest(history: History) -> str:
    return digest(json.dumps(history.points).encode())


def _keep_only(replicate: Replicate, keep: set[str]) -> None:
    for name in (replicate.folder / "checkpoint").names(hidden=True):
        if f"checkpoint/{name}" not in keep:
            path = f"checkpoint/{name}"
            try:
                replicate.folder.remove_file(path)
            except IsADirectoryError:
                # Such as an editor leaves.
                replicate.folder.remove(path)

"""Checkpoints of a half-trained replicate, and the final weights of a finished one.

A checkpoint is two files named by their step, the history, and a pointer written last that
vouches for all three: a crash at any moment leaves the previous checkpoint whole. No generator
state is kept, because every draw is a function of its stream and step.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from trainers.store.folder import digest
from trainers.store.store import WEIGHTS, Replicate
from trainers.store.tables import History

_POINTER = "checkpoint/latest.json"
_HISTORY = "history.parquet"
#: Before the names of parameters that are not the network's.
_LEARNED = "guidance/"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training run after `step` steps and `train_seconds` of training.

    `learned` are the parameters of a distance that learns, `balance` that of the schedule.
    """

    step: int
    train_seconds: float
    weights: dict[str, Tensor]
    learned: dict[str, Tensor]
    balance: float | None
    optimizer: dict[str, Any]
    history: History


def save(replicate: Replicate, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, then point to it, then remove the one before."""
    state = io.BytesIO()
    torch.save(checkpoint.optimizer, state)
    files = {
        f"checkpoint/{checkpoint.step}.safetensors": _encode_weights(
            checkpoint.weights | {_LEARNED + name: t for name, t in checkpoint.learned.items()}
        ),
        f"checkpoint/{checkpoint.step}.pt": state.getvalue(),
        _HISTORY: checkpoint.history.to_parquet(),
    }
    for name, content in files.items():
        replicate.folder.write(name, content)
    pointer = {
        "step": checkpoint.step,
        "train_seconds": checkpoint.train_seconds,
        "balance": checkpoint.balance,
        "files": {name: digest(data) for name, data in files.items() if name != _HISTORY},
        # Of the points, not of the file: where a crash comes between the history's write and the
        # pointer's, what the pointer vouches for is the file's first part.
        "history": _points_digest(checkpoint.history),
    }
    replicate.folder.write(_POINTER, json.dumps(pointer).encode())
    _keep_only(replicate, {*files, _POINTER})


def load(replicate: Replicate) -> Checkpoint | None:
    """The latest checkpoint, or None; raises CorruptError when it is damaged."""
    with _damage(replicate):
        pointer = _pointer(replicate)
        if pointer is None:
            return None
        content = {name: replicate.folder.read(name) for name in pointer["files"]}
        damaged = [name for name, data in content.items() if digest(data) != pointer["files"][name]]
        if damaged:
            raise replicate.corrupt(f"{damaged[0]} is damaged")
        step = pointer["step"]
        tensors = load_tensors(content[f"checkpoint/{step}.safetensors"])
        learned = {name for name in tensors if name.startswith(_LEARNED)}
        return Checkpoint(
            step=step,
            train_seconds=pointer["train_seconds"],
            weights={name: tensor for name, tensor in tensors.items() if name not in learned},
            learned={name.removeprefix(_LEARNED): tensors[name] for name in learned},
            balance=pointer.get("balance"),
            # It goes where the parameters are, which may be another device than it came from.
            optimizer=torch.load(
                io.BytesIO(content[f"checkpoint/{step}.pt"]), map_location="cpu", weights_only=True
            ),
            history=_history(replicate, pointer),
        )


def saved_step(replicate: Replicate) -> int:
    """Steps done at the latest checkpoint, 0 without one; raises CorruptError."""
    with _damage(replicate):
        pointer = _pointer(replicate)
        return 0 if pointer is None else int(pointer["step"])


def saved_history(replicate: Replicate) -> History | None:
    """What was reported until the latest checkpoint; raises CorruptError when it is damaged."""
    with _damage(replicate):
        pointer = _pointer(replicate)
        return None if pointer is None else _history(replicate, pointer)


@contextmanager
def _damage(replicate: Replicate) -> Iterator[None]:
    """Says of every way in which reading a damaged checkpoint fails that it is damaged."""
    try:
        yield
    except (FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise replicate.corrupt(f"checkpoint is damaged: {error}") from error


def _pointer(replicate: Replicate) -> dict[str, Any] | None:
    if not replicate.folder.exists(_POINTER):
        return None
    pointer: dict[str, Any] = json.loads(replicate.folder.read(_POINTER))
    return pointer


def _history(replicate: Replicate, pointer: dict[str, Any]) -> History:
    content = replicate.folder.read(_HISTORY)
    history = History.from_parquet(replicate.id, content).until(pointer["step"])
    if _points_digest(history) != pointer["history"]:
        raise replicate.corrupt(f"{_HISTORY} is damaged")
    return history


def save_final(replicate: Replicate, network: nn.Module) -> None:
    """Write the final weights beside the last checkpoint."""
    replicate.folder.write(WEIGHTS, _encode_weights(network.state_dict()))


def drop_all_but_final(replicate: Replicate) -> None:
    """Drop the checkpoint of a finished replicate, and the optimiser's state with it."""
    _keep_only(replicate, {WEIGHTS})


def load_final(replicate: Replicate) -> dict[str, Tensor]:
    """The final weights of a finished replicate; raises CorruptError."""
    content = replicate.read(WEIGHTS)
    with _damage(replicate):
        weights: dict[str, Tensor] = load_tensors(content)
    return weights


def _encode_weights(weights: dict[str, Tensor]) -> bytes:
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in weights.items():
        own = tensor.detach().cpu().contiguous()
        # Tied weights are one tensor under several names, and the format takes none twice.
        if own.untyped_storage().data_ptr() in storages:
            own = own.clone()
        storages.add(own.untyped_storage().data_ptr())
        tensors[name] = own
    content: bytes = save_tensors(tensors)
    return content


def _points_digest(history: History) -> str:
    return digest(json.dumps(history.points).encode())


def _keep_only(replicate: Replicate, keep: set[str]) -> None:
    for name in (replicate.folder / "checkpoint").names(hidden=True):
        if f"checkpoint/{name}" not in keep:
            replicate.folder.remove(f"checkpoint/{name}")

"""Weights from elsewhere, of guides and rivals: identified by content, copied into the store.

<store>/weights/<SHA-256>.safetensors           tensors, under the digest of their names and values
                <library>/<model>/<name>.json   digest of published weights

A driver copies them before any replicate starts, so that workers find them in the store. Those of a
replicate stay in its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from trainers.conditions.weights import Weights
from trainers.data import json_mapping
from trainers.errors import UserError, first_line
from trainers.guides import published
from trainers.store import checkpoint
from trainers.store.store import Replicate, Store

#: Suffixes of files of weights. The last two are pickles, loaded with `weights_only`.
SUFFIXES = (".safetensors", ".pt", ".pth")
#: Keys under which training scripts save the weights beside other content.
_WRAPPERS = ("state_dict", "model")
_SHOWN = 3

State = Mapping[str, Tensor]


def of_file(path: str | os.PathLike[str]) -> Weights:
    """The weights in a file; raises OSError, and UserError if it holds no state dict."""
    digest, _ = _facts(path)
    return Weights(content=digest, name=Path(path).name, path=os.path.abspath(path))  # noqa: PTH100


def shapes(weights: Weights) -> State | None:
    """Tensors of weights without values, from their file; None if this machine has no file."""
    return None if weights.path is None else _facts(weights.path)[1]


def _facts(path: str | os.PathLike[str]) -> tuple[str, State]:
    """Digest and shapes of a file, which is read again only if it has changed."""
    status = Path(path).stat()
    return _read_facts(os.fspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _read_facts(path: str, _size: int, _modified: int) -> tuple[str, State]:
    tensors = read_file(path)
    return digest_of(tensors), {name: t.to("meta") for name, t in tensors.items()}


def read_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU.

    Raises OSError if it cannot be opened, UserError if it is damaged or holds something else.
    """
    # The libraries report folders and unreadable files as missing.
    with Path(path).open("rb"):
        pass
    try:
        if Path(path).suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpicklers of damaged files raise whatever the bytes lead them to.
        raise UserError(
            f"{os.fspath(path)} holds no tensors alone, or is damaged ({first_line(error)}); save "
            "network.state_dict()"
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{os.fspath(path)} holds no state dict; save network.state_dict()")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"{os.fspath(path)} holds no state dict: {name!r} is a {type(value).__name__}; "
                f"save network.state_dict(), or that under {' or '.join(map(repr, _WRAPPERS))}"
            )
        if value.layout != torch.strided or value.is_quantized:
            raise UserError(
                f"{os.fspath(path)}: {name!r} is sparse or quantized; save its values as they are"
            )
    return {name: value.detach() for name, value in content.items()}


def digest_of(tensors: State) -> str:
    """SHA-256 over names, types, shapes and values of tensors, whatever their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def obtain(weights: Weights) -> dict[str, Tensor]:
    """The tensors from their file or their publisher; raises UserError with a remedy."""
    if weights.published:
        return published.fetch(weights.content)
    if weights.replicate_id is not None:
        raise UserError(
            f"the store has no finished replicate {weights.replicate_id}; the table replicates of "
            "a study has the ids"
        )
    if weights.path is None:
        raise UserError(f"no file here holds them (SHA-256 {weights.content[:12]})")
    tensors = read_file(weights.path)
    if digest_of(tensors) != weights.content:
        raise UserError(f"{weights.path} has other content than when it was read first")
    return tensors


def put(store: Store, weights: Weights, tensors: State) -> None:
    """Copy the tensors of weights into the store."""
    folder, digest = store.root / "weights", digest_of(tensors)
    # Cloned, because safetensors refuses tensors that share memory.
    content = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    folder.write(f"{digest}.safetensors", save_tensors(content))
    if weights.published:
        folder.write(f"{weights.content}.json", json.dumps({"sha256": digest}).encode())


def stored(store: Store, weights: Weights) -> dict[str, Tensor] | None:
    """Tensors of weights in the store; None if missing or, with a warning, if damaged."""
    if weights.replicate_id is not None:
        return _of_replicate(store.replicate(weights.replicate_id))
    folder = store.root / "weights"
    try:
        digest = weights.content
        if weights.published:
            digest = json_mapping.parse(folder.read(f"{weights.content}.json"))["sha256"]
        tensors: dict[str, Tensor] = load_tensors(folder.read(f"{digest}.safetensors"))
        if digest_of(tensors) != digest:
            raise UserError("its content has changed")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        warnings.warn(f"{folder.uri}: weights {weights.name} are damaged: {error}", stacklevel=2)
        return None
    return tensors


def _of_replicate(replicate: Replicate) -> dict[str, Tensor] | None:
    """Final weights of a replicate; None unless it is finished. Raises CorruptError."""
    return None if replicate.result() is None else dict(checkpoint.load_final(replicate))


def load_into(network: nn.Module, weights: Weights, store: str | None) -> None:
    """Load weights into a network, from the store if it has them, else from file or publisher.

    Raises UserError if they do not fit the network, or cannot be obtained.
    """
    tensors = None if store is None else stored(Store(store), weights)
    try:
        state = fitted(obtain(weights) if tensors is None else tensors, network)
    except ValueError as error:
        where = "" if store is None else f" (not in the store {store} either)"
        raise UserError(f"weights {weights.name}{where}: {error}") from error
    network.load_state_dict(state, strict=False)


def fitted(tensors: State, network: nn.Module) -> dict[str, Tensor]:
    """Tensors renamed to a network's names; raises UserError if they do not fit it.

    Names may lack a prefix that all of the network's names share, or have that of DataParallel. The
    counters of batch norm, which evaluation does not use, may be missing.
    """
    expected: dict[str, Tensor] = network.state_dict()
    found = _renamed(tensors, expected)
    missing = [
        name for name in expected if name not in found and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in found if name not in expected]
    misshapen = [n for n, t in expected.items() if n in found and t.shape != found[n].shape]
    if misshapen and not missing and not unexpected:
        _check_head(misshapen, found, expected)
    shapes = [f"{n!r} {_shape(found[n])}, not {_shape(expected[n])}" for n in misshapen]
    parts = {
        "missing": list(map(repr, missing)),
        "unexpected": list(map(repr, unexpected)),
        "of another shape": shapes,
    }
    mistakes = [f"{what} {_first(names)}" for what, names in parts.items() if names]
    if mistakes:
        raise UserError(f"they do not fit the network: {'; '.join(mistakes)}")
    return found


def _check_head(misshapen: list[str], found: State, expected: State) -> None:
    """Raise UserError that explains the misfit if only the number of answers differs."""
    heads = {name.rpartition(".")[0] for name in misshapen}
    if len(heads) > 1 or any(found[n].shape[1:] != expected[n].shape[1:] for n in misshapen):
        return
    given, needed = (len(state[misshapen[0]]) for state in (found, expected))
    raise UserError(
        f"they have {given} outputs, and the task needs {needed} ({heads.pop()!r} is all that does "
        "not fit, and a network is scored by its answers): give weights that were tuned on the task"
    )


def _renamed(tensors: State, expected: State) -> dict[str, Tensor]:
    names = list(tensors)
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    prefixes = {name.partition(".")[0] + "." for name in expected}
    if len(prefixes) == 1:
        prefix = prefixes.pop()
        if not any(name.startswith(prefix) for name in names):
            names = [prefix + name for name in names]
    return dict(zip(names, tensors.values(), strict=True))


def _first(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"

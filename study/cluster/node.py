"""Facts of a node, found by a task that runs there, for the doctor."""

from __future__ import annotations

import platform
import resource
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata

#: Folder of the store in which driver and nodes leave word for each other.
ANSWERS = "ray"


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """Facts of a node: versions, code, store, room, limits.

    `nonce` is whether the node sees what the driver wrote into the store; `free_bytes` is of the
    folder for temporary files, `gpus` the number that PyTorch sees.
    """

    host: str
    python: str
    versions: dict[str, str]
    source_digest: str
    nonce: bool
    problem: str | None
    free_bytes: int
    open_files: int
    gpus: int
    nccl: bool


def look(store: str, run: str, identifier: str) -> NodeFacts:
    """The facts of this node; answers the driver's `run` in the store, if any, by a file."""
    from trainers.extensions.code_digest import source_digest

    nonce, problem = _meet(store, run, identifier)
    gpus, nccl = _accelerators()
    return NodeFacts(
        host=socket.gethostname(),
        python=platform.python_version(),
        versions={name: _version(name) for name in ("torch", "ray", "numpy")},
        source_digest=source_digest(),
        nonce=nonce,
        problem=problem,
        free_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        gpus=gpus,
        nccl=nccl,
    )


def clock() -> float:
    """Seconds since 1970, as this node has it."""
    return time.time()


def answer(run: str, identifier: str) -> str:
    """Path in the store of a node's answer to a driver's run."""
    return f"{ANSWERS}/doctor-{run}-{identifier}"


def _meet(store: str, run: str, identifier: str) -> tuple[bool, str | None]:
    from trainers.store.store import Store
    from trainers.trial.trial import ForeignStoreError, check_store

    if not store:
        return False, None
    try:
        place = Store(store)
        check_store(place, run)
        place.root.write(answer(run, identifier), b"here")
    except ForeignStoreError:
        return False, None
    except Exception as error:
        # Each file system has errors of its own; the driver prints whatever it is.
        return False, f"{type(error).__name__}: {error}"
    return True, None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _accelerators() -> tuple[int, bool]:
    try:
        import torch
    except ImportError:
        return 0, False
    return torch.cuda.device_count(), torch.distributed.is_nccl_available()

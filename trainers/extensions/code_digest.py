"""The digest by which a worker checks that it runs the same code as its driver."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("analysis", "study", "trainers")


class ForeignCodeError(RuntimeError):
    """A worker has other sources than the driver that sent it work."""


@cache
def source_digest() -> str:
    """SHA-256 over the sources of the three packages, whatever their locations.

    It is that of the first call in this process, which a driver makes before it trains.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for place in () if spec is None else spec.submodule_search_locations or ():
            root = Path(place)
            for path in sorted(root.rglob("*.py")):
                # Hidden files are not run: copies of notebooks, or lock files of editors.
                if any(part.startswith(".") for part in path.relative_to(root).parts):
                    continue
                digest.update(f"{package}/{path.relative_to(root).as_posix()}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def check_sources(wanted: str) -> None:
    """Raise ForeignCodeError unless this process has the sources of digest `wanted`."""
    digest = source_digest()
    if digest != wanted:
        spec = find_spec("trainers")
        place = "nowhere" if spec is None else spec.origin
        raise ForeignCodeError(
            f"this worker would run other code ({digest[:12]}, {place}) than its driver "
            f"({wanted[:12]}): run again if sources were edited after the run began; else install "
            "archprior's same version on the nodes, or uninstall it there"
        )

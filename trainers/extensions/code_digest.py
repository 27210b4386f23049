"""The digest by which a worker knows that it runs the code that its driver runs."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("analysis", "study", "trainers")


class ForeignCodeError(RuntimeError):
    """A worker has other sources than the driver that sent it work."""


def source_digest() -> str:
    """SHA-256 over the sources of the three packages, the same wherever each of them lies."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for place in () if spec is None else spec.submodule_search_locations or ():
            root = Path(place)
            for path in sorted(root.rglob("*.py")):
                # What editors leave is not run: copies of notebooks, or links that lock a file.
                if any(part.startswith(".") for part in path.relative_to(root).parts):
                    continue
                digest.update(f"{package}/{path.relative_to(root).as_posix()}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def check_sources(wanted: str) -> None:
    """Raise ForeignCodeError unless this process has the sources of digest `wanted`."""
    own = source_digest()
    if own != wanted:
        spec = find_spec("trainers")
        place = "nowhere" if spec is None else spec.origin
        raise ForeignCodeError(
            f"this worker would run other code ({own[:12]}, {place}) than its driver "
            f"({wanted[:12]}): uninstall archprior on the nodes, or install the same version"
        )

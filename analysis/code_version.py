"""The version of the code and of the libraries that make tables from measurements."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "matplotlib")
_ROOT = Path(__file__).resolve().parent


@cache
def code_version() -> str:
    """Digest of this package's files and of the versions of the libraries that it computes with.

    Tables, figures and pages that were made with another are made anew.
    """
    digest = hashlib.sha256()
    for path in sorted(_ROOT.rglob("*")):
        parts = path.relative_to(_ROOT).parts
        if path.is_file() and "__pycache__" not in parts and not parts[-1].startswith("."):
            digest.update("/".join(parts).encode())
            digest.update(path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library}={metadata.version(library)}".encode())
    return digest.hexdigest()[:16]

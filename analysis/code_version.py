"""The version of the code and of the libraries that make tables from measurements."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "matplotlib")
_ROOT = Path(__file__).resolve().parent


def _digest_of_files() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(_ROOT.rglob("*")):
        parts = path.relative_to(_ROOT).parts
        if path.is_file() and "__pycache__" not in parts and not parts[-1].startswith("."):
            digest.update("/".join(parts).encode())
            digest.update(path.read_bytes())
    return digest.digest()


#: Digest of the files when the process imported the first module of the package. Tables are made
#: at the end of a run, which may be days later.
_AT_START = _digest_of_files()


@cache
def code_version() -> str:
    """Digest of this package's files and of the versions of the libraries that it computes with.

    Tables, figures and pages that were made with another are made anew. It is that of the files as
    the process began; where they have changed since, modules may be of either, and it is of both.
    """
    from importlib import metadata

    digest = hashlib.sha256(_AT_START)
    now = _digest_of_files()
    if now != _AT_START:
        digest.update(now)
    for library in _LIBRARIES:
        digest.update(f"{library}={metadata.version(library)}".encode())
    return digest.hexdigest()[:16]

"""The documentation's site, built as `make docs` builds it, from pages that a test may change."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def copied(folder: Path) -> Path:
    """The pages, and what they include, copied into a folder; returns that of the pages."""
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return Path(shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("generated")))


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of pages into a folder, with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    return subprocess.run(
        [*command, "-b", "html", "-c", str(docs / "site"), str(docs), str(site)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder on loopback as `python -m http.server` does; gives its URL."""
    handler = partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()

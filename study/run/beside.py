"""Python processes that a run starts beside its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_SOURCES = Path(__file__).resolve().parents[2]


def start(module: str, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    """Start `python -m module arguments` with the sources of this process; `pipes` are of `Popen`.

    It is in a session of its own: a signal for the run at a terminal does not reach it.
    """
    environment = dict(os.environ)
    paths = filter(None, [str(_SOURCES), environment.get("PYTHONPATH")])
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE, env=environment, text=True, start_new_session=True, **pipes,
    )  # fmt: skip

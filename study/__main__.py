"""The command line `archprior`, which is also `python -m study`."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it without a traceback, while it is imported too."""
    try:
        from study.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run()
    finally:
        # Python would look at all objects, of MLflow, Ray and PyTorch, for two seconds as it ends.
        gc.freeze()


if __name__ == "__main__":
    main()

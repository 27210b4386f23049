"""What tests ask of a store's files."""

from __future__ import annotations

from pathlib import Path


def finished(store: Path) -> dict[str, int]:
    """When each replicate of a store was finished, in nanoseconds, by its id."""
    paths = (store / "replicates").glob("*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in paths}

"""JSON files that hold a mapping, whatever their bytes are."""

from __future__ import annotations

import json
from typing import Any


def parse(content: bytes) -> dict[str, Any]:
    """The mapping in a JSON file; raises ValueError where it holds none."""
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, no mapping")
    return found

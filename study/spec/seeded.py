"""A spec as written, set to other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def at_seeds(content: Mapping[str, Any], name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The spec of a study `name` that is `content` at these seeds alone, in each of its grids."""
    found = _without_seeds(content) | {"name": name, "seeds": list(seeds)}
    if "grids" in content:
        found["grids"] = [_without_seeds(grid) for grid in content["grids"]]
    return found


def tuning_seeds(content: Mapping[str, Any]) -> set[int]:
    """Seeds that a search of the spec names for its trials, in each of its grids."""
    searches = [each.get("search") for each in (content, *content.get("grids", ()))]
    named = [each.get("seeds") for each in searches if isinstance(each, Mapping)]
    return {seed for seeds in named if isinstance(seeds, list) for seed in seeds}


def _without_seeds(content: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in content.items() if key != "seeds"}
    if isinstance(found.get("axes"), Mapping):
        found["axes"] = {key: value for key, value in found["axes"].items() if key != "seeds"}
    return found

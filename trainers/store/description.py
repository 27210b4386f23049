"""`condition.json` of a replicate: its condition and seed, and the user's modules that it needs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import to_json
from trainers.conditions.ids import origins
from trainers.errors import UserError
from trainers.registry import Component, Registry
from trainers.tasks import TASKS


def of(condition: Condition, seed: int) -> dict[str, Any]:
    """Content of the file; pretrained weights that are only evaluated have no seed."""
    return to_json(condition) | _beside(condition, seed)


def is_of(content: Mapping[str, Any], condition: Condition, seed: int) -> bool:
    """Whether what stands beside the condition in the file is that of this one."""
    wanted = _beside(condition, seed)
    return all(content.get(name) == wanted.get(name) for name in ("seed", "imports"))


def check_imported(identifier: str, condition: Condition, imports: Mapping[str, str]) -> None:
    """Warn where a user's module has other sources now; UserError where it is not imported."""
    listed = " and ".join(f"{name} (digest {digest})" for name, digest in imports.items())
    parts: list[tuple[Registry[Any], Component]] = [
        (TASKS, condition.task),
        (ARCHITECTURES, condition.target),
    ]
    for registry, component in parts if imports else ():
        if component.name not in registry.names():
            raise UserError(
                f"replicate {identifier}: {registry.kind} {component.name!r} is not known; it was "
                f"trained with the user's module {listed}: import that first "
                f"(trainers.extensions.load, or import with its folder in sys.path)"
            )
        origin = registry[component.name].origin
        if origin is not None and imports.get(origin.name, origin.digest) != origin.digest:
            warnings.warn(
                f"replicate {identifier} was trained with {listed}, and {origin.name} has digest "
                f"{origin.digest} now: {registry.kind} {component.name!r} may be another",
                stacklevel=3,
            )


def _beside(condition: Condition, seed: int) -> dict[str, Any]:
    imports = origins(condition)
    alone = {"seed": seed if condition.weights is None else None}
    return alone | ({"imports": imports} if imports else {})

"""Conditions of rivals: each with a target that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.helpers.conditions import guidance_of
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.guidance import Guide
from trainers.conditions.schedule import Schedule
from trainers.guides import pretrained
from trainers.rivals import RIVALS, build
from trainers.training.setup import RunSetup, initial

MakeCondition = Callable[..., Condition]

#: A network with attention for tokens.
TRANSFORMER: Any = ("transformer", {"depth": 1, "width": 8, "heads": 2, "feed_forward": 8})
#: Options of rivals whose defaults do not fit the tiny networks of the tests.
OPTIONS: dict[str, dict[str, Any]] = {"aligned_start": {"steps": 2}}


def treated(
    make: MakeCondition,
    name: str,
    folder: Path,
    *,
    control: str = "none",
    guide_control: str = "none",
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Condition:
    """A tiny condition treated by a rival; weights that it starts from are a file in `folder`.

    `control` takes the place of its prior, `guide_control` that of its guide.
    """
    condition = make("token" if name == "mimetic" else "image", **settings)
    if name == "mimetic":
        network, sizes = TRANSFORMER
        condition = replace(condition, target=ARCHITECTURES.component(network, **sizes))
    method = RIVALS.component(name, **OPTIONS.get(name, {}) | (options or {}))
    rival, parts = build(method), dict[str, Any]()
    if rival.takes_weights:
        network = initial(RunSetup.of(condition, 99))
        save_file(network.state_dict(), folder / "start.safetensors")
        parts["weights"] = pretrained.of_file(folder / "start.safetensors")
    if rival.align_first is not None:
        guide = Guide(
            architecture=ARCHITECTURES.component("resnet2d", width=2, blocks=1),
            state="untrained", batch_norm="calibrated",
        )  # fmt: skip
        parts["guidance"] = guidance_of(
            guide=guide, control=guide_control, schedule=Schedule(align_first=rival.align_first)
        )
    return replace(condition, treatment=Rival(method=method, control=control, **parts))


def started(condition: Condition, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a replicate before its first step, without those that come from a file."""
    return dict(initial(RunSetup.of(condition, seed)).named_parameters())

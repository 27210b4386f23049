"""Published weights of torchvision and timm, by name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from trainers.errors import UserError
from trainers.registry import Component, UnknownNameError

#: Architectures that wrap a library; their option `model` names one of its networks.
_LIBRARIES = ("torchvision", "timm")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def content_of(architecture: Component, name: str) -> str:
    """The content `library/model/name` of the weights `name` of an architecture; no look-up.

    An architecture that wraps no library is torchvision's network of the same name. Raises
    UserError if the name is not well formed.
    """
    library, model = "torchvision", architecture.name
    if architecture.name in _LIBRARIES:
        library, model = architecture.name, str(architecture.kwargs.get("model"))
    for part in (model, name):
        if not _NAME.fullmatch(part):
            raise UserError(
                f"{part!r} is no name of published weights, and no file of weights either: those "
                "end in .safetensors, .pt or .pth"
            )
    return f"{library}/{model}/{name}"


def fetch(content: str) -> dict[str, Tensor]:
    """The state dict of `library/model/name`, downloaded if the library has no copy here.

    Raises UserError with a remedy.
    """
    library, model, name = content.split("/")
    return _from_timm(model, name) if library == "timm" else _from_torchvision(model, name)


def _from_torchvision(model: str, name: str) -> dict[str, Tensor]:
    models = _module(
        "torchvision.models", "torchvision", "pip install 'archprior[vision]', or give a file"
    )
    try:
        entries = models.get_model_weights(model).__members__
    except ValueError as error:
        raise UserError(f"torchvision has no network {model!r}; give a file") from error
    if name not in entries:
        raise UnknownNameError(f"weights of torchvision's {model}", name, list(entries))
    url = entries[name].url
    try:
        state = entries[name].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        raise UserError(
            f"cannot load {url}: {error}; put that file at {place}, or give a file of your own"
        ) from error
    return dict(state)


def _from_timm(model: str, name: str) -> dict[str, Tensor]:
    timm = _module("timm", "timm", "pip install timm, or give a file")
    try:
        network = timm.create_model(f"{model}.{name}", pretrained=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"timm cannot load {model}.{name}: {error}; without network, give a file"
        ) from error
    return dict(network.state_dict())


def _module(path: str, package: str, remedy: str) -> Any:
    try:
        return importlib.import_module(path)
    except ImportError as error:
        raise UserError(f"{package} is not installed; {remedy}") from error

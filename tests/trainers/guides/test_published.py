"""Weights by the name under which torchvision and timm publish them."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.architectures import ARCHITECTURES
from trainers.conditions.weights import Weights
from trainers.guides import pretrained, published
from trainers.store.store import Store


@pytest.fixture
def state() -> dict[str, Tensor]:
    """What a publisher has."""
    return torch.nn.Linear(3, 2).state_dict()


class _FakeEntry:
    url = "https://example.org/resnet2d-0123abcd.pth"

    def __init__(self, state: dict[str, Tensor] | Exception) -> None:
        self._state = state

    def get_state_dict(self, **options: Any) -> dict[str, Tensor]:
        assert options == {"progress": False, "check_hash": True, "weights_only": True}
        if isinstance(self._state, Exception):
            raise self._state
        return self._state


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a torchvision in place that has one network, and weights `V1` for it."""

    def put(state: dict[str, Tensor] | Exception) -> None:
        entries = Enum("Weights", {"V1": _FakeEntry(state)})

        def get_model_weights(model: str) -> Any:
            if model != "resnet2d":
                raise ValueError(f"Unknown model {model}")
            members = {e.name: e.value for e in entries}
            return types.SimpleNamespace(__members__=members)

        models: Any = types.ModuleType("torchvision.models")
        models.get_model_weights = get_model_weights
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.models", models)

    return put


def test_names_tell_library_and_network() -> None:
    plain = ARCHITECTURES.component("resnet2d")
    assert published.content_of(plain, "IMAGENET1K_V1") == "torchvision/resnet2d/IMAGENET1K_V1"
    other = replace(plain, name="timm", options=(("model", "vit_base"),))
    assert published.content_of(other, "a1_in1k") == "timm/vit_base/a1_in1k"
    for name in ("..", "a/b", "weights.onnx/x", ""):
        with pytest.raises(ValueError, match=r"no name of published weights, and no file"):
            published.content_of(plain, name)


def test_published_weights_pass_through_the_store(
    torchvision: Callable[..., None], state: dict[str, Tensor], tmp_path: Path
) -> None:
    torchvision(state)
    weights = Weights(content="torchvision/resnet2d/V1", name="V1")
    tensors = pretrained.obtain(weights)
    pretrained.put(Store(tmp_path), weights, tensors)
    torchvision(OSError("no network"))
    found = pretrained.stored(Store(tmp_path), weights)
    assert found is not None
    assert pretrained.digest_of(found) == pretrained.digest_of(state)


def test_what_published_weights_lack_is_said(
    torchvision: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision(OSError("no route to host"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/hub")
    with pytest.raises(
        ValueError,
        match=r"cannot load https://example.org/resnet2d-0123abcd.pth: no route to host; put that "
        r"file at /hub/checkpoints/resnet2d-0123abcd.pth",
    ):
        published.fetch("torchvision/resnet2d/V1")
    with pytest.raises(ValueError, match=r"torchvision's resnet2d 'V2' \(known: V1\)"):
        published.fetch("torchvision/resnet2d/V2")
    with pytest.raises(ValueError, match="torchvision has no network 'fcn'"):
        published.fetch("torchvision/fcn/V1")
    for name in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"torchvision is not installed; pip install 'archprior\["):
        published.fetch("torchvision/resnet2d/V1")
    with pytest.raises(ValueError, match="timm is not installed; pip install timm"):
        published.fetch("timm/resnet18/a1_in1k")


def test_timm_is_asked_for_a_model_and_its_tag(
    state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def create_model(name: str, *, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        return types.SimpleNamespace(state_dict=lambda: state)

    timm: Any = types.ModuleType("timm")
    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert published.fetch("timm/resnet18/a1_in1k").keys() == state.keys()
    assert asked == [("resnet18.a1_in1k", True)]


@pytest.mark.vision
def test_torchvision_loads_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = importlib.import_module("torchvision.models")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: os.fspath(tmp_path))
    url = models.get_model_weights("resnet18")["IMAGENET1K_V1"].url
    network = models.resnet18()
    cached = tmp_path / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir()
    torch.save(network.state_dict(), cached)
    found = published.fetch("torchvision/resnet18/IMAGENET1K_V1")
    assert pretrained.digest_of(found) == pretrained.digest_of(network.state_dict())
    with pytest.raises(ValueError, match="unknown weights of torchvision's resnet18 'IMAGENET_V1'"):
        published.fetch("torchvision/resnet18/IMAGENET_V1")
    with pytest.raises(ValueError, match="torchvision has no network 'fcn'"):
        published.fetch("torchvision/fcn/V1")

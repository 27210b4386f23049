"""Classification models of torchvision and timm by name, with taps that the paper's rule finds.

They begin at random weights and have their library's module names. Their modules do not work in
place, so that no output is overwritten.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd
from torch.overrides import TorchFunctionMode

from trainers.architectures import Network, register
from trainers.errors import UserError
from trainers.registry import UnknownNameError
from trainers.tasks import InputSpec, OutputSpec

#: Types of modules whose outputs the paper aligns.
RECORDED = (
    _ConvNd, nn.Linear, _AdaptiveAvgPoolNd, nn.LSTM, nn.RNN, nn.TransformerDecoderLayer,
    nn.LayerNorm, nn.MultiheadAttention,
)  # fmt: skip

EXTRA = "archprior[vision]"

#: Options that build these models without their auxiliary classifiers.
_WITHOUT_AUXILIARY = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
#: Functions that make values which a constructor may read, such as sizes of layers and positions.
_VALUES = (torch.arange, torch.linspace, torch.logspace, torch.tensor, torch.as_tensor)
#: Examples of the forward pass that finds taps: a size that other dimensions seldom have.
_PROBE = 3


def paper_taps(module: nn.Module, input: Tensor) -> tuple[str, ...]:
    """Submodules that the paper records in a forward pass of `input` (batch, ...), in call order.

    Modules of the types `RECORDED`, each once, without the last one, which gives the logits, and
    without modules whose output is not (batch, ...), such as windows of images or tables of
    positions. A module that holds others comes after them, when it returns.

    Raises UserError if none is left.
    """
    called: dict[str, None] = {}

    def hook(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if len(first) == len(input):
                called.setdefault(name)

        return keep

    recorded = [(name, part) for name, part in module.named_modules() if isinstance(part, RECORDED)]
    handles = [part.register_forward_hook(hook(name)) for name, part in recorded if name]
    try:
        with torch.no_grad():
            module(input)
    finally:
        for handle in handles:
            handle.remove()
    taps = tuple(called)[:-1]
    if not taps:
        kinds = ", ".join(kind.__name__.strip("_") for kind in RECORDED)
        raise UserError(f"no taps in {type(module).__name__}: it needs two or more of {kinds}")
    return taps


@register("torchvision", inputs=("image",), needs=EXTRA)
def torchvision(input: InputSpec, output: OutputSpec, *, model: str = "resnet18") -> Network:
    """A classification model of torchvision, for images of 3 channels; taps by the paper's rule."""
    models = _library("torchvision", "torchvision.models")
    known = models.list_models(module=models)
    if model not in known:
        raise UnknownNameError("model of architecture torchvision:", model, known)
    if input.shape[0] != 3:
        raise UserError(
            f"architecture torchvision: its models take images of 3 channels, and the task's have "
            f"{input.shape[0]}; architecture timm takes any number"
        )
    return _network("torchvision", model, input, output)


@register("timm", inputs=("image",), needs=EXTRA)
def timm(input: InputSpec, output: OutputSpec, *, model: str = "resnet18") -> Network:
    """A classification model of timm, for any number of channels; taps by the paper's rule."""
    known = _library("timm", "timm").list_models()
    if model not in known:
        raise UnknownNameError("model of architecture timm:", model, known)
    return _network("timm", model, input, output)


def _library(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"architecture {name}: {name} cannot be imported ({error}); pip install '{EXTRA}'"
        ) from error


def _network(name: str, model: str, input: InputSpec, output: OutputSpec) -> Network:
    taps = _taps(name, model, input.shape, output.num_outputs)
    network = cast(Network, _made(name, model, input.shape, output.num_outputs))
    network.taps = taps
    return network


@lru_cache(maxsize=64)
def _taps(name: str, model: str, shape: tuple[int, ...], num_classes: int) -> tuple[str, ...]:
    """Taps of a model; raises UserError if it does not turn images of this shape into logits."""
    with torch.device("meta"):
        images = torch.empty(_PROBE, *shape)
        try:
            module = _made(name, model, shape, num_classes)
            answers = [module.train()(images), module.eval()(images)]
        except Exception as error:
            raise UserError(
                f"architecture {name}: model {model!r} does not take images of shape {shape}: "
                f"{error}"
            ) from error
        for answer in answers:
            if not isinstance(answer, Tensor) or answer.shape != (_PROBE, num_classes):
                given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
                raise UserError(
                    f"architecture {name}: model {model!r} answers with {given}, not with logits "
                    f"(batch, {num_classes}); use another model"
                )
        return paper_taps(module, images)


def _made(name: str, model: str, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The model with fresh weights, on PyTorch's default device."""
    device = torch.empty(0).device
    with _ValuesOnCPU():
        module = _MAKERS[name](model, shape, num_classes).to(device)
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    return module


def _make_torchvision(model: str, _shape: tuple[int, ...], num_classes: int) -> nn.Module:
    from torchvision import models

    options = {"num_classes": num_classes} | _WITHOUT_AUXILIARY.get(model, {})
    module: nn.Module = models.get_model(model, weights=None, **options)
    return module


def _make_timm(model: str, shape: tuple[int, ...], num_classes: int) -> nn.Module:
    import timm as library

    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": shape[0]}
    config = library.get_pretrained_cfg(model)
    if config is not None and config.fixed_input_size:
        options["img_size"] = shape[1:]
    module: nn.Module = library.create_model(model, pretrained=False, **options)
    return module


_MAKERS = {"torchvision": _make_torchvision, "timm": _make_timm}


class _ValuesOnCPU(TorchFunctionMode):
    """Computes values that constructors read on the CPU while networks are built on meta."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _VALUES and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "cpu"}
        return func(*args, **kwargs)

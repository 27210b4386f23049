"""Refuses networks that no machine can hold while they are built on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from trainers.architectures import ARCHITECTURES
from trainers.errors import UserError
from trainers.registry import Component

#: 4 TB in float32, before gradients and an optimiser.
MAX_PARAMETERS = 10**12
#: More parameter tensors take longer to build than anybody waits; deep networks have thousands.
MAX_TENSORS = 50_000


class SizeError(UserError):
    """A network that no machine can hold; the message has its label and its parameters."""


@contextmanager
def bounded(architecture: Component) -> Iterator[None]:
    """Watch the network that is built inside; raises SizeError as soon as it is too large."""
    label = ARCHITECTURES.label(architecture)
    tensors, total = 0, 0

    def count(_module: nn.Module, _name: str, parameter: Tensor | None) -> None:
        nonlocal tensors, total
        if parameter is None or is_lazy(parameter):
            return
        tensors, total = tensors + 1, total + parameter.numel()
        if total > MAX_PARAMETERS:
            raise SizeError(
                f"architecture {label}: {total:,} parameters or more; allowed: {MAX_PARAMETERS:,}"
            )
        if tensors > MAX_TENSORS:
            raise SizeError(
                f"architecture {label}: more than {MAX_TENSORS:,} tensors of parameters "
                f"({total:,} parameters so far); give fewer layers"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except RuntimeError as error:
        if "overflow" not in str(error).lower():
            raise
        raise SizeError(
            f"architecture {label}: more parameters than can be counted; allowed: "
            f"{MAX_PARAMETERS:,}"
        ) from error
    finally:
        hook.remove()

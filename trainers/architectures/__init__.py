"""Architectures: constructors of networks for a task's input and output, with named taps.

One architecture (or one family) is one file of this package; `base` says what one is.
"""

from trainers.architectures.base import (
    ARCHITECTURES,
    LOGITS,
    Factory,
    Network,
    NetworkError,
    TapPlace,
    blueprint,
    build,
    check_input,
    register,
    without_values,
)

__all__ = [
    "ARCHITECTURES",
    "LOGITS",
    "Factory",
    "Network",
    "NetworkError",
    "TapPlace",
    "blueprint",
    "build",
    "check_input",
    "register",
    "without_values",
]

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
    build,
    build_on_meta,
    check_input,
    on_meta,
    register,
)

__all__ = [
    "ARCHITECTURES",
    "LOGITS",
    "Factory",
    "Network",
    "NetworkError",
    "TapPlace",
    "build",
    "build_on_meta",
    "check_input",
    "on_meta",
    "register",
]

"""Options that make large architectures small, in tests of every architecture."""

from __future__ import annotations

from typing import Any

REDUCED: dict[str, dict[str, Any]] = {
    "deep_fcn": {"depth": 3, "first_width": 32, "width": 16},
    "wide_fcn": {"width": 16},
    "resnet18": {"width": 4},
    "resnet50": {"width": 4},
    "plain_resnet18": {"width": 4},
    "plain_resnet50": {"width": 4},
    "vit_b_16": {"depth": 2, "width": 16, "heads": 2, "mlp": 32},
}

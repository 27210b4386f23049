"""Knowledge distillation: the target's answers come close to the guide's.

Hinton et al. 2015, section 2. With softened answers `p = softmax(logits / T)`:

    distance = T^2 * mean over rows of sum over classes of p_guide (log p_guide - log p_target)

`T^2` keeps the size of gradients whatever the temperature. With the task's cross-entropy and alpha
`w / (1 - w)` this is, up to one factor, their loss with weight w on the soft targets.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from trainers.distances import Distance, register


@register(
    "distillation",
    invariances=(),
    cost="n p",
    source="Hinton et al. 2015, Distilling the Knowledge in a Neural Network",
    bias="none: a mean over rows",
)
class Distillation(Distance):
    """Kullback-Leibler divergence from the guide's softened answers to the target's, times T^2.

    Features are logits (n, classes); raises ValueError if the numbers of classes differ.
    """

    of_logits = True
    needs_classes = True
    min_rows = 1

    def __init__(self, *, temperature: float = 4.0) -> None:
        if temperature <= 0:
            raise ValueError(
                f"distance distillation: temperature is {temperature}; allowed: above 0"
            )
        self.temperature = temperature

    def check_shapes(self, n: int, p: int, q: int) -> None:
        """Raise ValueError if guide and target have different numbers of classes."""
        super().check_shapes(n, p, q)
        if p != q:
            raise ValueError(
                f"distance distillation: the target answers among {p} classes, the guide among {q}"
            )

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        """Distances (...) of logits `target` (..., n, classes) to logits `guide` of that shape."""
        self.check_shapes(target.shape[-2], target.shape[-1], guide.shape[-1])
        log_guide = functional.log_softmax(guide / self.temperature, -1)
        log_target = functional.log_softmax(target / self.temperature, -1)
        divergence: Tensor = (log_guide.exp() * (log_guide - log_target)).sum(-1).mean(-1)
        return divergence * self.temperature**2

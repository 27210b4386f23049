"""Features that the tests of distances share."""

import numpy as np
import torch
from torch import nn


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def correlated(n, p=10, q=8, seed=0):
    """Target and guide features that share a part."""
    both = normal(n, 4, seed=seed) @ normal(4, p + q, seed=seed + 1)
    both += normal(n, p + q, seed=seed + 2)
    return both[:, :p].contiguous(), both[:, p:].contiguous()


def check_values():
    """The features that published check values are for."""
    random = np.random.RandomState(1337)
    left = random.randn(100, 10)
    return torch.from_numpy(left), torch.from_numpy(random.randn(100, 10) + left)


def _low_rank():
    return normal(24, 2) @ normal(2, 9, seed=1), normal(24, 3, seed=2) @ normal(3, 40, seed=3)


def _duplicated():
    target, guide = correlated(12, 5, 6)
    return target.repeat(2, 2), guide.repeat(2, 2)


def _ill_conditioned():
    target, guide = correlated(40, 8, 9)
    return target * torch.logspace(0, -3, 8), guide * torch.logspace(-3, 0, 9)


def _large_mean():
    target, guide = correlated(30)
    return target + 1000, guide - 1000


#: Target and guide features (float64, but exact in float32) by what is hard about them.
DATA = {
    name: tuple(tap.float().double() for tap in taps)
    for name, taps in {
        "independent": (normal(30, 7), normal(30, 12, seed=1)),
        "correlated": correlated(40),
        "wide": correlated(16, 50, 30),
        "mixed": correlated(16, 6, 40),
        "one feature": correlated(20, 1, 1),
        "low rank": _low_rank(),
        "duplicated": _duplicated(),
        "ill-conditioned": _ill_conditioned(),
        "large mean": _large_mean(),
    }.items()
}


def value_and_gradient(distance, target, guide):
    target = target.clone().requires_grad_()
    value = distance(target, guide)
    value.backward()
    return value.item(), target.grad


def deep_features():
    """Features of each layer of an untrained network, whose inputs converge to one point."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(96, 96) for _ in range(50)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data.uniform_(-(96**-0.5), 96**-0.5, generator=generator)
    x, taps = normal(64, 96, dtype=torch.float32), []
    with torch.no_grad():
        for layer in layers:
            x = layer(x).relu()
            taps.append(x)
    return taps

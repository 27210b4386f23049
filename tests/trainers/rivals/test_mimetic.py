"""Mimetic starts: products of attention weights, and networks without attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.rivals import started, treated
from trainers import rivals, tasks
from trainers.architectures import ARCHITECTURES, build, build_on_meta
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.rivals import RIVALS
from trainers.tasks import InputSpec, OutputSpec

MakeCondition = Callable[..., Condition]

IMAGE = InputSpec(kind="image", shape=(1, 8, 8))
WIDTH, HEADS = 24, 3


def test_products_are_multiples_of_the_identity_without_noise() -> None:
    rival = rivals.build(RIVALS.component("mimetic", query_key_noise=0.0, value_noise=0.0))
    vit = ARCHITECTURES.component("vit", patch=4, depth=2, width=WIDTH, heads=HEADS, mlp=8)
    network = build(vit, IMAGE, OutputSpec(num_classes=2))
    rival.initialise(network, tasks.build(tasks.TASKS.component("digits")))
    layers = [m for m in network.modules() if isinstance(m, torch.nn.MultiheadAttention)]
    assert len(layers) == 2
    for layer in layers:
        query, key, value = layer.in_proj_weight.view(3, WIDTH, WIDTH)
        for head in range(HEADS):
            rows = slice(head * 8, head * 8 + 8)
            product = query[rows].T @ key[rows]
            # Of a head's width: the identity on a part of the space.
            torch.testing.assert_close(product @ product, 0.7 * product, atol=1e-5, rtol=0)
            assert product.trace().item() == pytest.approx(0.7 * 8, rel=1e-4)
        # A linear layer multiplies by its transposed weight.
        whole = value.T @ layer.out_proj.weight.T
        torch.testing.assert_close(whole, -0.4 * torch.eye(WIDTH), atol=1e-5, rtol=0)


def test_noise_has_the_stated_size(make: MakeCondition, tmp_path: Path) -> None:
    wide = ARCHITECTURES.component("transformer", depth=1, width=128, heads=1, feed_forward=8)
    condition = replace(treated(make, "mimetic", tmp_path), target=wide)
    weights = started(condition)
    query, key, value = weights["blocks.block1.query_key_value.weight"].view(3, 128, 128)
    product = query.T @ key
    assert product.diagonal().mean().item() == pytest.approx(0.7, abs=0.03)
    assert (product - 0.7 * torch.eye(128)).std().item() == pytest.approx(0.7 / 128**0.5, rel=0.05)
    whole = value.T @ weights["blocks.block1.projection.weight"].T
    assert whole.diagonal().mean().item() == pytest.approx(-0.4, abs=0.02)
    assert (whole + 0.4 * torch.eye(128)).std().item() == pytest.approx(0.4 / 128**0.5, rel=0.05)


def test_a_network_without_attention_is_refused(make: MakeCondition, tmp_path: Path) -> None:
    treatment = treated(make, "mimetic", tmp_path).rival
    assert treatment is not None
    plain = make()
    task = tasks.build(plain.task)
    with pytest.raises(UserError, match="mimetic takes networks with self-attention"):
        rivals.check(treatment, build_on_meta(plain.target, task.input, task.output), task)

"""The control `input` on tokens of large vocabularies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainers import distances
from trainers.controls.input import (
    LARGE_VOCABULARY,
    PROJECTED,
    InputSource,
    geometry,
    geometry_width,
)
from trainers.distances import DISTANCES
from trainers.tasks import InputSpec


def spec(vocabulary: int) -> InputSpec:
    return InputSpec(kind="tokens", shape=(8,), vocabulary=vocabulary)


def exact(tokens: Tensor, vocabulary: int) -> Tensor:
    """One-hot token beside one-hot position."""
    position = torch.eye(tokens.shape[1]).expand(len(tokens), -1, -1)
    return torch.cat([functional.one_hot(tokens, vocabulary).float(), position], -1)


def zipf(vocabulary: int) -> Tensor:
    """Tokens (64, 8) that are as uneven as words are."""
    weights = 1 / torch.arange(1.0, vocabulary + 1)
    drawn = torch.multinomial(
        weights, 512, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    return drawn.view(64, 8)


@pytest.mark.parametrize("vocabulary", [10, LARGE_VOCABULARY])
def test_small_vocabularies_are_one_hot(vocabulary: int) -> None:
    tokens = zipf(vocabulary)
    assert torch.equal(geometry(tokens, spec(vocabulary)), exact(tokens, vocabulary))


def test_large_vocabularies_are_projected() -> None:
    tokens = zipf(30_000)
    features = geometry(tokens, spec(30_000))
    assert features.shape == (64, 8, PROJECTED + 8)
    signs = features[..., :PROJECTED].unique().tolist()
    assert signs == pytest.approx([-(PROJECTED**-0.5), PROJECTED**-0.5])
    assert torch.equal(features[..., PROJECTED:], exact(tokens, 30_000)[..., 30_000:])
    torch.testing.assert_close(features.square().sum(-1), torch.full((64, 8), 2.0))
    same = tokens[..., None] == tokens[:, None]
    products = features[..., :PROJECTED] @ features[..., :PROJECTED].mT
    # One standard deviation is 1 / sqrt(512) = .044.
    assert (products - same.float()).abs().max() < 6 * PROJECTED**-0.5
    assert (products - same.float()).square().mean().sqrt() < 1.1 * PROJECTED**-0.5


def test_projected_tokens_have_nearly_the_cka_of_one_hot_tokens() -> None:
    vocabulary = 1500
    tokens = zipf(vocabulary)
    near, far = geometry(tokens, spec(vocabulary)), exact(tokens, vocabulary)
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(vocabulary, 32, generator=generator)
    target = table[tokens] + 0.5 * torch.randn(64, 8, 32, generator=generator)
    cka = distances.build(DISTANCES.component("linear_cka", unbiased=True))
    rows = [part.flatten(0, 1) for part in (target, near, far)]
    assert cka(rows[1], rows[2]).item() < 0.05
    assert cka(rows[0], rows[1]).item() == pytest.approx(cka(rows[0], rows[2]).item(), abs=0.02)


def test_a_projection_made_in_inference_serves_training() -> None:
    tokens = zipf(1300)
    source = InputSource(("tap",), spec(1300))
    with torch.inference_mode():
        source.evaluate(tokens, tokens)
    features = source.evaluate(tokens, tokens)["tap"]
    weight = torch.zeros(PROJECTED + 8, requires_grad=True)
    (features @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, features.flatten(0, 1).sum(0))


@pytest.mark.parametrize("vocabulary", [3, LARGE_VOCABULARY, 30_000])
def test_its_width_is_known_without_it(vocabulary: int) -> None:
    tokens = torch.zeros(1, *spec(vocabulary).shape, dtype=torch.int64)
    assert geometry(tokens, spec(vocabulary)).shape[-1] == geometry_width(spec(vocabulary))
    image = InputSpec(kind="image", shape=(3, 4, 5))
    assert geometry(torch.zeros(1, 3, 4, 5), image).shape[-1] == geometry_width(image)

"""The control `input`: tokens of large vocabularies, and pixels at the places of taps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import trainers
from trainers import controls, distances, tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.controls import CONTROLS
from trainers.controls._one_hot import LARGE_VOCABULARY, PROJECTED
from trainers.controls.input import InputSource, geometry, geometry_width
from trainers.cost import flops
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.tasks import TASKS, InputSpec
from trainers.training.rehearsal import Rehearsal


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


@pytest.mark.parametrize("rows", ["examples", "pooled", "tokens", "positions"])
@pytest.mark.parametrize("kind", ["image", "token"])
def test_it_guides_convolutional_taps_in_all_rows(
    kind: str, rows: str, make: Callable[..., Condition]
) -> None:
    guidance: Any = {"rows": rows}
    condition = make(kind, control="input", state=None, guidance=guidance)
    if kind == "image":
        plain = ARCHITECTURES.component("plain_convnet2d", width=2, blocks=1)
        condition = replace(condition, target=plain)
    Rehearsal().try_out(condition)
    result = trainers.train(condition, report=lambda _: None)
    assert result.steps == 6
    assert flops.training(condition) > 0


def test_a_place_shows_its_cell_of_the_input(make: Callable[..., Condition]) -> None:
    task = tasks.build(TASKS.component("translated_digits", places=1))
    _, height, width = task.input.shape
    source = InputSource(("a", "b", "c"), task.input, {"a": (4, 4), "b": (), "c": (4, 4)})
    shown = source.evaluate(task.validation.inputs[:2], task.validation.labels[:2])
    assert shown["a"].shape == (2, height // 4 * (width // 4), 4, 4)
    assert shown["c"] is shown["a"]
    assert torch.equal(shown["b"], geometry(task.validation.inputs[:2], task.input))
    image = task.validation.inputs[0, 0]
    cell = image[height // 4 : 2 * (height // 4), : width // 4]
    assert torch.equal(shown["a"][0, :, 1, 0], cell.flatten())


def test_tokens_of_images_have_no_places() -> None:
    task = tasks.build(TASKS.component("translated_digits"))
    control = controls.build(CONTROLS.component("input"))
    tokens = {"block1": torch.empty(2, 17, 8, device="meta")}
    with pytest.raises(UserError, match="17 tokens, whose places in the image are not known"):
        control.shown(task, "tokens", tokens)
    assert control.shown(task, "pooled", tokens)["block1"].shape == (2, *[
        geometry_width(task.input)
    ])  # fmt: skip

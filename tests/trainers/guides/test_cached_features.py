"""What is kept of a guide: features, half features and Gram matrices say what the guide says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers import distances, tasks
from trainers.architectures import ARCHITECTURES, Network, build
from trainers.conditions.cache_form import Cache
from trainers.distances import GuideGrams
from trainers.guides import cached_features
from trainers.guides.cached_features import fill, opened
from trainers.guides.features import Cached
from trainers.guides.frozen import FrozenGuide
from trainers.tasks import TASKS

CPU = torch.device("cpu")
DIGITS = TASKS.component("translated_digits", places=1)
INDEX = torch.randperm(1297, generator=torch.Generator().manual_seed(3))[:60]


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class DeepPlain(Network):
    """Twelve linear layers and ReLUs as PyTorch initialises them: variance dies with depth."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten())
        for index in range(12):
            layer = nn.Sequential(nn.Linear(256 if index == 0 else 200, 200), nn.ReLU())
            self.layers.add_module(f"layer{index}", layer)
        self.taps = ("layers.layer2", "layers.layer6", "layers.layer9", "layers.layer11")

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.layers(inputs)
        return features


def frozen(network: Network | None = None) -> FrozenGuide:
    task = tasks.build(DIGITS)
    if network is None:
        resnet = ARCHITECTURES.component("resnet2d", width=4, blocks=2)
        network = build(resnet, task.input, task.output)
    return FrozenGuide(network, task, CPU)


def kept_of(guide: FrozenGuide, rows: Any = "examples", **form: Any) -> Cached:
    arrays: dict[str, Tensor] = {}

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        with torch.inference_mode(False):
            arrays[name] = torch.empty(tuple(shape), dtype=dtype)
        return arrays[name]

    cache = Cache(feature_bytes=0, **form)
    fill(guide, guide.task.train.inputs, None, rows, cache, allocate)
    return opened(cache, arrays, guide.taps)


def batch_of(guide: FrozenGuide, index: Tensor = INDEX, **form: Any) -> list[Tensor] | GuideGrams:
    features = kept_of(guide, **form).batch(index)
    assert features is not None
    if isinstance(features, GuideGrams):
        assert tuple(features.taps) == guide.taps
        return features
    assert tuple(features) == guide.taps
    return [output.flatten(1) for output in features.values()]


def distances_and_gradients(
    guides: list[Tensor] | GuideGrams, *, unbiased: bool, seed: int = 0
) -> Any:
    generator = torch.Generator().manual_seed(seed)
    count = len(guides.taps if isinstance(guides, GuideGrams) else guides)
    targets = [
        torch.randn(60, p, generator=generator).requires_grad_() for p in (20, 100, 20, 100, 20, 5)
    ][:count]
    meets = [[i] for i in range(len(targets))]
    distance = distances.create("linear_cka", unbiased=unbiased)
    if isinstance(guides, GuideGrams):
        each = distance.to_grams(targets, guides, meets)
    else:
        each = distance.all(targets, guides, meets)
    return each.detach(), torch.autograd.grad(each.sum(), targets)


def grams_of(features: Tensor, rows: int) -> GuideGrams:
    """What is kept of one tap, for its first rows."""
    n = len(features)
    gram, sizes = torch.empty(n, n), torch.empty(n)
    cached_features.fill_gram(features, gram, sizes)
    return GuideGrams(["a"], gram[None, :rows, :rows], sizes[None, :rows].sum(1))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("network", [None, DeepPlain])
@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ({"form": "gram"}, 1e-5),
        ({"form": "features"}, 1e-5),
        ({"form": "features", "dtype": "float16"}, 2e-3),
        ({"form": "gram", "dtype": "float16"}, 2e-3),
    ],
    ids=str,
)
def test_distances_are_those_of_the_guide(
    form: Any, precision: float, network: Any, unbiased: bool
) -> None:
    guide = frozen(None if network is None else network())
    inputs = guide.task.train.inputs[INDEX]
    live = [output.flatten(1).clone() for output in guide.forward(inputs).values()]
    # In float64, what the guide says is compared without rounding of the distance.
    exact, _ = distances_and_gradients([f.double().float() for f in live], unbiased=unbiased)
    each, gradients = distances_and_gradients(batch_of(guide, **form), unbiased=unbiased)
    _, expected = distances_and_gradients(live, unbiased=unbiased)
    torch.testing.assert_close(each, exact, rtol=0, atol=precision)
    for mine, its in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=10 * precision * float(its.abs().max()))


def test_a_deep_plain_network_has_next_to_no_variance() -> None:
    features = frozen(DeepPlain()).forward(tasks.build(DIGITS).train.inputs)["layers.layer11"]
    share = (features - features.mean(0)).square().sum() / features.square().sum()
    assert share < 1e-4


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e14])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_grams_at_any_scale_and_mean(scale: float, mean: float) -> None:
    features = (torch.randn(80, 30) + mean) * scale
    target = torch.randn(80, 20)
    each = distances.create("linear_cka").to_grams([target], grams_of(features, 80), [[0]])
    expected = distances.create("linear_cka")(target.double(), features.double())
    assert each.item() == pytest.approx(expected.item(), abs=1e-5 if mean == 0 else 1e-4)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_a_tap_without_variance(value: float, unbiased: bool) -> None:
    features = torch.full((80, 30), value)
    features[60:] = torch.randn(20, 30)
    target = torch.randn(60, 20, requires_grad=True)
    distance = distances.create("linear_cka", unbiased=unbiased)
    each = distance.to_grams([target], grams_of(features, 60), [[0]])
    (gradient,) = torch.autograd.grad(each.sum(), [target])
    assert each.item() == 1
    assert not gradient.any()


@pytest.mark.parametrize("odd", [0.0, 1e-14, 1e12])
def test_a_tap_out_of_the_ordinary_leaves_the_others_as_they_are(odd: float) -> None:
    taps = [torch.randn(60, 20), torch.randn(60, 20)]
    alone = grams_of(taps[0], 60)
    both = [alone, grams_of(taps[1] * odd, 60)]
    grams = torch.cat([g.grams for g in both])
    together = GuideGrams(["a", "b"], grams, torch.cat([g.sizes for g in both]))
    target = torch.randn(60, 20)
    cka = distances.create("linear_cka")
    expected = cka.to_grams([target], alone, [[0]])
    # The second target meets the odd tap, or is odd itself.
    each = cka.to_grams([target, target], together, [[0], [1]])
    assert each[0].item() == pytest.approx(expected.item(), abs=1e-6)
    assert (each[1] == 1) == (odd == 0)
    each = cka.to_grams([target, target * odd], together, [[0], [0]])
    assert each[0].item() == pytest.approx(expected.item(), abs=1e-6)
    assert each[1].item() == pytest.approx(1 if odd == 0 else expected.item(), abs=1e-6)


def test_rows_are_checked() -> None:
    grams = grams_of(torch.randn(60, 20), 60)
    with pytest.raises(ValueError, match="same rows"):
        distances.create("linear_cka").to_grams([torch.randn(59, 20)], grams, [[0]])
    unbiased = distances.create("linear_cka", unbiased=True)
    with pytest.raises(ValueError, match="n >= 4"):
        unbiased.to_grams([torch.randn(3, 20)], grams_of(torch.randn(60, 20), 3), [[0]])


def test_taps_are_held_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = frozen()
    at_once = batch_of(guide, form="gram")
    monkeypatch.setattr(cached_features, "WORKING_BYTES", 1)
    one_by_one = batch_of(guide, form="gram")
    assert isinstance(at_once, GuideGrams)
    assert isinstance(one_by_one, GuideGrams)
    assert torch.equal(at_once.grams, one_by_one.grams)


def test_grams_of_pooled_rows() -> None:
    guide = frozen()
    grams = kept_of(guide, "pooled", form="gram").batch(INDEX)
    assert isinstance(grams, GuideGrams)
    output = guide.forward(guide.task.train.inputs[INDEX])["stem"].flatten(2).mean(2).clone()
    target = torch.randn(60, 7)
    cka = distances.create("linear_cka")
    mine = cka.to_grams([target], grams, [[guide.taps.index("stem")]])
    assert mine.item() == pytest.approx(cka(target, output).item(), abs=1e-5)


def test_features_keep_their_bits() -> None:
    guide = frozen()
    assert guide.train_features is not None
    for mine, its in zip(
        batch_of(guide, form="features"), guide.train_features.values(), strict=True
    ):
        assert torch.equal(mine, its[INDEX].flatten(1))

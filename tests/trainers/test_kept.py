"""What is kept of a guide: features, half features and Gram matrices say what the guide says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers import distances, kept, tasks
from trainers.architectures import ARCHITECTURES, Network, build
from trainers.cache import Cache
from trainers.distances import GuideGrams
from trainers.guides import FrozenGuide
from trainers.kept import Kept, fill, opened
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


def kept_of(guide: FrozenGuide, rows: Any = "examples", **form: Any) -> Kept:
    arrays: dict[str, Tensor] = {}

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        with torch.inference_mode(False):
            arrays[name] = torch.empty(tuple(shape), dtype=dtype)
        return arrays[name]

    cache = Cache(feature_bytes=0, **form)
    fill(guide, guide.task.train.inputs, None, rows, cache, allocate)
    return opened(cache, arrays, guide.taps)


def batch_of(guide: FrozenGuide, index: Tensor = INDEX, **form: Any) -> list[Any]:
    features = kept_of(guide, **form).batch(index)
    assert features is not None
    assert tuple(features) == guide.taps
    return [f if not isinstance(f, Tensor) else f.flatten(1) for f in features.values()]


def distances_and_gradients(guides: Sequence[Any], *, unbiased: bool, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    targets = [
        torch.randn(60, p, generator=generator).requires_grad_() for p in (20, 100, 20, 100, 20, 5)
    ][: len(guides)]
    meets = [[i] for i in range(len(targets))]
    distance = distances.create("linear_cka", unbiased=unbiased)
    each = distance.all(targets, guides, meets)
    return each.detach(), torch.autograd.grad(each.sum(), targets)


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
    gram, sizes = torch.empty(80, 80), torch.empty(80)
    kept._fill_gram(features, gram, sizes)
    guides = list(GuideGrams(gram[None], sizes[None]).taps(["a"]).values())
    target = torch.randn(80, 20)
    each = distances.create("linear_cka").all([target], guides, [[0]])
    expected = distances.create("linear_cka")(target.double(), features.double())
    assert each.item() == pytest.approx(expected.item(), abs=1e-5 if mean == 0 else 1e-4)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_a_tap_without_variance(value: float, unbiased: bool) -> None:
    features = torch.full((80, 30), value)
    features[60:] = torch.randn(20, 30)
    gram, sizes = torch.empty(80, 80), torch.empty(80)
    kept._fill_gram(features, gram, sizes)
    guides = list(GuideGrams(gram[None, :60, :60], sizes[None, :60]).taps(["a"]).values())
    target = torch.randn(60, 20, requires_grad=True)
    each = distances.create("linear_cka", unbiased=unbiased).all([target], guides, [[0]])
    (gradient,) = torch.autograd.grad(each.sum(), [target])
    assert each.item() == 1
    assert not gradient.any()


def test_taps_are_held_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = frozen()
    at_once = batch_of(guide, form="gram")[0].all.grams
    monkeypatch.setattr(kept, "_WORKING_BYTES", 1)
    assert torch.equal(at_once, batch_of(guide, form="gram")[0].all.grams)


def test_grams_of_pooled_rows() -> None:
    guide = frozen()
    grams = kept_of(guide, "pooled", form="gram").batch(INDEX)
    assert grams is not None
    output = guide.forward(guide.task.train.inputs[INDEX])["stem"].flatten(2).mean(2).clone()
    target = torch.randn(60, 7)
    cka = distances.create("linear_cka")
    mine = cka.all([target], [grams["stem"]], [[0]])
    assert mine.item() == pytest.approx(cka(target, output).item(), abs=1e-5)


def test_features_keep_their_bits() -> None:
    guide = frozen()
    assert guide.train_features is not None
    for mine, its in zip(
        batch_of(guide, form="features"), guide.train_features.values(), strict=True
    ):
        assert torch.equal(mine, its[INDEX].flatten(1))

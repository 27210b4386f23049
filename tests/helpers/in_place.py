"""Entries that work in place on whatever they are given: networks, tasks, a distance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.registries import restored
from trainers.architectures import ARCHITECTURES, Network
from trainers.distances import DISTANCES, Distance
from trainers.tasks import TASKS, Classification, InputSpec, OutputSpec, Split


class InPlaceNet(Network):
    """Doubles its input, and overwrites what its taps put out."""

    def __init__(self, input: InputSpec, output: OutputSpec, *, width: int = 8) -> None:
        super().__init__()
        self.a = nn.Linear(math.prod(input.shape), width)
        self.b = nn.Linear(width, width)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Linear(width, output.num_classes)
        self.taps = ("a", "b")

    def forward(self, inputs: Tensor) -> Tensor:
        inputs *= 2.0
        features = self.relu(self.b(self.relu(self.a(inputs.flatten(1)))))
        logits: Tensor = self.out(features)
        logits += 1.0
        return logits


class InPlaceTokens(Network):
    """Changes the tokens that it reads."""

    def __init__(self, input: InputSpec, output: OutputSpec, *, width: int = 8) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self.embedding = nn.Embedding(input.vocabulary, width)
        self.a = nn.Linear(width, width)
        self.out = nn.Linear(width, output.num_classes)
        self.taps = ("embedding", "a")

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.a(self.embedding(inputs.clamp_(max=4)).tanh_())
        logits: Tensor = self.out(features.relu_().mean(1))
        return logits


class InPlaceTask(Classification):
    """Its loss and its tally overwrite answers and labels."""

    def __init__(self) -> None:
        self.output, self.num_train = OutputSpec(num_classes=2), 60
        self.input = InputSpec(kind="signal", shape=(1, 6))

    def load(self) -> dict[str, Split]:
        sizes = {"train": 60, "validation": 20, "test": 20}
        return {name: self.draw(size, seed) for seed, (name, size) in enumerate(sizes.items())}

    def draw(self, size: int, seed: int) -> Split:
        inputs = torch.randn(size, 1, 6, generator=torch.Generator().manual_seed(seed))
        return Split(inputs, (inputs.sum((1, 2)) > 0).long())

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        value = functional.cross_entropy(logits * 1.0, labels.clone())
        labels.fill_(1)
        return value

    def tally(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        sums = super().tally(logits.clone(), labels.clone())
        logits.zero_()
        labels.zero_()
        return sums

    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        return super().score(sums)


class InPlaceFixed(InPlaceTask):
    """Data that is not augmented."""


class InPlaceAugmented(InPlaceTask):
    """Its augmentation works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.augmented = True

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        return example.mul_(1 + 0.1 * torch.rand((), generator=generator))


class InPlacePadded(InPlaceTask):
    """Tokens, whose mask overwrites them."""

    def __init__(self) -> None:
        super().__init__()
        self.input = InputSpec(kind="tokens", shape=(5,), vocabulary=7, padding=0)

    def draw(self, size: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randint(1, 7, (size, 5), generator=generator)
        inputs[::3, 3:] = 0
        return Split(inputs, (inputs[:, 0] > 3).long())

    def mask(self, inputs: Tensor) -> Tensor:
        real = inputs != 0
        inputs.fill_(2)
        return real


class InPlaceDistance(Distance):
    """Mean squared difference of the norms of rows, of features that it centres in place."""

    def forward(self, target: Tensor, guide: Tensor) -> Tensor:
        target -= target.mean(-2, keepdim=True)
        guide -= guide.mean(-2, keepdim=True)
        return (target.square().sum(-1) - guide.square().sum(-1)).square().mean(-1)


@contextmanager
def registered() -> Iterator[None]:
    """Inside, all of these can be named."""
    with restored():
        networks, metrics = ARCHITECTURES.register, DISTANCES.register
        networks("in_place_net", inputs=("signal",))(InPlaceNet)
        networks("in_place_tokens", inputs=("tokens",))(InPlaceTokens)
        TASKS.register("in_place_task")(InPlaceFixed)
        TASKS.register("in_place_augmented")(InPlaceAugmented)
        TASKS.register("in_place_padded")(InPlacePadded)
        metrics("in_place_distance", invariances=("mean",), cost="n (p + q)", source="", bias="")(
            InPlaceDistance
        )
        yield

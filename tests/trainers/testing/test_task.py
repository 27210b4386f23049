"""The contract of tasks takes good ones, and says by name what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.tasks import IGNORE, Classification, InputSpec, OutputSpec, Split, Task, register
from trainers.testing import ContractError, check_task, task_rules

pytestmark = pytest.mark.usefixtures("registries")
SIZES = {"train": 60, "validation": 30, "test": 30}


class Signs(Classification):
    """Is the first number above 0?"""

    augmented = True

    def __init__(self, *, length: int = 5) -> None:
        if length < 1:
            raise ValueError(f"length is {length}; allowed: 1 or more")
        self.input = InputSpec(kind="signal", shape=(1, length))
        self.output, self.num_train = OutputSpec(num_classes=2), SIZES["train"]

    def load(self) -> dict[str, Split]:
        return {name: self.draw(size, seed) for seed, (name, size) in enumerate(SIZES.items())}

    def draw(self, size: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(size, *self.input.shape, generator=generator)
        return Split(inputs, (inputs[:, 0, 0] > 0).long())

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        return example + 0.01 * torch.randn(example.shape, generator=generator)


class Positions(Classification):
    """Which token is it, at all positions but the first?"""

    def __init__(self) -> None:
        self.input = InputSpec(kind="tokens", shape=(16,), vocabulary=5)
        self.output, self.num_train = OutputSpec(num_classes=5, per_position=True), None

    def load(self) -> dict[str, Split]:
        return {name: self.sample(30, torch.Generator().manual_seed(seed))
                for seed, name in enumerate(("validation", "test"), 1)}  # fmt: skip

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        inputs = torch.randint(5, (num_examples, 16), generator=generator)
        labels = inputs.clone()
        labels[:, 0] = IGNORE
        return Split(inputs, labels)


class Redrawn(Signs):
    """Each data seed draws numbers of its own."""

    redraws = True

    def draw(self, size: int, seed: int) -> Split:
        return super().draw(size, self.draw_seed(seed))


class WithoutDocstring(Signs):
    __doc__ = ""


class StreamedWithATrainingSplit(Positions):
    """It says that batches are drawn, and loads a training split."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        return splits | {"train": self.sample(30, torch.Generator().manual_seed(0))}


class Overlapping(Signs):
    """Its test split is part of its training split."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        return splits | {"test": Split(*(part[:30] for part in splits["train"]))}


class OfTheGlobalGenerator(Signs):
    """Its data is of PyTorch's global generator, whose state it restores."""

    def draw(self, size: int, seed: int) -> Split:
        state = torch.get_rng_state()
        inputs = torch.randn(size, *self.input.shape) + seed
        torch.set_rng_state(state)
        return Split(inputs, (inputs[:, 0, 0] > seed).long())


class Seeding(Signs):
    """It seeds PyTorch's global generator."""

    def load(self) -> dict[str, Split]:
        torch.manual_seed(0)
        return super().load()


class GlobalSamples(Positions):
    """Its batches are of PyTorch's global generator."""

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        if num_examples == 30:
            return super().sample(num_examples, generator)
        return super().sample(num_examples, torch.default_generator)


class GlobalAugmentation(Signs):
    """It augments by PyTorch's global generator."""

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        return example + torch.randn(example.shape)


class OneDataSet(Signs):
    """It says that it draws its data anew, and does not."""

    redraws = True


class EmptyClass(Signs):
    """It says that there is a third class."""

    def __init__(self) -> None:
        super().__init__()
        self.output = OutputSpec(num_classes=3)


class DetachedLoss(Signs):
    """No gradient of its loss reaches the logits."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits.detach(), labels)


class RealClasses(Signs):
    """It predicts real numbers."""

    def predict(self, answers: Tensor) -> Tensor:
        return super().predict(answers).float()


class AnotherMetric(Signs):
    """It gives a metric that it does not declare."""

    def score(self, sums: Any) -> dict[str, float]:
        return super().score(sums) | {"more": 1.0}


class Reversed(Signs):
    """It counts wrong answers as hits."""

    def tally(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        sums = super().tally(logits, labels)
        return sums | {"hits": sums["count"] - sums["hits"]}


class HighChance(Signs):
    """A guess scores higher than right answers."""

    def chance(self, metric: str) -> float | None:
        return 1.5 if metric == "accuracy" else None


class Mean(Signs):
    """Its sums hold a mean."""

    def tally(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        sums = super().tally(logits, labels)
        return sums | {"mean": sums["loss"] / sums["count"]}


class CountsAll(Positions):
    """It scores answers at positions that are not scored."""

    def tally(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        sums = super().tally(logits, labels)
        right = logits.argmax(-1) == labels.clamp_min(0)
        return sums | {"hits": int(right.sum()), "count": labels.numel()}


class AnyLength(Signs):
    """A length below 0 is taken for 1."""

    def __init__(self, *, length: int = 5) -> None:
        super().__init__(length=max(length, 1))


BROKEN: dict[str, type[Task]] = {
    "says_what_it_is": WithoutDocstring,
    "data_is_as_specified": StreamedWithATrainingSplit,
    "splits_are_disjoint": Overlapping,
    "data_follows_from_the_options": OfTheGlobalGenerator,
    "data_follows_from_its_seed": OneDataSet,
    "loading_leaves_generators_alone": Seeding,
    "samples_follow_from_the_generator": GlobalSamples,
    "augmentation_follows_from_the_generator": GlobalAugmentation,
    "every_class_occurs": EmptyClass,
    "loss_trains": DetachedLoss,
    "predictions_are_like_labels": RealClasses,
    "scores_are_as_declared": AnotherMetric,
    "right_answers_score_best": Reversed,
    "chance_is_no_better_than_right": HighChance,
    "scores_add_up": Mean,
    "unscored_positions_do_not_count": CountsAll,
    "bad_options_are_refused": AnyLength,
}
#: Other rules that an entry breaks with its own.
ALSO = {
    "scores_are_as_declared": ("right_answers_score_best", "chance_is_no_better_than_right"),
    "right_answers_score_best": ("chance_is_no_better_than_right",),
}


def test_good_ones_break_nothing() -> None:
    register("signs")(Signs)
    register("positions")(Positions)
    register("redrawn")(Redrawn)
    check_task(Signs)
    check_task(Redrawn)
    check_task("positions")
    assert {*task_rules("redrawn"), *task_rules("positions")} == set(BROKEN)


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str) -> None:
    # Splits are kept by name.
    register(BROKEN[rule].__name__)(BROKEN[rule])
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: ") as caught:
        check_task(BROKEN[rule])
    assert caught.value.broken == (rule, *ALSO.get(rule, ()))
    with pytest.raises(ContractError, match="breaks 1 of 1 rules"):
        check_task(BROKEN[rule].__name__, rule=rule)


def test_some_inputs_may_stand_in_several_splits() -> None:
    register("Overlapping")(Overlapping)
    check_task("Overlapping", compared=lambda inputs: inputs[30:])

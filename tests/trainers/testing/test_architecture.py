"""The contract of architectures takes a good one, and says by name what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.registry import UnknownNameError
from trainers.testing import ContractError, architecture_rules, check_architecture

pytestmark = pytest.mark.usefixtures("registries")


class Good(Network):
    """Two hidden layers."""

    def __init__(self, input: Any, output: Any, *, width: int = 8) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; allowed: 1 or more")
        self.first = nn.Linear(input.shape[-1], width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, output.num_classes)
        self.taps = ("first", "second")

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.second(self.first(inputs.flatten(1)).relu()).relu())


class WithoutDocstring(Good):
    __doc__ = ""


class AClassTooFew(Good):
    """Its answers have no logit for the last class."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs)[:, :-1]


class Unused(Good):
    """It has a layer that does nothing."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.unused = nn.Linear(1, 1)


class Backwards(Good):
    """It names its taps from the last to the first."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.taps = ("second", "first")


class FeaturesFirst(Good):
    """A tap of it is (features, batch)."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.flipped = nn.Identity()
        self.taps = ("first", "flipped")

    def forward(self, inputs: Tensor) -> Tensor:
        flipped = self.flipped(self.first(inputs.flatten(1)).T)
        return self.last(self.second(flipped.T.relu()).relu())


class Aside(Good):
    """The answer does not depend on one of its taps."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.aside = nn.Identity()
        self.taps = ("aside", "first")

    def forward(self, inputs: Tensor) -> Tensor:
        self.aside(inputs.flatten(1))
        return super().forward(inputs)


class ItsOwnSeed(Good):
    """Its weights are the same whatever the seed."""

    def __init__(self, input: Any, output: Any) -> None:
        torch.manual_seed(0)
        super().__init__(input, output)


class OtherShapes(Good):
    """Without values it has other shapes."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output, width=4 if torch.zeros(1).is_meta else 8)


class OfTheBatch(Good):
    """In evaluation it subtracts the mean of the batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(0))


class Counts(Good):
    """In evaluation it counts how often it is called."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(inputs)


class OutsideItsState(Good):
    """A number that counts is no part of its state."""

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(input, output)
        self.register_buffer("shift", torch.rand(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + self.shift


class AnyWidth(Good):
    """A width below 0 is taken for 1."""

    def __init__(self, input: Any, output: Any, *, width: int = 8) -> None:
        super().__init__(input, output, width=max(width, 1))


BROKEN = {
    "says_what_it_is": WithoutDocstring,
    "answers_as_specified": AClassTooFew,
    "every_parameter_learns": Unused,
    "taps_fire_in_order": Backwards,
    "taps_put_the_batch_first": FeaturesFirst,
    "taps_reach_the_answer": Aside,
    "weights_follow_from_the_seed": ItsOwnSeed,
    "shapes_need_no_values": OtherShapes,
    "examples_are_independent": OfTheBatch,
    "evaluation_changes_nothing": Counts,
    "weights_are_restored": OutsideItsState,
    "bad_options_are_refused": AnyWidth,
}

#: Other rules that an entry cannot but break with its own.
ALSO = {
    "taps_put_the_batch_first": "shapes_need_no_values",
    # A label is the class that it lacks.
    "answers_as_specified": "every_parameter_learns",
}


def test_a_good_one_breaks_nothing() -> None:
    register("good", inputs=("signal",))(Good)
    check_architecture(Good, "mnist1d")
    assert architecture_rules("good", "mnist1d") == list(BROKEN)
    with pytest.raises(UnknownNameError, match="did you mean 'taps_fire_in_order'"):
        check_architecture("good", "mnist1d", rule="taps_fire_in_orders")


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str) -> None:
    register("broken", inputs=("signal",))(BROKEN[rule])
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: ") as caught:
        check_architecture("broken", "mnist1d")
    assert {*caught.value.broken} == {rule, ALSO.get(rule, rule)}
    with pytest.raises(ContractError, match="breaks 1 of 1 rules"):
        check_architecture(BROKEN[rule], "mnist1d", rule=rule)


def test_a_class_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ValueError, match="Good'> is no registered architecture: decorate it"):
        check_architecture(Good, "mnist1d")

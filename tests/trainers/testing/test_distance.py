"""The contract of distances takes a good one, and says by name what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.distances import Distance, register
from trainers.testing import ContractError, check_distance, distance_rules

pytestmark = pytest.mark.usefixtures("registries")
INFO: dict[str, Any] = {
    "invariances": ("rotation", "scale", "mean"),
    "cost": "n^2 (p + q)",
    "source": "Kornblith et al. 2019",
    "bias": "few rows look alike",
}


def unit_gram(features: Tensor) -> Tensor:
    """Centred Gram matrix (..., n, n) of norm 1; 0 where rows differ by rounding alone."""
    exact = features.double()
    centred = exact - exact.mean(-2, keepdim=True)
    gram = centred @ centred.mT
    norm = gram.norm(dim=(-2, -1), keepdim=True)
    least = (1e-6 * exact.norm(dim=(-2, -1), keepdim=True)) ** 2
    return gram / norm.masked_fill(norm <= least, torch.inf)


class Cka(Distance):
    """1 - linear CKA, by Gram matrices in float64."""

    def __init__(self, *, k: int = 1) -> None:
        if k < 1:
            raise ValueError(f"k is {k}; allowed: 1 or more")

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        similarity = (unit_gram(target) * unit_gram(guide)).sum((-2, -1))
        return 1.0 - similarity.to(target.dtype)


class WithoutDocstring(Cka):
    __doc__ = ""


class Negative(Cka):
    """It is below 0 for features that are alike."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return value * (5 * value - 4)


class Shifted(Cka):
    """It is above 0 at identity."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return value + 0.1 * (1 - value) ** 2


class HalfOfTheGradient(Cka):
    """Its gradient is half of what it should be."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return value / 2 + value.detach() / 2


class Apart(Cka):
    """Training moves the target away from the guide."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return 2 * value.detach() - value


class TrainsTheGuide(Cka):
    """Its gradient reaches the guide."""

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        value = super().__call__(target, guide)
        trains = isinstance(guide, Tensor) and guide.requires_grad
        return value + 0 * guide.sum() if trains else value


class View(Cka):
    """What it prepares of a guide is a view of its features."""

    def precompute(self, guide: Tensor) -> Any:
        return (guide.detach(),)

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        return super().forward(target, guide[0])


class OfInference(Cka):
    """It takes a guide of inference mode for another one."""

    def precompute(self, guide: Tensor) -> Any:
        return guide.clone() ** 3 if guide.is_inference() else guide


class Once(Cka):
    """Of four guides it counts the first alone."""

    def forward_each(self, target: Tensor, guides: Any) -> Tensor:
        values = super().forward_each(target, guides)
        return torch.stack([values[0]] * 4) if len(guides) == 4 else values


class Halved(Cka):
    """Of several taps at once it gives half of each."""

    def forward_all(self, targets: Any, guides: Any, meets: Any) -> list[Tensor]:
        return [values / 2 for values in super().forward_all(targets, guides, meets)]


class FirstPosition(Cka):
    """Of several positions it sees the first alone, if all vary."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        values = super().forward(target, guide)
        first = values.flatten()[0].expand_as(values)
        return values if values.dim() == 0 or values.max() == 1 else first


class OfItsScale(Cka):
    """It depends on the scale of the target's features."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        size = target.double().var(-2).mean(-1).to(value.dtype).clamp(max=50)
        return value * (1 + 0.01 * size * (1 - value))


class ForgetsDigits(Cka):
    """It loses digits where features lie far from 0."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        far = target.dtype == torch.float32 and target.mean() > 1e3
        return value * 0.99 if far and value < 1 else value


class ZeroWithoutVariance(Cka):
    """It is 0 where one side does not vary."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return torch.where(value == 1, value * 0, value) if value.dim() == 0 else value


class OnePositionForAll(Cka):
    """A position without variance makes all others count as 1."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        value = super().forward(target, guide)
        return value.clamp(min=1) if value.dim() and value.max() == 1 else value


class AnyRows(Cka):
    """It compares single rows."""

    def check_features(self, features: Tensor) -> None:
        if features.dim() < 2:
            super().check_features(features)


class OtherRows(Cka):
    """It compares what rows there are on both sides."""

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        if isinstance(guide, Tensor) and len(guide) < len(target):
            target = target[: len(guide)]
        return super().__call__(target, guide)


class InHalf(Cka):
    """It computes in the type of the target."""

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        value = super().__call__(target, guide)
        return value if target.dtype == torch.float64 else value.to(target.dtype)


class UnderAutocast(Cka):
    """Under autocast it computes in half precision."""

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        half = torch.is_autocast_enabled("cpu")
        return super().__call__(target.bfloat16().float() if half else target, guide)


class Hides(Cka):
    """It takes what is no number for 0."""

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        return super().forward(target.nan_to_num(0, 0, 0), guide.nan_to_num(0, 0, 0))


class AnySize(Cka):
    """A number below 1 is taken for 1."""

    def __init__(self, *, k: int = 1) -> None:
        super().__init__(k=max(k, 1))


#: Other rules that an entry cannot but break with its own.
ALSO: dict[str, str] = {
    "a_step_comes_closer": "gradient_is_that_of_the_value",
    "no_variance_is_one_without_a_gradient": "no_variance_leaves_other_positions",
}
BROKEN: dict[str, type[Distance]] = {
    "says_what_it_is": WithoutDocstring,
    "value_is_finite_with_a_gradient": Negative,
    "zero_at_identity": Shifted,
    "gradient_is_that_of_the_value": HalfOfTheGradient,
    "a_step_comes_closer": Apart,
    "the_guide_gets_no_gradient": TrainsTheGuide,
    "a_prepared_guide_gives_the_same_bits": View,
    "inference_tensors_guide": OfInference,
    "each_is_one_by_one": Once,
    "all_is_each": Halved,
    "leading_dimensions_are_averaged": FirstPosition,
    "stated_invariances_hold": OfItsScale,
    "a_large_mean_costs_no_digits": ForgetsDigits,
    "no_variance_is_one_without_a_gradient": ZeroWithoutVariance,
    "no_variance_leaves_other_positions": OnePositionForAll,
    "fewest_rows": AnyRows,
    "rows_must_match": OtherRows,
    "half_types_count_in_float32": InHalf,
    "autocast_changes_nothing": UnderAutocast,
    "bad_features_are_not_hidden": Hides,
    "bad_options_are_refused": AnySize,
}


def test_a_good_one_breaks_nothing() -> None:
    register("cka", **INFO)(Cka)
    check_distance(Cka)
    assert distance_rules("cka") == list(BROKEN)


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str) -> None:
    register("broken", **INFO)(BROKEN[rule])
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: ") as caught:
        check_distance("broken")
    assert {*caught.value.broken} == {rule, ALSO.get(rule, rule)}
    with pytest.raises(ContractError, match="breaks 1 of 1 rules"):
        check_distance(BROKEN[rule], rule=rule)


@pytest.mark.parametrize("missing", ["cost", "source", "bias"])
def test_what_an_entry_does_not_say_is_told(missing: str) -> None:
    register("mute", **{key: value for key, value in INFO.items() if key != missing})(Cka)
    with pytest.raises(ContractError, match=rf"register\(..., {missing}=...\) is missing"):
        check_distance("mute", rule="says_what_it_is")

"""Our distances keep the contract that `trainers.testing` ships; what the base class does."""

import pytest
import torch

from trainers import distances
from trainers.distances import DISTANCES, Distance, of_logits
from trainers.registry import UnknownNameError
from trainers.testing import check_distance
from trainers.testing.distance import value_and_gradient

VARIANTS = [
    ("hint", {"scaling": "absolute"}),
    ("linear_cka", {"unbiased": True}),
    ("linear_regression", {"direction": "target_from_guide"}),
    ("procrustes", {"form": "angular"}),
    ("rbf_cka", {"bandwidth": 0.5, "median": "matrix"}),
    ("rbf_cka", {"unbiased": True}),
    ("ridge", {"direction": "target_from_guide"}),
    ("ridge", {"scaling": "absolute", "ridge": 5.0}),
    ("rsa", {"rdm": "cosine"}),
    ("rsa", {"rdm": "squared_euclidean"}),
    ("rsa", {"rdm": "squared_euclidean", "compare": "cosine"}),
]
CASES = [(name, {}) for name in DISTANCES.names()] + VARIANTS
#: Those that compare features as they are.
FIXED = [c for c in CASES if not (of_logits(c[0]) or DISTANCES[c[0]].factory.learns)]
#: How far from 0 distances are at identity that are not 0 there.
NOT_ZERO_AT_IDENTITY = {"ridge": 0.05}  # the ridge loses a part of what it predicts


def label(case):
    return DISTANCES.label(DISTANCES.component(case[0], **case[1]))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_contract(case):
    component = DISTANCES.component(case[0], **case[1])
    check_distance(component, at_identity=NOT_ZERO_AT_IDENTITY.get(case[0], 1e-5))


def test_unknown_options_name_what_exists():
    with pytest.raises(UnknownNameError, match="unknown option"):
        distances.create("linear_cka", no_such_option=1)


class Products(Distance):
    """What the base class does for a subclass that has `forward` alone."""

    def forward(self, target, guide):
        return (target @ guide[..., : target.shape[-1]].mT).square().mean((-2, -1))


def test_forward_alone_is_enough():
    distance, target, guide = Products(), torch.randn(24, 6), torch.randn(24, 9)
    expected = value_and_gradient(distance, target, guide)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        made = guide * 1
        prepared = distance.prepare(made)
    for form in (made, prepared):
        got = value_and_gradient(distance, target, form, autocast=True)
        assert all(map(torch.equal, expected, got))
    both = distance.each(torch.stack((target, 2 * target)), [torch.stack((guide, guide))])
    torch.testing.assert_close(both[0], (expected[0] + distance(2 * target, guide)) / 2)
    together = distance.all([target, 2 * target], [guide, 2 * guide], [[1], [0, 1]])
    torch.testing.assert_close(together, expected[0] * torch.tensor([4, 4, 16]))
    with pytest.raises(ValueError, match="Products needs n >= 2 rows, got n = 1"):
        distance(target[:1], guide[:1])

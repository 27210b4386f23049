"""Linear CKA of several taps at once against the same taps one by one."""

import numpy as np
import pytest
import torch

from trainers import distances

BIASED = distances.create("linear_cka")
UNBIASED = distances.create("linear_cka", unbiased=True)
BOTH = pytest.mark.parametrize("distance", [BIASED, UNBIASED], ids=["biased", "unbiased"])


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def value_and_gradient(distance, target, guide):
    target = target.clone().requires_grad_()
    value = distance(target, guide)
    value.backward()
    return value.item(), target.grad


def in_one_batch(distance, targets, guides, meets):
    """Distances and gradients of targets, all at once."""
    targets = [target.clone().requires_grad_() for target in targets]
    each = distance.all(targets, guides, meets)
    weights = torch.arange(1, len(each) + 1, dtype=each.dtype)
    return each.detach(), torch.autograd.grad((weights * each).sum(), targets)


def one_by_one(distance, targets, guides, meets):
    each, gradients, weight = [], [], 1
    for target, indices in zip(targets, meets, strict=True):
        gradients.append(torch.zeros_like(target))
        for index in indices:
            value, gradient = value_and_gradient(distance, target, guides[index])
            gradients[-1] += weight * gradient
            each.append(value)
            weight += 1
    return torch.tensor(each, dtype=targets[0].dtype), gradients


def assert_agree(distance, targets, guides, meets):
    each, gradients = in_one_batch(distance, targets, guides, meets)
    expected, expected_gradients = one_by_one(distance, targets, guides, meets)
    torch.testing.assert_close(each, expected, rtol=1e-6, atol=1e-7)
    for gradient, one in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, one, rtol=1e-5, atol=1e-6 * float(one.abs().max()))
    return each, gradients


MEETS = [[0], [1, 2], [2, 0, 0]]


def batch(n=24, dtype=torch.float32):
    """Three wide targets, and three guides of which the last is narrow."""
    targets = [normal(n, p, seed=p, dtype=dtype) for p in (30, 40, 50)]
    return targets, [normal(n, q, seed=q, dtype=dtype) for q in (60, 35, 3)]


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_one_by_one(distance, dtype):
    assert_agree(distance, *batch(dtype=dtype), MEETS)


@BOTH
def test_gradient_of_a_batch(distance):
    targets, guides = batch(n=6, dtype=torch.float64)
    targets = [
        target[:, :width].requires_grad_() for target, width in zip(targets, (3, 5, 4), strict=True)
    ]

    def each(*targets):  # the second is out of range, so that all are rescaled
        return distance.all([targets[0], targets[1] * 1e-30, targets[2]], guides, MEETS)

    assert torch.autograd.gradcheck(each, targets)


@BOTH
@pytest.mark.parametrize("side", ["target", "guide"])
@pytest.mark.parametrize("scale", [1e-18, 1e14])
def test_one_tap_of_a_batch_out_of_range(distance, side, scale):
    targets, guides = batch()
    plain, plain_gradients = in_one_batch(distance, targets, guides, MEETS)
    (targets if side == "target" else guides)[1] *= scale
    each, gradients = assert_agree(distance, targets, guides, MEETS)
    torch.testing.assert_close(each, plain, rtol=1e-5, atol=1e-6)
    factor = scale if side == "target" else 1.0
    torch.testing.assert_close(gradients[1] * factor, plain_gradients[1], rtol=1e-4, atol=1e-6)
    for index in (0, 2):
        assert torch.equal(gradients[index], plain_gradients[index])


@BOTH
@pytest.mark.parametrize("bad", [0.0, 1e-40, torch.nan])
def test_one_tap_of_a_batch_without_variance_or_with_nan(distance, bad):
    targets, guides = batch()
    plain, plain_gradients = in_one_batch(distance, targets, guides, MEETS)
    targets[1] = targets[1] * bad
    each, gradients = in_one_batch(distance, targets, guides, MEETS)
    hidden = each[1:3].isnan() if np.isnan(bad) else each[1:3] == 1
    assert hidden.all()
    assert gradients[1].isnan().all() if np.isnan(bad) else not gradients[1].any()
    torch.testing.assert_close(each[[0, 3, 4, 5]], plain[[0, 3, 4, 5]])
    for index in (0, 2):
        torch.testing.assert_close(gradients[index], plain_gradients[index])
    targets, guides = batch()
    guides[1] = guides[1] * bad
    each, gradients = in_one_batch(distance, targets, guides, MEETS)
    assert each.isnan().tolist() == [False, bool(np.isnan(bad)), False, False, False, False]
    assert gradients[0].isfinite().all()


@BOTH
def test_a_batch_of_both_forms_and_of_several_shapes(distance):
    targets = [normal(40, 10), normal(40, 50, seed=1), normal(24, 30, seed=2), normal(40, 45)]
    targets += [normal(3, 12, 20, seed=4), normal(3, 12, 2, seed=5), normal(40, 60).double()]
    guides = [normal(40, 8, seed=6), normal(40, 90), normal(24, 7), normal(3, 12, 4)]
    meets = [[0], [0, 1], [2], [1], [3], [3], [0, 1]]
    each, gradients = in_one_batch(distance, targets, guides, meets)
    prepared = [distance.prepare(guide) for guide in guides]
    single = [target.clone().requires_grad_() for target in targets]
    expected = torch.cat(
        [
            distance.each(target, [prepared[index] for index in indices])
            for target, indices in zip(single, meets, strict=True)
        ]
    )
    torch.testing.assert_close(each, expected.detach(), rtol=1e-6, atol=1e-7)
    weights = torch.arange(1, len(each) + 1, dtype=each.dtype)
    for got, one in zip(
        gradients, torch.autograd.grad((weights * expected).sum(), single), strict=True
    ):
        torch.testing.assert_close(got, one, rtol=1e-5, atol=1e-6)


def test_a_batch_checks_its_range_once_a_side():
    """Small operations are done for all taps at once; of products there is one for each."""
    targets, guides = batch()
    with torch.profiler.profile(acc_events=True) as profile:
        in_one_batch(BIASED, targets, guides, MEETS)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["aten::aminmax"] == 2
    assert counts["aten::mm"] == len(targets) * 2 + len(guides)

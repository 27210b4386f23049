"""CKA of Gaussian kernels against scikit-learn's kernels and explicit matrices."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from tests.helpers.distance_cases import DATA, check_values, correlated, normal, value_and_gradient
from trainers import distances

DATA_SETS = pytest.mark.parametrize("data", DATA)


def kernel(features, bandwidth, median):
    squares = pdist(features, "sqeuclidean")
    if median == "matrix":
        n = len(features)
        squared_median = np.median(np.concatenate((np.zeros(n), squares, squares)))
    else:
        squared_median = np.median(np.sqrt(squares)) ** 2
    return rbf_kernel(features, gamma=1 / (2 * bandwidth**2 * squared_median))


def hsic(K, L, unbiased):
    """Song et al. 2012, equations 3 (times (n - 1)^2) and 5."""
    n = len(K)
    if not unbiased:
        H = np.eye(n) - 1 / n
        return np.trace(K @ H @ L @ H)
    K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(n)
    total = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + total - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def reference(target, guide, bandwidth=1.0, median="pairs", unbiased=False):
    K, L = (kernel(tap.double().numpy(), bandwidth, median) for tap in (target, guide))
    own = hsic(K, K, unbiased) * hsic(L, L, unbiased)
    return 1 - hsic(K, L, unbiased) / np.sqrt(own)


@pytest.mark.parametrize(("bandwidth", "value"), [(0.5, 0.6548311823), (1.0, 0.5758322230)])
def test_published_check_values(bandwidth, value):
    distance = distances.create("rbf_cka", bandwidth=bandwidth, median="matrix")
    target, guide = check_values()
    assert 1 - distance(target, guide).item() == pytest.approx(value, abs=1e-10)
    assert 1 - distance(target.float(), guide).item() == pytest.approx(value, abs=1e-6)


@DATA_SETS
def test_agrees_with_explicit_matrices(data):
    for median, bandwidth, unbiased in product(("pairs", "matrix"), (0.3, 1.0, 4.0), (False, True)):
        options = {"bandwidth": bandwidth, "median": median, "unbiased": unbiased}
        distance, (target, guide) = distances.create("rbf_cka", **options), DATA[data]
        truth = reference(target, guide, **options)
        found = distance(target, guide).item(), distance(target.float(), guide.float()).item()
        assert found[0] == pytest.approx(truth, abs=1e-9), options
        assert found[1] == pytest.approx(truth, abs=1e-5), options


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("median", ["pairs", "matrix"])
def test_median_of_few_rows(n, median):
    target, guide = normal(n, 5), normal(n, 3, seed=1)
    value = distances.create("rbf_cka", median=median)(target, guide).item()
    assert value == pytest.approx(reference(target, guide, median=median), abs=1e-12)


@pytest.mark.parametrize("unbiased", [False, True])
def test_wide_bandwidths_are_linear_cka(unbiased):
    target, guide = (tap.float() for tap in correlated(40))
    linear = distances.create("linear_cka", unbiased=unbiased)(target, guide)
    wide = distances.create("rbf_cka", bandwidth=1000, unbiased=unbiased)(target, guide)
    assert wide.item() == pytest.approx(linear.item(), abs=1e-5)


@pytest.mark.parametrize(("n", "p"), [(9, 3), (8, 12)])  # an even and an odd number of pairs
@pytest.mark.parametrize("options", [{}, {"median": "matrix"}, {"unbiased": True}])
def test_gradient(n, p, options):
    distance, (target, guide) = distances.create("rbf_cka", **options), correlated(n, p)
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target.requires_grad_())


def test_gradient_does_not_push_the_scale():
    target, guide = correlated(30)
    _, gradient = value_and_gradient(distances.create("rbf_cka"), target, guide)
    assert (gradient * target).sum().item() == pytest.approx(0, abs=1e-12)
    assert gradient.norm() * target.norm() > 0.1


@pytest.mark.parametrize("median", ["pairs", "matrix"])
def test_half_of_the_pairs_equal_is_no_bandwidth(median):
    """All rows but one alike: the median distance is rounding, or 0."""
    distance, guide = distances.create("rbf_cka", median=median), normal(16, 4).float()
    for p in (3, 40):
        outlier = normal(1, p).float().repeat(16, 1)
        outlier[5] += 1
        for target, other in [(outlier, guide), (guide, outlier)]:
            value, gradient = value_and_gradient(distance, target, other)
            assert value == 1
            assert not gradient.any()


def test_two_values_that_are_not_half_of_the_pairs():
    target = (torch.arange(16) % 2)[:, None] * normal(1, 3).float()
    value, gradient = value_and_gradient(
        distances.create("rbf_cka"), target, normal(16, 4, seed=1).float()
    )
    assert 0 < value < 1
    assert gradient.isfinite().all()


def test_unbiased_rows_all_equally_far_apart():
    distance, one_hot = distances.create("rbf_cka", unbiased=True), torch.eye(12) * 0.3 + 0.1
    for target, guide in [(one_hot, normal(12, 9).float()), (normal(12, 9).float(), one_hot)]:
        value, gradient = value_and_gradient(distance, target, guide)
        assert value == 1
        assert not gradient.any()


@given(seed=st.integers(0, 10**6), n=st.integers(4, 12), p=st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_symmetric_and_bounded(seed, n, p):
    target, guide = normal(n, p, seed=seed), normal(n, 6, seed=seed + 1)
    distance = distances.create("rbf_cka")
    value = distance(target, guide).item()
    assert -1e-12 <= value <= 1
    assert distance(guide, target).item() == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, 1e-4, 1e4, float("nan"), float("inf")])
def test_bad_bandwidths(bandwidth):
    with pytest.raises(ValueError, match=rf"bandwidth is {bandwidth}; allowed: 0.001 to 1000"):
        distances.create("rbf_cka", bandwidth=bandwidth)


def test_bad_medians():
    with pytest.raises(ValueError, match="median is mean; allowed: pairs, matrix"):
        distances.create("rbf_cka", median="mean")

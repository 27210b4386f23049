"""Similarity-preserving distillation against scikit-learn and the published formula."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import paired_cosine_distances
from torch.nn.functional import mse_loss, normalize

from tests.helpers.distance_cases import DATA, correlated, normal, value_and_gradient
from trainers import distances

GRAM = distances.create("gram")


@pytest.mark.parametrize("data", DATA)
def test_agrees_with_scikit_learn(data):
    target, guide = DATA[data]
    grams = [(tap @ tap.T).numpy() for tap in (target, guide)]
    truth = paired_cosine_distances(*grams).mean()
    assert GRAM(target, guide).item() == pytest.approx(truth, abs=1e-10)
    assert GRAM(target.float(), guide.float()).item() == pytest.approx(truth, abs=1e-5)


def test_is_the_published_loss_times_half_of_n():
    target, guide = correlated(16)
    rows = [normalize(tap @ tap.T, dim=1) for tap in (target, guide)]
    published = mse_loss(*rows).item()
    assert GRAM(target, guide).item() == pytest.approx(16 / 2 * published, abs=1e-12)


@pytest.mark.parametrize(("n", "p"), [(12, 4), (6, 9), (3, 1)])
def test_gradient(n, p):
    target, guide = correlated(n, p)
    assert torch.autograd.gradcheck(lambda t: GRAM(t, guide), target.requires_grad_())


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-30])
def test_dead_rows_are_similar_to_themselves_alone(size):
    target, guide = normal(12, 5).float(), normal(12, 7, seed=1).float()
    target[4:6] *= size
    value, gradient = value_and_gradient(GRAM, target, guide)
    left, right = (target @ target.T).double(), (guide @ guide.T).double()
    left[4:6] = torch.eye(12)[4:6]
    assert value == pytest.approx(paired_cosine_distances(left, right).mean(), abs=1e-5)
    assert gradient.isfinite().all()
    assert gradient.norm() * target.norm() < 10
    assert GRAM(target, target).item() == pytest.approx(0, abs=1e-6)


def test_the_mean_counts():
    target, guide = correlated(16)
    assert GRAM(target + 3, guide).item() > GRAM(target, guide).item() + 0.1


@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), p=st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_symmetric_and_bounded(seed, n, p):
    target, guide = normal(n, p, seed=seed), normal(n, 6, seed=seed + 1)
    value = GRAM(target, guide).item()
    assert -1e-12 <= value <= 2 + 1e-12  # a mean of cosines; hardly ever above 1
    assert GRAM(guide, target).item() == pytest.approx(value, abs=1e-12)
    assert np.isfinite(value)

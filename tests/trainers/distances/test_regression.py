"""Linear predictivity against scikit-learn."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from tests.helpers.distance_cases import DATA, check_values, correlated, normal, value_and_gradient
from trainers import distances

DIRECTIONS = pytest.mark.parametrize("direction", ["guide_from_target", "target_from_guide"])
NARROW = [name for name, taps in DATA.items() if max(tap.shape[1] for tap in taps) < len(taps[0])]


def unexplained(model, target, guide, direction):
    pair = [tap.double().numpy() for tap in (target, guide)]
    predictors, responses = pair if direction == "guide_from_target" else reversed(pair)
    predictors = predictors - predictors.mean(0)
    if callable(model):
        model = model(predictors)
    predicted = model.fit(predictors, responses).predict(predictors)
    return 1 - r2_score(
        responses, predicted.reshape(responses.shape), multioutput="variance_weighted"
    )


def relative(ridge):
    """The ridge as a fraction of the mean of the eigenvalues that centring leaves."""

    def model(predictors):
        n, p = predictors.shape
        eigenvalues = np.linalg.eigvalsh(predictors.T @ predictors)[::-1]
        return Ridge(alpha=ridge * eigenvalues[: min(n - 1, p)].mean(), solver="svd")

    return model


def test_published_check_value():
    target, guide = check_values()
    distance = distances.create("ridge", ridge=1.0, scaling="absolute")
    assert 1 - distance(target, guide).item() == pytest.approx(0.5676754471, abs=1e-10)
    assert 1 - distance(target.float(), guide).item() == pytest.approx(0.5676754471, abs=1e-6)


@DIRECTIONS
@pytest.mark.parametrize("data", DATA)
def test_ridge_agrees_with_scikit_learn(data, direction):
    target, guide = DATA[data]
    for scaling, ridge in product(("absolute", "relative"), (1e-3, 0.1, 30.0)):
        model = Ridge(alpha=ridge, solver="svd") if scaling == "absolute" else relative(ridge)
        truth = unexplained(model, target, guide, direction)
        distance = distances.create("ridge", ridge=ridge, scaling=scaling, direction=direction)
        found = distance(target, guide).item(), distance(target.float(), guide.float()).item()
        assert found[0] == pytest.approx(truth, abs=1e-8), (scaling, ridge)
        assert found[1] == pytest.approx(truth, abs=1e-5), (scaling, ridge)


@DIRECTIONS
@pytest.mark.parametrize("data", NARROW)
def test_least_squares_agree_with_scikit_learn(data, direction):
    target, guide = DATA[data]
    truth = unexplained(LinearRegression(), target, guide, direction)
    distance = distances.create("linear_regression", direction=direction)
    assert distance(target, guide).item() == pytest.approx(truth, abs=1e-5)
    assert distance(target.float(), guide.float()).item() == pytest.approx(truth, abs=1e-5)


def test_a_ridge_that_float32_would_lose():
    """It is 1e-6 of the variance, as a ridge of .1 is for 256 rows of 1,000 features."""
    target, guide = normal(64, 300), normal(64, 8, seed=1)
    target[:, 0] *= 1000
    truth = unexplained(Ridge(alpha=50.0, solver="svd"), target, guide, "guide_from_target")
    distance = distances.create("ridge", ridge=50.0, scaling="absolute")
    assert distance(target.float(), guide).item() == pytest.approx(truth, abs=1e-6)


@DIRECTIONS
@pytest.mark.parametrize(("n", "p", "q"), [(12, 3, 4), (6, 9, 8), (8, 3, 11)])
@pytest.mark.parametrize("scaling", ["absolute", "relative"])
def test_gradient_of_ridge(n, p, q, direction, scaling):
    target, guide = correlated(n, p, q)
    distance = distances.create("ridge", ridge=0.5, scaling=scaling, direction=direction)
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target.requires_grad_())


@DIRECTIONS
def test_gradient_of_least_squares(direction):
    target, guide = correlated(12, 3, 4)
    distance = distances.create("linear_regression", direction=direction)
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target.requires_grad_())


@pytest.mark.parametrize("name", ["ridge", "linear_regression"])
def test_collinear_and_dead_features_have_sane_gradients(name):
    target, guide = (tap.float() for tap in correlated(60, 6, 5))
    collinear = torch.cat((target, target, torch.zeros(60, 3)), 1)
    expected, plain = value_and_gradient(distances.create(name), target, guide)
    value, gradient = value_and_gradient(distances.create(name), collinear, guide)
    assert not gradient[:, 12:].any()
    assert gradient.norm() * collinear.norm() < 10
    if name == "linear_regression":
        assert value == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(gradient[:, :6], plain / 2, rtol=1e-3, atol=1e-6)


def test_growing_comes_closer_under_an_absolute_ridge_only():
    target, guide = correlated(30)
    for scaling, sign in [("absolute", -1), ("relative", 0)]:
        distance = distances.create("ridge", ridge=5.0, scaling=scaling)
        _, gradient = value_and_gradient(distance, target, guide)
        growth = (gradient * target).sum().item()
        assert growth == pytest.approx(0, abs=1e-12) if sign == 0 else growth < -1e-3


@given(seed=st.integers(0, 10**6), p=st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_least_squares_ignore_linear_maps_of_the_predictors(seed, p):
    target, guide = normal(20, p, seed=seed), normal(20, 6, seed=seed + 1)
    mixing = torch.linalg.qr(normal(p, p, seed=seed + 2))[0] * torch.linspace(0.1, 2, p)
    distance = distances.create("linear_regression")
    value = distance(target, guide).item()
    assert 0 <= value <= 1
    mixed = target @ mixing + normal(p, seed=seed + 3)
    assert distance(mixed, guide).item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("direction", ["guide_from_target", "target_from_guide"])
def test_too_wide_for_least_squares(direction):
    distance = distances.create("linear_regression", direction=direction)
    narrow, wide = normal(10, 8), normal(10, 9)
    pair = (wide, narrow) if direction == "guide_from_target" else (narrow, wide)
    with pytest.raises(ValueError, match=rf"9 predictors \({direction}\).* at most n - 2 = 8"):
        distance(*pair)
    value = distance(*reversed(pair)).item()
    assert 0 < value < 1
    if direction == "target_from_guide":
        with pytest.raises(ValueError, match="at most n - 2 = 8"):
            distance.prepare(wide)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_ridges(ridge):
    with pytest.raises(ValueError, match=f"ridge is {ridge}; allowed: more than 0"):
        distances.create("ridge", ridge=ridge)


@pytest.mark.parametrize(
    ("name", "option"),
    [("ridge", "scaling"), ("ridge", "direction"), ("linear_regression", "direction")],
)
def test_bad_choices(name, option):
    with pytest.raises(ValueError, match=f"{option} is both; allowed: "):
        distances.create(name, **{option: "both"})

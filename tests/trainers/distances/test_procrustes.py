"""Procrustes distances against SciPy and rsatoolbox; gradients at corners of the nuclear norm."""

import numpy as np
import pytest
import rsatoolbox
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes

from tests.helpers.distance_cases import DATA, check_values, correlated, normal, value_and_gradient
from trainers import distances

COSINE = distances.create("procrustes")
ANGULAR = distances.create("procrustes", form="angular")
BOTH = pytest.mark.parametrize("distance", [COSINE, ANGULAR], ids=["cosine", "angular"])


def padded(target, guide):
    """As float64 arrays of one width, centred and of norm 1."""
    width = max(target.shape[1], guide.shape[1])
    sides = []
    for tap in (target, guide):
        side = np.zeros((len(tap), width))
        side[:, : tap.shape[1]] = tap.double().numpy()
        side -= side.mean(0)
        sides.append(side / np.linalg.norm(side))
    return sides


def test_published_check_value():
    target, guide = check_values()
    for name in ("procrustes", "bures"):
        distance = distances.create(name)
        assert 1 - distance(target, guide).item() == pytest.approx(0.7362553106, abs=1e-10)
        assert 1 - distance(target.float(), guide).item() == pytest.approx(0.7362553106, abs=1e-6)


@pytest.mark.parametrize("data", DATA)
def test_agrees_with_scipy(data):
    target, guide = DATA[data]
    _, cosine = orthogonal_procrustes(*padded(target, guide))
    angle = 2 / np.pi * np.arccos(min(cosine, 1))
    for distance, truth in [(COSINE, 1 - cosine), (ANGULAR, angle)]:
        assert distance(target, guide).item() == pytest.approx(truth, abs=1e-8)
        assert distance(target.float(), guide.float()).item() == pytest.approx(truth, abs=1e-5)


@pytest.mark.parametrize("data", ["correlated", "wide", "low rank"])
def test_disparity_is_the_squared_sine(data):
    *_, disparity = procrustes(*padded(*DATA[data]))
    assert 1 - (1 - COSINE(*DATA[data]).item()) ** 2 == pytest.approx(disparity, abs=1e-8)


@pytest.mark.parametrize("data", ["correlated", "wide", "mixed"])
def test_cosine_is_normalised_bures(data):
    rdms = [
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(tap.numpy()), method="euclidean")
        for tap in DATA[data]
    ]
    oracle = rsatoolbox.rdm.compare(*rdms, method="bures").item()
    assert 1 - COSINE(*DATA[data]).item() == pytest.approx(oracle, abs=1e-6)


@BOTH
@pytest.mark.parametrize("n", [12, 5])
@pytest.mark.parametrize(("p", "q"), [(3, 4), (8, 3), (7, 9), (1, 1)])
def test_gradient(distance, n, p, q):
    target, guide = correlated(n, p, q)
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target.requires_grad_())


@BOTH
@pytest.mark.parametrize("p", [6, 40])
def test_equal_up_to_invariances(distance, p):
    target = normal(24, p, dtype=torch.float32)
    rotation = torch.linalg.qr(normal(p, p, seed=1, dtype=torch.float32))[0]
    value, gradient = value_and_gradient(distance, target, 3 * target @ rotation + 2)
    assert value == pytest.approx(0, abs=2e-6)
    # In units of what moves it by a right angle: at most that of the angle, which jumps at 0.
    assert gradient.norm() * target.norm() < (1e-5 if distance is COSINE else 1)


@BOTH
def test_near_agreement_digits_are_kept(distance):
    """1 - cosine is 5e-9 here: 1 minus a float32 cosine would have none right."""
    target = normal(24, 6, dtype=torch.float32)
    guide = target + 1e-4 * normal(24, 6, seed=1, dtype=torch.float32)
    truth = distance(target.double(), guide.double()).item()
    assert 0 < truth < 1e-4
    assert distance(target, guide).item() == pytest.approx(truth, rel=2e-2)


def _repeated_values():
    """Three singular values that are equal, and two that are 0."""
    basis = torch.linalg.qr(normal(20, 6) - normal(20, 6).mean(0))[0]
    guide = 0.6 * basis[:, :3] + 0.8 * basis[:, 3:]
    return torch.cat((basis[:, :3], torch.zeros(20, 2)), 1), guide


CORNERS = {
    "rank-deficient": (normal(20, 2) @ normal(2, 8, seed=1), normal(20, 9, seed=2)),
    "both rank-deficient": (
        normal(24, 2) @ normal(2, 9, seed=1),
        normal(24, 3, seed=2) @ normal(3, 40, seed=3),
    ),
    "duplicated": DATA["duplicated"],
    "dead features": (normal(20, 6) * (torch.arange(6) < 3), normal(20, 5, seed=1)),
    "identical": (normal(20, 6), normal(20, 6)),
    "identical, wide": (normal(20, 60), normal(20, 60)),
    "equal singular values": _repeated_values(),
    "one-hot": (torch.eye(20).double(), normal(20, 30)),
    "orthogonal": (torch.eye(20)[:, :4].double(), torch.eye(20)[:, 6:9].double()),
}


@BOTH
@pytest.mark.parametrize("corner", CORNERS)
def test_gradients_at_corners_are_finite_and_bounded(distance, corner):
    target, guide = (tap.float() for tap in CORNERS[corner])
    value, gradient = value_and_gradient(distance, target, guide)
    # Of features before they were rounded, which gave them full rank.
    truth, exact = value_and_gradient(distance, *CORNERS[corner])
    assert value == pytest.approx(truth, abs=1e-5)
    centred = target - target.mean(0)
    assert gradient.norm() * centred.norm() < 1.5
    if "identical" not in corner:  # where the angle's gradient jumps
        torch.testing.assert_close(gradient.double(), exact, rtol=1e-3, atol=1e-4)


@BOTH
def test_directions_without_data_get_no_gradient(distance):
    target = normal(20, 6).float() * (torch.arange(6) < 3)
    _, gradient = value_and_gradient(distance, target, normal(20, 5, seed=1).float())
    assert gradient[:, :3].norm() > 0.01
    assert gradient[:, 3:].norm() < 1e-6


def test_orthogonal_is_a_right_angle():
    target, guide = torch.eye(20)[:, :4], torch.eye(20)[:, 6:9]
    target, guide = target - target.mean(0), guide - guide.mean(0)
    basis = torch.linalg.qr(torch.cat((target, guide), 1).double())[0]
    for distance in (COSINE, ANGULAR):
        value = distance(basis[:, :4], basis[:, 4:]).item()
        assert value == pytest.approx(1, abs=1e-9)


@given(seed=st.integers(0, 10**6), n=st.integers(3, 9), p=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_angle_is_a_metric(seed, n, p):
    a, b, c = (normal(n, width, seed=seed + width) for width in (p, 13, 5))
    sides = [ANGULAR(*pair).item() for pair in [(a, b), (b, c), (a, c)]]
    assert sides[2] <= sides[0] + sides[1] + 1e-9
    assert all(0 <= side <= 1 + 1e-9 for side in sides)
    assert ANGULAR(b, a).item() == pytest.approx(sides[0], abs=1e-9)


def test_linear_maps_are_seen():
    target = normal(40, 6)
    assert COSINE(target, target @ normal(6, 6, seed=1)).item() > 0.05


def test_bad_forms():
    with pytest.raises(ValueError, match="form is chord; allowed: cosine, angular"):
        distances.create("procrustes", form="chord")

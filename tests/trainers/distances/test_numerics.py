"""Where float32 is hard, for each distance: extreme scales, and a network that collapses."""

import pytest
import torch

from tests.helpers.distance_cases import correlated, deep_features, normal, value_and_gradient
from tests.trainers.distances.test_contract import FIXED as CASES
from trainers import distances
from trainers.distances import DISTANCES

#: `ridge` keeps an absolute one too, so that its entry cannot state scale.
SCALE_FREE = [
    case
    for case in CASES
    if "scale" in DISTANCES[case[0]].info["invariances"]
    or (case[0] == "ridge" and "scaling" not in case[1])
]

#: Gradients that are large in truth: without a ridge, as the inverse of the smallest direction.
STEEPEST = {"linear_regression": 2e5}


def each(cases):
    return pytest.mark.parametrize(
        ("name", "options"),
        cases,
        ids=[DISTANCES.label(DISTANCES.component(n, **o)) for n, o in cases],
    )


@each(SCALE_FREE)
def test_scale_changes_nothing(name, options):
    distance = distances.create(name, **options)
    for n in (12, 40):
        target, guide = (tap.float() for tap in correlated(n))
        value, gradient = value_and_gradient(distance, target, guide)
        for scale in (1e-20, 1e-12, 1e-6, 1e6, 1e10, 1e15):
            for other in (guide, guide * scale):
                scaled, its_gradient = value_and_gradient(distance, target * scale, other)
                assert scaled == pytest.approx(value, abs=2e-6), (n, scale)
                torch.testing.assert_close(its_gradient * scale, gradient, rtol=1e-3, atol=2e-6)


@each(CASES)
def test_features_that_a_gradient_cannot_reach_count_as_constant(name, options):
    distance = distances.create(name, **options)
    target, guide = (tap.float() for tap in correlated(12))
    for tiny in (1e-33, 1e-40):
        value, gradient = value_and_gradient(distance, target * tiny, guide)
        assert value == 1
        assert not gradient.any()


@pytest.fixture(scope="module")
def taps():
    return deep_features()[::3]


@each(CASES)
def test_untrained_deep_network(name, options, taps):
    distance = distances.create(name, **options)
    repeats = 2 if name == "linear_regression" else 1
    guide = (taps[0] + 0.3 * normal(64, 96, seed=1).float()).repeat(repeats, 1)
    collapsed = []
    for tap in (tap.repeat(repeats, 1) for tap in taps):
        exact = tap.double()
        spread = (exact - exact.mean(0)).norm() / exact.norm()
        value, gradient = value_and_gradient(distance, tap, guide)
        assert gradient.isfinite().all()
        collapsed.append(value == 1 and not gradient.any())
        if collapsed[-1]:
            assert spread < 5e-6
        else:
            assert spread > 3e-6
            assert value == pytest.approx(distance(exact, guide.double()).item(), abs=1e-4)
            # A gradient step of 1% of the spread must not be an explosion.
            assert gradient.norm() * exact.norm() * spread < STEEPEST.get(name, 20)
    assert not any(collapsed[:4])
    assert all(collapsed[9:])


@pytest.mark.gpu
@each(CASES)
@pytest.mark.parametrize("n", [40, 24])
def test_gpu_agrees_with_cpu(name, options, n):
    distance = distances.create(name, **options)
    target, guide = (tap.float() for tap in correlated(n))
    value, gradient = value_and_gradient(distance, target, guide)
    on_gpu, gradient_on_gpu = value_and_gradient(distance, target.cuda(), guide.cuda())
    assert on_gpu == pytest.approx(value, abs=1e-5)
    torch.testing.assert_close(gradient_on_gpu.cpu(), gradient, rtol=1e-3, atol=1e-5)

"""Linear CKA against independent implementations, and where float32 is hard."""

from itertools import product

import numpy as np
import pytest
import rsatoolbox
import torch
from cka import cka_from_features
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.distance_cases import check_values, deep_features, value_and_gradient
from trainers import distances

BIASED = distances.create("linear_cka")
UNBIASED = distances.create("linear_cka", unbiased=True)
BOTH = pytest.mark.parametrize("distance", [BIASED, UNBIASED], ids=["biased", "unbiased"])
# n 40 takes the p x q form for these widths, n 12 the n x n form.
FORMS = pytest.mark.parametrize("n", [12, 40], ids=["gram", "features"])


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def related(n, p=10, q=8, seed=0, dtype=torch.float64):
    shared = normal(n, 4, seed=seed, dtype=dtype)
    mix = normal(4, p + q, seed=seed + 1, dtype=dtype)
    both = shared @ mix + normal(n, p + q, seed=seed + 2, dtype=dtype)
    return both[:, :p].contiguous(), both[:, p:].contiguous()


def hsic(left, right, unbiased):
    """Song et al. 2012, equations 3 (times (n - 1)^2) and 5, with explicit n x n matrices."""
    n = len(left)
    K, L = left @ left.T, right @ right.T
    if not unbiased:
        H = np.eye(n) - 1 / n
        return np.trace(K @ H @ L @ H)
    K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(n)
    total = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + total - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def reference(left, right, *, unbiased):
    left, right = (np.asarray(tap, dtype=np.float64) for tap in (left, right))
    left, right = left - left.mean(0), right - right.mean(0)
    own = hsic(left, left, unbiased) * hsic(right, right, unbiased)
    return 1 - hsic(left, right, unbiased) / np.sqrt(own)


@pytest.mark.parametrize(("distance", "value"), [(BIASED, 0.5576132566), (UNBIASED, 0.5134564895)])
def test_published_check_values(distance, value):
    target, guide = check_values()
    assert 1 - distance(target, guide).item() == pytest.approx(value, abs=1e-10)
    assert 1 - distance(target.float(), guide).item() == pytest.approx(value, abs=1e-6)


@FORMS
def test_biased_is_whitened_cosine_of_euclidean_rdms(n):
    taps = related(n)
    rdms = [
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(tap.numpy()), method="euclidean")
        for tap in taps
    ]
    oracle = rsatoolbox.rdm.compare(*rdms, method="cosine_cov").item()
    assert 1 - BIASED(*taps).item() == pytest.approx(oracle, abs=1e-12)


@FORMS
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_unbiased_agrees_with_pytorch_cka(n, mean):
    taps = [tap + mean for tap in related(n)]
    assert 1 - UNBIASED(*taps).item() == pytest.approx(cka_from_features(*taps).item(), abs=1e-9)


def test_gradient_agrees_with_pytorch_cka():
    target, guide = related(12)
    ours, its = (value_and_gradient(f, target, guide)[1] for f in (UNBIASED, peer))
    torch.testing.assert_close(ours, its, rtol=1e-7, atol=1e-10)


def peer(target, guide):
    return 1 - cka_from_features(target, guide).squeeze()


@BOTH
def test_agrees_with_explicit_matrices(distance):
    widths = [(10, 8), (1, 1), (30, 2), (2, 30)]
    for n, (p, q) in product([4, 5, 12, 18, 19, 40, 200], widths):
        taps = related(n, p, q)
        truth = reference(*taps, unbiased=distance.unbiased)
        assert distance(*taps).item() == pytest.approx(truth, abs=1e-10), (n, p, q)


@pytest.mark.processes
@BOTH
@FORMS
def test_gradient(distance, n):
    target, guide = related(n)
    others = [guide, guide.tanh(), torch.zeros_like(guide)]

    def each(target):
        return distance.each(target, [distance.prepare(other) for other in others])

    assert torch.autograd.gradcheck(each, target.requires_grad_())


@pytest.mark.processes
@BOTH
@FORMS
def test_gradient_of_batches(distance, n):
    guides = [distance.prepare(normal(2, n, q, seed=q, dtype=torch.float64)) for q in (2, 4)]

    def each(target):  # the second position is out of range, so that both are rescaled
        return distance.each(torch.stack((target[0], target[1] * 1e-30)), guides)

    target = normal(2, n, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(each, target)


@BOTH
def test_both_forms_agree(distance):
    """A column of zeros changes nothing but the form: see the next test."""
    target, guide = related(25, 9, 15, dtype=torch.float32)
    value, gradient = value_and_gradient(distance, target, guide)
    padded = torch.cat((target, torch.zeros(25, 1)), dim=1)
    other_value, other_gradient = value_and_gradient(distance, padded, guide)
    assert value == pytest.approx(other_value, abs=1e-6)
    torch.testing.assert_close(gradient, other_gradient[:, :9], rtol=1e-4, atol=1e-7)


def products(n, p, *widths):
    """Floating-point operations of both forms in matrix products, forward and backward."""
    gram = 2 * n * n * (2 * p + sum(widths))
    cross = 2 * n * p * (p + sum(widths))
    return {"gram": gram, "features": 2 * cross + sum(2 * n * q * q for q in widths)}


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((64, 100, 100), "gram"),
        ((64, 10, 60), "gram"),
        ((64, 10, 10), "features"),
        ((64, 100, 10), "gram"),
        ((64, 10, 20, 20, 20), "gram"),
        ((25, 9, 15), "features"),
        ((25, 10, 15), "gram"),
    ],
)
def test_the_cheaper_form_is_taken(shape, form):
    n, p, *widths = shape
    target = normal(n, p).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        guides = [BIASED.prepare(normal(n, q)) for q in widths]
        BIASED.each(target, guides).sum().backward()
    assert counter.get_total_flops() == products(*shape)[form]


@BOTH
@FORMS
def test_scale_changes_nothing(distance, n):
    target, guide = related(n, dtype=torch.float32)
    value, gradient = value_and_gradient(distance, target, guide)
    for scale in (1e-20, 1e-12, 1e-6, 1e-3, 1e3, 1e6, 1e10, 1e15):
        for other in (guide, guide * scale):
            scaled, its_gradient = value_and_gradient(distance, target * scale, other)
            assert scaled == pytest.approx(value, abs=1e-6), scale
            torch.testing.assert_close(its_gradient * scale, gradient, rtol=1e-4, atol=1e-6)


@BOTH
@FORMS
def test_features_that_a_gradient_cannot_reach_count_as_constant(distance, n):
    target, guide = related(n, dtype=torch.float32)
    for tiny in (1e-33, 1e-40):
        value, gradient = value_and_gradient(distance, target * tiny, guide)
        assert value == 1
        assert not gradient.any()


@BOTH
@FORMS
@pytest.mark.parametrize("mean", [1e2, 1e4, 1e5])
def test_large_mean(distance, n, mean):
    target, guide = related(n, dtype=torch.float32)
    target, guide = target + mean, guide - mean
    truth = reference(target, guide, unbiased=distance.unbiased)
    assert distance(target, guide).item() == pytest.approx(truth, abs=2e-6)


@pytest.fixture(scope="module", name="deep_features")
def features_of_a_deep_network():
    return deep_features()


@BOTH
@pytest.mark.parametrize("n", [64, 256], ids=["gram", "features"])
def test_untrained_deep_network(distance, deep_features, n):
    repeats = n // 64
    guide = (deep_features[0] + 0.3 * normal(64, 96, seed=1)).repeat(repeats, 1)
    collapsed = []
    for tap in (tap.repeat(repeats, 1) for tap in deep_features):
        exact = tap.double()
        spread = (exact - exact.mean(0)).norm() / exact.norm()
        value, gradient = value_and_gradient(distance, tap, guide)
        collapsed.append(value == 1)
        assert gradient.isfinite().all()
        if value == 1:
            assert spread < 5e-6
            assert not gradient.any()
        else:
            assert spread > 3e-6
            truth = reference(tap, guide, unbiased=distance.unbiased)
            assert value == pytest.approx(truth, abs=1e-6)
            # A gradient step of 1% of the spread must not be an explosion.
            assert gradient.norm() * exact.norm() * spread < 2
    assert not any(collapsed[:10])
    assert all(collapsed[25:])


@pytest.mark.parametrize(
    ("n", "width", "biased"), [(32, 128, 0.80), (64, 1024, 0.94), (256, 1024, 0.80)]
)
def test_independent_features(n, width, biased):
    taps = normal(n, width), normal(n, width, seed=1)
    assert 1 - BIASED(*taps).item() == pytest.approx(biased, abs=0.01)
    assert 1 - UNBIASED(*taps).item() == pytest.approx(0, abs=0.05)


def test_unbiased_is_not_clamped():
    values = [UNBIASED(normal(16, 8, seed=i), normal(16, 8, seed=i + 99)).item() for i in range(40)]
    assert np.mean(values) == pytest.approx(1, abs=0.05)
    assert max(values) > 1.01
    beyond = next(i for i, value in enumerate(values) if value > 1.01)
    _, gradient = value_and_gradient(
        UNBIASED, normal(16, 8, seed=beyond), normal(16, 8, seed=beyond + 99)
    )
    assert gradient.norm() > 1e-3


@pytest.mark.parametrize("p", [64, 8])
def test_unbiased_rows_all_equally_far_apart(p):
    """One-hot rows: centred they vary, U-centred nothing is left but rounding."""
    n = min(p, 16)
    one_hot = torch.eye(p)[:n] * 0.3 + 0.1
    for target, guide in [(one_hot, normal(n, 9)), (normal(n, 9), one_hot), (one_hot, one_hot)]:
        value, gradient = value_and_gradient(UNBIASED, target, guide)
        assert value == 1
        assert not gradient.any()


def test_unbiased_single_row_that_differs():
    """The feature form of the rule above: no pair of other rows has any difference."""
    for seed in range(20):
        outlier, varied = torch.full((64, 3), 0.1), normal(64, 4, seed=seed)
        outlier[seed] = normal(3, seed=seed)
        for target, guide in [(outlier, varied), (varied, outlier)]:
            value, gradient = value_and_gradient(UNBIASED, target, guide)
            assert value == 1
            assert not gradient.any()


@pytest.mark.parametrize("n", [2, 3])
def test_unbiased_needs_four_rows(n):
    with pytest.raises(ValueError, match=f"n >= 4 rows, got n = {n}"):
        UNBIASED(normal(n, 5), normal(n, 5))


@BOTH
def test_one_backward_product_for_many_guides(distance):
    target = normal(12, 50).requires_grad_()
    value = distance.each(target, [distance.prepare(normal(12, 30, seed=i)) for i in range(5)])
    with torch.profiler.profile(acc_events=True) as profile:
        value.sum().backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["aten::mm"] == 1


@BOTH
@FORMS
def test_backward_under_autocast_keeps_float32(distance, n):
    target, guide = related(n, dtype=torch.float32)
    expected = value_and_gradient(distance, target, guide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(distance, target, guide)
    assert value == expected[0]
    assert torch.equal(gradient, expected[1])


def test_wide_guides_are_kept_as_gram_matrices_only():
    prepared = BIASED.prepare(normal(8, 1000))
    held = [value for value in vars(prepared).values() if isinstance(value, torch.Tensor)]
    assert [tuple(tensor.shape) for tensor in held] == [(8, 8)]
    assert prepared.source is None


@BOTH
@FORMS
def test_double_guide_with_float_target(distance, n):
    target, guide = related(n)
    value, gradient = value_and_gradient(distance, target.float(), guide)
    assert gradient.dtype == torch.float32
    assert value == pytest.approx(distance(target, guide).item(), abs=1e-6)


@pytest.mark.gpu
@BOTH
@FORMS
def test_gpu_agrees_with_cpu(distance, n):
    target, guide = related(n, dtype=torch.float32)
    value, gradient = value_and_gradient(distance, target, guide)
    on_gpu, gradient_on_gpu = value_and_gradient(distance, target.cuda(), guide.cuda())
    assert on_gpu == pytest.approx(value, abs=1e-6)
    torch.testing.assert_close(gradient_on_gpu.cpu(), gradient, rtol=1e-4, atol=1e-6)

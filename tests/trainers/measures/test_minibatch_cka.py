"""CKA over minibatches and tap statistics, against brute force in numpy."""

import numpy as np
import pytest
import torch

from trainers.measures.minibatch_cka import BLOCK_COLUMNS, CKAAccumulator, feature_statistics


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hsic(left, right):
    """Song et al. 2012, equation 5, with explicit matrices."""
    n, one = len(left), np.ones(len(left))
    K, L = left @ left.T, right @ right.T
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    total = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + total - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def reference(batches):
    """Similarities (guide taps, target taps): sums over batches, then the ratio."""
    arrays = [
        tuple([tap.double().numpy() for tap in side.values()] for side in batch)
        for batch in batches
    ]
    num_targets, num_guides = len(arrays[0][0]), len(arrays[0][1])
    result = np.empty((num_guides, num_targets))
    for g in range(num_guides):
        for t in range(num_targets):
            cross = sum(hsic(batch[1][g], batch[0][t]) for batch in arrays)
            guide = sum(hsic(batch[1][g], batch[1][g]) for batch in arrays)
            target = sum(hsic(batch[0][t], batch[0][t]) for batch in arrays)
            result[g, t] = cross / np.sqrt(guide * target)
    return result


def batch(n, widths, guide_widths, seed=0):
    """Features by tap that share a part, some with a large mean or an odd scale."""
    shared = normal(n, 4, seed=seed)
    taps = {
        f"layer{i}": 10.0 ** (3 * i) * (shared @ normal(4, w, seed=i) + normal(n, w, seed=seed + i))
        for i, w in enumerate(widths)
    }
    guides = {
        f"block{i}": 30 * i + shared @ normal(4, w, seed=50 + i) + normal(n, w, seed=seed + 60 + i)
        for i, w in enumerate(guide_widths)
    }
    return taps, guides


def accumulate(batches):
    accumulator = CKAAccumulator()
    for target, guide in batches:
        accumulator.update(target, guide)
    return accumulator


@pytest.mark.parametrize(
    "widths", [((3, 5), (4, 2, 6)), ((100, 300), (90, 80, 10))], ids=["features", "gram"]
)
def test_sum_over_batches_of_any_size(widths):
    batches = [batch(n, *widths, seed=100 * n) for n in (60, 60, 17, 4)]
    accumulator = accumulate(batches)
    similarity = accumulator.similarity()
    assert similarity.dtype == torch.float64
    np.testing.assert_allclose(similarity.numpy(), reference(batches), atol=1e-9)
    assert accumulator.num_rows == 141
    assert accumulator.target_taps == ("layer0", "layer1")
    assert accumulator.guide_taps == ("block0", "block1", "block2")


def test_one_batch_is_the_unbiased_distance():
    from trainers import distances

    target, guide = batch(50, (8,), (100,))
    distance = distances.create("linear_cka", unbiased=True)(target["layer0"], guide["block0"])
    similarity = accumulate([(target, guide)]).similarity()
    assert similarity.item() == pytest.approx(1 - distance.item(), abs=1e-6)


def test_does_not_depend_on_the_batch_size():
    """Where the mean of biased CKA falls from .9 to .5 with the batch size."""
    target, guide = batch(1200, (80,), (80,))
    values = []
    for size in (12, 50, 400):
        rows = [slice(i, i + size) for i in range(0, 1200, size)]
        chunks = [({"t": target["layer0"][r]}, {"g": guide["block0"][r]}) for r in rows]
        values.append(accumulate(chunks).similarity().item())
    assert max(values) - min(values) < 0.02


def test_same_features_are_similar_by_one():
    taps = {"a": normal(32, 9), "b": 1e4 + normal(32, 9, seed=1)}
    similarity = accumulate([(taps, taps)]).similarity()
    torch.testing.assert_close(similarity.diagonal(), torch.ones(2, dtype=torch.float64))
    assert similarity[0, 1].abs() < 0.3


def test_wide_taps_are_taken_in_blocks():
    batches = [batch(9, (2 * BLOCK_COLUMNS + 5,), (25, BLOCK_COLUMNS))]
    np.testing.assert_allclose(accumulate(batches).similarity(), reference(batches), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e15])
@pytest.mark.parametrize("width", [5, 50])
def test_scale_changes_nothing(scale, width):
    target, guide = normal(20, width), normal(20, width, seed=1) + 2
    plain = accumulate([({"t": target}, {"g": guide})]).similarity()
    scaled = accumulate([({"t": target * scale}, {"g": guide * scale})]).similarity()
    torch.testing.assert_close(scaled, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [5, 50])
def test_collapsed_taps_are_flagged(width):
    one_hot = torch.eye(50)[:, :50]
    rows = {
        "healthy": lambda s: normal(50, width, seed=s) + 100,
        "tiny": lambda s: 1e-15 * normal(50, width, seed=s),
        "zeros": lambda s: torch.zeros(50, width),
        "constant": lambda s: normal(1, width, seed=s).expand(50, width),
        "rounding": lambda s: 1 + 1e-7 * normal(50, width, seed=s),
        "equidistant": lambda s: 0.3 * one_hot + 0.1,
    }
    accumulator = CKAAccumulator()
    for seed in (0, 1):
        target = {name: make(seed) for name, make in rows.items()}
        accumulator.update(target, {"g": normal(50, width, seed=9), "dead": torch.zeros(50, 2)})
    expected = dict.fromkeys(rows, True) | {"healthy": False, "tiny": False}
    assert accumulator.target_collapsed == expected
    assert accumulator.guide_collapsed == {"g": False, "dead": True}
    similarity = accumulator.similarity()
    assert similarity.isfinite().all()
    assert similarity[0, :2].all()
    assert not similarity[0, 2:].any()
    assert not similarity[1].any()


def test_a_tap_that_varies_in_one_batch_is_not_collapsed():
    guide = {"g": normal(20, 4)}
    accumulator = accumulate(
        [({"t": torch.zeros(20, 3)}, guide), ({"t": normal(20, 3, seed=1)}, guide)]
    )
    assert accumulator.target_collapsed == {"t": False}


def test_half_types_and_inference_tensors():
    target, guide = batch(30, (6,), (40,))
    expected = accumulate([(target, guide)]).similarity()
    with torch.inference_mode():
        half = accumulate(
            [({k: v.bfloat16() for k, v in target.items()}, {k: v * 1 for k, v in guide.items()})]
        )
        torch.testing.assert_close(half.similarity(), expected, atol=0.01, rtol=0)


def test_refusals():
    accumulator = CKAAccumulator()
    with pytest.raises(ValueError, match="no batch"):
        accumulator.similarity()
    with pytest.raises(ValueError, match=r"n >= 4 rows, got n = \[3\]"):
        accumulator.update({"t": normal(3, 5)}, {"g": normal(3, 5)})
    with pytest.raises(ValueError, match=r"got n = \[8, 9\]"):
        accumulator.update({"t": normal(8, 5)}, {"g": normal(9, 5)})
    accumulator.update({"t": normal(8, 5)}, {"g": normal(8, 5)})
    with pytest.raises(ValueError, match="taps changed"):
        accumulator.update({"u": normal(8, 5)}, {"g": normal(8, 5)})
    assert accumulator.num_rows == 8


@pytest.mark.parametrize(("n", "p"), [(40, 7), (7, 40), (12, 12), (30, 1)])
def test_feature_statistics_are_those_of_the_singular_values(n, p):
    features = normal(n, p) * torch.logspace(0, -2, p) + 50
    centred = features.double().numpy()
    centred = centred - centred.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    shares = singular[singular > 1e-9] / singular.sum()
    statistics = feature_statistics(features)
    assert statistics.std == pytest.approx(np.sqrt(centred.var(0).mean()), rel=1e-9)
    assert statistics.effective_rank == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-6
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shape", [(64, 32), (32, 64)])
def test_effective_rank_counts_dimensions(scale, shape):
    basis = torch.linalg.qr(normal(*shape) if shape[0] > shape[1] else normal(*shape[::-1])).Q
    centred = basis - basis.mean(0)
    orthonormal = torch.linalg.qr(centred[:, :5]).Q
    features = scale * orthonormal @ torch.linalg.qr(normal(20, 5)).Q.T
    std, rank = feature_statistics(features)
    assert rank == pytest.approx(5, abs=0.01)
    assert std == pytest.approx(scale * np.sqrt(5 / features.numel()), rel=1e-4)


def test_effective_rank_does_not_count_rounding():
    low = torch.linalg.qr(normal(400, 3).double()).Q
    features = (low - low.mean(0)) @ torch.linalg.qr(normal(400, 3, seed=1).double()).Q.T
    singular = torch.linalg.svdvals(features)[:3]
    entropy = torch.special.entr(singular / singular.sum()).sum()
    assert feature_statistics(features).effective_rank == pytest.approx(
        entropy.exp().item(), rel=1e-9
    )


@pytest.mark.parametrize("shape", [(20, 5), (5, 20), (1, 5)])
def test_no_variance_has_no_spread_and_no_rank(shape):
    for features in (torch.zeros(shape), 3 + torch.zeros(shape), 1 + 1e-7 * normal(*shape)):
        assert feature_statistics(features) == (0, 0)
    tiny = feature_statistics(1e-20 * normal(20, 5))
    assert tiny.std > 0
    assert tiny.effective_rank > 3


def test_features_that_are_not_finite_show():
    features = normal(20, 5)
    features[0, 0] = float("inf")
    assert all(np.isnan(feature_statistics(features)))

"""Measures summed up over minibatches: those of the whole set, up to rounding."""

import math

import pytest
import torch

from trainers import measures
from trainers.measures import MEASURES, ProductAccumulator

CASES = [("linear_cka", {}), ("linear_cka", {"unbiased": True}), ("procrustes", {})]
BATCHES = [(200,), (60, 60, 60, 20), (1, 4, 190, 5), (7,) * 28 + (4,)]


@pytest.fixture(
    params=CASES, ids=lambda case: MEASURES.label(MEASURES.component(case[0], **case[1]))
)
def measure(request):
    return measures.create(request.param[0], **request.param[1])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def taps(n=200):
    """Features by tap that share a part: plain, off centre, of odd scale, wider than long."""
    shared = normal(n, 4)
    target = {
        "plain": shared @ normal(4, 8, seed=1) + normal(n, 8, seed=2),
        "far": shared @ normal(4, 5, seed=3) + normal(n, 5, seed=4) + 1000,
        "large": 1e12 * (shared @ normal(4, 6, seed=5) + normal(n, 6, seed=6)),
    }
    guide = {
        "tiny": 1e-12 * (shared @ normal(4, 7, seed=7) + normal(n, 7, seed=8)),
        "wide": shared @ normal(4, 250, seed=9) + normal(n, 250, seed=10),
    }
    return target, guide


def accumulate(measure, target, guide, sizes):
    accumulator = ProductAccumulator(measure)
    n = len(next(iter(target.values())))
    start = 0
    assert sum(sizes) == n
    for size in sizes:
        rows = slice(start, start + size)
        accumulator.update(
            {name: tap[rows] for name, tap in target.items()},
            {name: tap[rows] for name, tap in guide.items()},
        )
        start += size
    assert accumulator.num_rows == n
    return accumulator.comparisons()


def test_those_that_say_so_are_the_ones_tested():
    says = {name for name in MEASURES.names() if measures.create(name).from_sums}
    assert says == {name for name, _ in CASES}


@pytest.mark.parametrize("sizes", BATCHES, ids=len)
def test_the_value_of_all_rows_at_once(measure, sizes):
    target, guide = taps()
    summed = accumulate(measure, target, guide, sizes)
    assert list(summed) == [(g, t) for g in guide for t in target]
    for (g, t), comparison in summed.items():
        assert comparison.similarity == pytest.approx(measure(target[t], guide[g]), abs=1e-9)
        assert comparison[1:] == (False, False)


@pytest.mark.parametrize("first", [1, 10])
def test_a_first_batch_that_is_unlike_the_rest(measure, first):
    """The provisional mean is then far off: 1e4 times the spread of the others.

    One such row is the worst case: the unbiased form itself cancels there to 1e-8.
    """
    left, right = normal(300, 6), normal(300, 5, seed=1)
    right[:, :3] += left[:, :3]
    left[:first] += 1e4
    right[:first] -= 1e4
    sizes = (first, 100, 200 - first)
    (summed,) = accumulate(measure, {"t": left}, {"g": right}, sizes).values()
    exact = measure(left.double(), right.double())
    assert summed.similarity == pytest.approx(exact, abs=1e-6)


def test_sorted_rows(measure):
    """Every batch has another mean."""
    left = torch.linspace(-1000, 1000, 200)[:, None] + normal(200, 6)
    right = normal(200, 5, seed=1) + left[:, :5] / 300
    (summed,) = accumulate(measure, {"t": left}, {"g": right}, (20,) * 10).values()
    assert summed.similarity == pytest.approx(measure(left, right), abs=1e-10)


def test_collapsed_taps_are_flagged():
    rows = {
        "zeros": torch.zeros(50, 6),
        "constant": normal(1, 6).expand(50, 6),
        "large": 1e6 + normal(1, 6).expand(50, 6),
        "rounding": 1 + 1e-7 * normal(50, 6),
        "tiny": 1e-15 * normal(50, 6),
    }
    for name, options in CASES:
        measure = measures.create(name, **options)
        summed = accumulate(
            measure, rows, {"g": normal(50, 4), "dead": torch.ones(50, 2)}, (20, 30)
        )
        for tap in rows:
            live = tap == "tiny"
            assert summed["g", tap][1:] == (not live, False)
            assert summed["dead", tap] == (0.0, not live, True)
            assert (summed["g", tap].similarity != 0) == live


def test_equidistant_rows_leave_the_unbiased_nothing():
    simplex = 0.3 * torch.eye(50) + 0.1
    measure = measures.create("linear_cka", unbiased=True)
    (summed,) = accumulate(measure, {"t": simplex}, {"g": normal(50, 4)}, (20, 30)).values()
    assert summed == (0.0, True, False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_visible(measure, bad):
    left, right = normal(50, 6), normal(50, 4, seed=1)
    left[30, 2] = bad
    (summed,) = accumulate(measure, {"t": left}, {"g": right}, (20, 30)).values()
    assert math.isnan(summed.similarity)
    (summed,) = accumulate(measure, {"t": right}, {"g": left}, (20, 30)).values()
    assert math.isnan(summed.similarity)


def held(thing):
    """Bytes of the tensors that an object holds, at any depth."""
    if isinstance(thing, torch.Tensor):
        return thing.nbytes
    if isinstance(thing, list | tuple):
        return sum(map(held, thing))
    return held(list(vars(thing).values())) if hasattr(thing, "__dict__") else 0


def test_memory_does_not_grow_with_the_rows(measure):
    accumulator, sizes = ProductAccumulator(measure), []
    for seed in range(3):
        features = {"a": normal(40, 90, seed=seed), "b": normal(40, 60, seed=seed + 9)}
        accumulator.update(features, {"c": normal(40, 80, seed=seed + 20)})
        sizes.append(held(accumulator))
    assert sizes == sizes[:1] * 3
    # Beside the products there are a few sums of each column.
    products = ProductAccumulator.nbytes([90, 60], [80])
    assert products < sizes[0] < 1.1 * products


def test_half_types_and_inference_tensors(measure):
    left, right = normal(50, 6).bfloat16(), normal(50, 4, seed=1)
    with torch.inference_mode():
        (summed,) = accumulate(measure, {"t": left}, {"g": right * 1}, (20, 30)).values()
    assert summed.similarity == pytest.approx(measure(left, right), abs=1e-12)


def test_refusals(measure):
    accumulator = ProductAccumulator(measure)
    with pytest.raises(ValueError, match=r"same n >= 1 rows, got n = \[8, 9\]"):
        accumulator.update({"t": normal(8, 5)}, {"g": normal(9, 5)})
    accumulator.update({"t": normal(1, 5)}, {"g": normal(1, 5)})
    with pytest.raises(ValueError, match=rf"needs n >= {measure.min_rows} rows, got n = 1"):
        accumulator.comparisons()
    with pytest.raises(ValueError, match="taps changed"):
        accumulator.update({"u": normal(8, 5)}, {"g": normal(8, 5)})
    with pytest.raises(ValueError, match="taps changed"):
        accumulator.update({"t": normal(8, 6)}, {"g": normal(8, 5)})

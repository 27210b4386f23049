"""What every registered distance keeps; a new one is tested by being registered."""

import pytest
import torch

from trainers import distances
from trainers.distances import DISTANCES, INVARIANCES, Distance, of_logits
from trainers.registry import UnknownNameError

VARIANTS = [
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
#: Those that learn, and those of answers, keep other rules: they have tests of their own.
FIXED = [n for n in DISTANCES.names() if not (of_logits(n) or DISTANCES[n].factory.learns)]
CASES = [(name, {}) for name in FIXED] + VARIANTS
SHAPES = [(24, 6, 9), (24, 40, 30), (24, 6, 40)]  # n, p, q: tall, wide, mixed

#: Rows that each test uses at least, of distances that refuse features as wide as their rows.
NEEDS_ROWS = {"linear_regression": 45}  # with as many predictors as rows it fits anything
#: How far from 0 distances are at identity that are not 0 there.
NOT_ZERO_AT_IDENTITY = {"ridge": 0.05}  # the ridge loses a part of what it predicts


@pytest.fixture(
    params=CASES, ids=lambda case: DISTANCES.label(DISTANCES.component(*case[:1], **case[1]))
)
def case(request):
    return request.param


@pytest.fixture
def distance(case):
    return distances.create(case[0], **case[1])


@pytest.fixture
def rows(case):
    """The number of rows that a distance needs where a test would have n."""
    return lambda n: max(n, NEEDS_ROWS.get(case[0], 0))


def features(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def related(n, p, q, seed=0):
    """Target and guide features that share a part."""
    shared = features(n, 5, seed=seed)
    target = shared @ features(5, p, seed=seed + 1) + features(n, p, seed=seed + 2)
    return target, shared @ features(5, q, seed=seed + 3) + features(n, q, seed=seed + 4)


def value_and_gradient(distance, target, guide, autocast=False):
    """`autocast` covers the forward pass alone, as PyTorch advises."""
    target = target.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = distance(target, guide)
    value.backward()
    return value.detach(), target.grad


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_scalar_between_its_bounds_with_finite_gradient(distance, rows, n, p, q):
    value, gradient = value_and_gradient(distance, *related(rows(n), p, q))
    assert value.shape == ()
    assert 0.01 < value < 2
    assert gradient.isfinite().all()
    assert gradient.norm() > 0


@pytest.mark.parametrize("p", [6, 40])
def test_zero_at_identity(case, distance, rows, p):
    target = features(rows(24), p)
    value, gradient = value_and_gradient(distance, target, target)
    assert value == pytest.approx(0, abs=NOT_ZERO_AT_IDENTITY.get(case[0], 1e-5))
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("n", "p", "q"), [(12, 3, 4), (8, 10, 9)])
def test_gradient_is_that_of_the_value(distance, rows, n, p, q):
    target, guide = (tap.double() for tap in related(rows(n), p, q))
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target.requires_grad_())


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_a_step_against_the_gradient_comes_closer(distance, rows, n, p, q):
    target, guide = related(rows(n), p, q)
    value, gradient = value_and_gradient(distance, target, guide)
    step = 1e-2 * target.norm() / gradient.norm()
    assert distance(target - step * gradient, guide) < value


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_prepared_guide_gives_the_same_bits(distance, rows, n, p, q):
    target, guide = related(rows(n), p, q)
    prepared = distance.prepare(guide)
    for other in (target, target.flip(0)):  # the second meets what the first left in the guide
        direct = value_and_gradient(distance, other, guide)
        reused = value_and_gradient(distance, other, prepared)
        assert all(map(torch.equal, direct, reused))


def test_prepared_guide_is_a_snapshot(distance, rows):
    target, guide = related(rows(24), 6, 9)
    expected = distance(target, guide.clone())
    if isinstance(prepared := distance.prepare(guide), torch.Tensor):
        pytest.skip("features stay as they are")
    guide.zero_()
    assert torch.equal(distance(target, prepared), expected)


def test_guide_gets_no_gradient(distance, rows):
    target, guide = related(rows(24), 6, 9)
    guide.requires_grad_()
    distance(target.requires_grad_(), guide).backward()
    assert guide.grad is None


def test_each_is_one_by_one(distance, rows):
    target = features(rows(24), 6).requires_grad_()
    guides = [related(rows(24), 6, q, seed=q)[1] for q in (3, 30, 7)]
    weights = torch.tensor([0.5, -2.0, 3.0])
    each = distance.each(target, [distance.prepare(guide) for guide in guides])
    (gradient,) = torch.autograd.grad((weights * each).sum(), target)
    single = torch.stack([distance(target, guide) for guide in guides])
    (expected,) = torch.autograd.grad((weights * single).sum(), target)
    torch.testing.assert_close(each, single)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_all_is_each(distance, rows, autocast):
    targets = [features(rows(24), p, seed=p).requires_grad_() for p in (6, 40, 9)]
    with torch.inference_mode():
        guides = [features(rows(24), q, seed=q) for q in (9, 30, 40)]
    meets = [[0], [1, 2, 0], [2]]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        together = distance.all(targets, guides, meets)
    prepared = [distance.prepare(guide) for guide in guides]
    each = torch.cat(
        [
            distance.each(target, [prepared[index] for index in indices])
            for target, indices in zip(targets, meets, strict=True)
        ]
    )
    assert together.shape == (5,)
    torch.testing.assert_close(together, each, rtol=1e-6, atol=1e-7)
    weights = torch.tensor([0.5, -2.0, 3.0, 1.0, 2.0])
    got = torch.autograd.grad((weights * together).sum(), targets)
    expected = torch.autograd.grad((weights * each).sum(), targets)
    for left, right in zip(got, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-7)


def test_all_raises_as_each_does(distance):
    n = distance.min_rows
    with pytest.raises(ValueError, match=f"n >= {n} rows, got n = {n - 1}"):
        distance.all([features(n - 1, 6)], [features(n, 9)], [[0]])
    with pytest.raises(ValueError, match=f"n >= {n} rows, got n = {n - 1}"):
        distance.all([features(n, 6)], [features(n - 1, 9)], [[0]])
    with pytest.raises(ValueError, match=r"same rows, got .*\(24, 6\) and \(23, 9\)"):
        distance.all([features(23, 6), features(24, 6)], [features(23, 9)], [[0], [0]])


def test_each_counts_a_guide_that_is_given_twice(distance, rows):
    target, guide = related(rows(24), 6, 9)
    prepared = distance.prepare(guide)
    target.requires_grad_()
    (once,) = torch.autograd.grad(distance(target, prepared), target)
    (twice,) = torch.autograd.grad(distance.each(target, [prepared, prepared]).sum(), target)
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
@pytest.mark.parametrize("lead", [(3,), (2, 2)])
def test_leading_dimensions_are_averaged(distance, rows, n, p, q, lead):
    target, guide = (
        features(*lead, rows(n), p).requires_grad_(),
        features(*lead, rows(n), q, seed=1),
    )
    mean = distance.each(target, [distance.prepare(guide)])
    (gradient,) = torch.autograd.grad(mean.sum(), target)
    pairs = list(zip(target.flatten(0, -3), guide.flatten(0, -3), strict=True))
    single = torch.stack([distance(*pair) for pair in pairs]).mean()
    (expected,) = torch.autograd.grad(single, target)
    assert mean.shape == (1,)
    torch.testing.assert_close(mean[0], single)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


TRANSFORMS = {
    "rotation": lambda x: x @ torch.linalg.qr(features(x.shape[1], x.shape[1], seed=9))[0],
    "scale": lambda x: 3.7 * x,
    "mean": lambda x: x + 5 * features(x.shape[1], seed=9),
    "linear": lambda x: x @ (features(x.shape[1], x.shape[1], seed=9) + 4 * torch.eye(x.shape[1])),
}


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_stated_invariances(case, distance, rows, n, p, q):
    target, guide = related(rows(n), p, q)
    expected = distance(target, guide)
    for kind in DISTANCES[case[0]].info["invariances"]:
        change = TRANSFORMS[kind]
        torch.testing.assert_close(distance(change(target), guide), expected, rtol=0, atol=2e-5)
        torch.testing.assert_close(distance(target, change(guide)), expected, rtol=0, atol=2e-5)


def test_entry_says_what_it_is(case):
    info = DISTANCES[case[0]].info
    assert set(info["invariances"]) <= set(INVARIANCES)
    assert info["cost"]
    assert info["source"]
    assert info["bias"]
    assert DISTANCES[case[0]].summary


CONSTANT = {
    "zeros": torch.zeros,
    "equal rows": lambda n, p: features(1, p).expand(n, p),
    "large equal rows": lambda n, p: 1e6 + features(1, p).expand(n, p),
    "equal up to rounding": lambda n, p: 1 + 1e-7 * features(n, p),
}


@pytest.mark.parametrize("kind", CONSTANT)
@pytest.mark.parametrize("p", [6, 40])
@pytest.mark.parametrize("side", ["target", "guide", "both"])
def test_no_variance_is_distance_one_without_gradient(distance, rows, kind, p, side):
    constant, varied = CONSTANT[kind](rows(24), p), features(rows(24), 9)
    target = varied if side == "guide" else constant
    guide = varied if side == "target" else constant
    value, gradient = value_and_gradient(distance, target, guide)
    assert value == 1
    assert torch.equal(gradient, torch.zeros_like(target))


def test_no_variance_in_one_batch_leaves_the_others(distance, rows):
    target, guide = features(3, rows(24), 6), features(3, rows(24), 9, seed=1)
    target[1] = 0
    value = distance.each(target, [distance.prepare(guide)])[0]
    single = [distance(target[i], guide[i]) for i in range(3)]
    assert single[1] == 1
    torch.testing.assert_close(value, torch.stack(single).mean())


def test_fewest_rows(case, distance):
    n = distance.min_rows
    widths = (1, 1) if case[0] in NEEDS_ROWS else (6, 9)
    value, gradient = value_and_gradient(distance, *related(n, *widths))
    assert value.isfinite()
    assert gradient.isfinite().all()
    for target, guide in [
        (features(n - 1, 6), features(n, 9)),
        (features(n, 6), features(n - 1, 9)),
    ]:
        with pytest.raises(ValueError, match=r"n = |same rows"):
            distance(target, guide)
    with pytest.raises(ValueError, match=f"n >= {n} rows, got n = {n - 1}"):
        distance.prepare(features(n - 1, 9))
    with pytest.raises(ValueError, match=f"n >= {n} rows, got n = {n - 1}"):
        distance.each(features(2, n - 1, 6), [])


def test_rows_must_match(distance):
    with pytest.raises(ValueError, match=r"same rows, got .*\(24, 6\) and \(23, 9\)"):
        distance(features(24, 6), features(23, 9))
    with pytest.raises(ValueError, match="features are"):
        distance(features(24), features(24))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [6, 40])
def test_half_types_are_computed_in_float32(distance, rows, dtype, p):
    target, guide = (100 * tap.to(dtype) for tap in related(rows(24), p, 9))
    value, gradient = value_and_gradient(distance, target, guide)
    expected, gradient_expected = value_and_gradient(distance, target.float(), guide.float())
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(gradient, gradient_expected.to(dtype))


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_autocast_changes_nothing(distance, rows, n, p, q):
    target, guide = related(rows(n), p, q)
    expected = value_and_gradient(distance, target, guide)
    got = value_and_gradient(distance, target, guide, autocast=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prepared = distance.prepare(guide)
    reused = value_and_gradient(distance, target, prepared, autocast=True)
    assert all(map(torch.equal, expected, got))
    assert all(map(torch.equal, expected, reused))


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_inference_guides(distance, rows, n, p, q):
    target, guide = related(rows(n), p, q)
    expected = value_and_gradient(distance, target, guide)
    with torch.inference_mode():
        made = guide * 1
        inside = distance.prepare(made)
        assert torch.equal(distance(target, inside), expected[0])
    assert made.is_inference()
    for form in (made, inside, distance.prepare(made)):
        assert all(map(torch.equal, expected, value_and_gradient(distance, target, form)))


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_large_common_mean(case, distance, rows, n, p, q):
    if "mean" not in DISTANCES[case[0]].info["invariances"]:
        pytest.skip("the mean counts")
    target, guide = related(rows(n), p, q)
    moved = (1e4 + target).double(), (1e4 + guide).double()
    value, gradient = value_and_gradient(distance, *(tap.float() for tap in moved))
    expected, gradient_expected = value_and_gradient(distance, *moved)
    assert value == pytest.approx(float(expected), abs=1e-6)
    torch.testing.assert_close(gradient.double(), gradient_expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("p", [6, 40])
def test_bad_features_are_not_hidden(distance, rows, value, p):
    target, guide = features(rows(24), p), features(rows(24), 9)
    target[3, 2] = value
    assert distance(target, guide).isnan()
    assert distance(guide, target).isnan()


def test_unknown_options_name_what_exists(case):
    with pytest.raises(UnknownNameError, match="unknown option"):
        distances.create(case[0], no_such_option=1)


class Products(Distance):
    """What the base class does for a subclass that has `forward` alone."""

    def forward(self, target, guide):
        return (target @ guide[..., : target.shape[-1]].mT).square().mean((-2, -1))


def test_forward_alone_is_enough():
    distance, target, guide = Products(), *related(24, 6, 9)
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

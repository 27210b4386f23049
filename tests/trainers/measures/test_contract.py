"""What every registered measure keeps; a new one is tested by being registered."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import distances, measures
from trainers.distances import DISTANCES
from trainers.measures import INVARIANCES, MEASURES, Side
from trainers.registry import UnknownNameError

OPTIONS = [
    ("linear_cka", {"unbiased": True}),
    ("rbf_cka", {"unbiased": True, "bandwidth": 0.5}),
    ("rbf_cka", {"median": "matrix"}),
    ("rsa", {"rdm": "cosine"}),
    ("rsa", {"rdm": "squared_euclidean", "compare": "spearman"}),
    ("rsa", {"rdm": "squared_euclidean", "compare": "cosine"}),
    ("cca", {"squared": True}),
    ("svcca", {"variance": 0.8}),
    ("predictivity", {"direction": "target_from_guide"}),
    ("predictivity", {"ridge": 0.0, "folds": 3}),
    ("predictivity", {"folds": 1}),
]
CASES = [(name, {}) for name in MEASURES.names()] + OPTIONS
SHAPES = [(24, 6, 9), (24, 40, 30), (24, 6, 40)]  # n, p, q: tall, wide, mixed
#: More that holds for some options.
ALSO = {
    "rsa(rdm=cosine)": ("rotation",),
    "rsa(compare=spearman,rdm=squared_euclidean)": ("rotation", "mean"),
    "rsa(compare=cosine,rdm=squared_euclidean)": ("rotation", "mean"),
}


def label(case):
    return MEASURES.label(MEASURES.component(case[0], **case[1]))


@pytest.fixture(params=CASES, ids=label)
def case(request):
    return request.param


@pytest.fixture
def measure(case):
    return measures.create(case[0], **case[1])


def features(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def related(n, p, q, seed=0):
    """Target and guide features that share a part."""
    shared = features(n, 5, seed=seed)
    target = shared @ features(5, p, seed=seed + 1) + features(n, p, seed=seed + 2)
    return target, shared @ features(5, q, seed=seed + 3) + features(n, q, seed=seed + 4)


def shapes(measure):
    """Those of SHAPES on which the measure is defined."""
    defined = []
    for n, p, q in SHAPES:
        try:
            measure.check_shape(n, p)
            measure.check_shape(n, q)
        except ValueError:
            continue
        defined.append((n, p, q))
    assert defined
    return defined


def test_entry_says_what_it_is(case):
    info = MEASURES[case[0]].info
    assert set(info["invariances"]) <= set(INVARIANCES)
    for key in ("cost", "bias", "source"):
        assert info[key], key
    assert MEASURES[case[0]].summary


def test_a_plain_number_within_bounds(measure):
    for shape in shapes(measure):
        value = measure(*related(*shape))
        assert type(value) is float
        assert -1 <= value <= 1
        assert measure.compare(*related(*shape)) == (value, False, False)


def test_one_at_identity(case, measure):
    ridge = getattr(measure, "ridge", 0)
    for _, p, _ in shapes(measure):
        target = features(24, p)
        assert measure(target, target) <= 1 + 1e-12
        if not ridge and (case[0] != "predictivity" or p < 10):
            assert measure(target, target) == pytest.approx(1, abs=1e-9)


def test_symmetric_where_claimed(measure):
    for shape in shapes(measure):
        target, guide = related(*shape)
        same = measure(guide, target) == pytest.approx(measure(target, guide), abs=1e-12)
        assert same == measure.symmetric


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in DISTANCES.names()], ids=label)
def test_one_less_the_distance_of_the_same_name(case):
    name, options = case
    if options.get("compare") == "spearman":
        pytest.skip("ranks have no gradient, so no distance")
    distance, measure = distances.create(name, **options), measures.create(name, **options)
    for shape in SHAPES:
        target, guide = (tap.double() for tap in related(*shape))
        expected = 1 - distance(target, guide).item()
        assert measure(target, guide) == pytest.approx(expected, abs=1e-13)


def test_those_that_repeat_a_distance():
    assert set(MEASURES.names()) & set(DISTANCES.names()) == {
        "linear_cka", "procrustes", "rbf_cka", "rsa",
    }  # fmt: skip


TRANSFORMS = {
    "rotation": lambda x: x @ torch.linalg.qr(features(x.shape[1], x.shape[1], seed=9).double())[0],
    "scale": lambda x: 3.7 * x,
    "mean": lambda x: x + 5 * features(x.shape[1], seed=9).double(),
    "linear": lambda x: (
        x @ (features(x.shape[1], x.shape[1], seed=9).double() + 4 * torch.eye(x.shape[1]))
    ),
}


def test_stated_invariances(case, measure):
    kinds = (*MEASURES[case[0]].info["invariances"], *ALSO.get(label(case), ()))
    for shape in shapes(measure):
        target, guide = (tap.double() for tap in related(*shape))
        expected = measure(target, guide)
        for kind in kinds:
            change = TRANSFORMS[kind]
            assert measure(change(target), guide) == pytest.approx(expected, abs=1e-9), kind
            assert measure(target, change(guide)) == pytest.approx(expected, abs=1e-9), kind


def test_other_transforms_change_it(case, measure):
    """Else the entry should claim more; only what the options hold beyond the entry is left out."""
    kinds = {*MEASURES[case[0]].info["invariances"], *ALSO.get(label(case), ())}
    (shape, *_) = shapes(measure)
    target, guide = (tap.double() for tap in related(*shape))
    for kind in {*TRANSFORMS} - kinds:
        if kind == "linear" and getattr(measure, "ridge", 1) == 0:
            continue
        changed = [
            measure(TRANSFORMS[kind](target), guide),
            measure(target, TRANSFORMS[kind](guide)),
        ]
        assert any(abs(value - measure(target, guide)) > 1e-6 for value in changed), kind


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16), n=st.integers(16, 40), p=st.integers(1, 12), q=st.integers(1, 12)
)
def test_any_features(seed, n, p, q):
    target, guide = features(n, p, seed=seed), features(n, q, seed=seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for case in CASES:
        measure = measures.create(case[0], **case[1])
        value, *collapsed = measure.compare(target, guide)
        assert math.isfinite(value), label(case)
        assert value <= 1 + 1e-12, label(case)
        if case[0] != "predictivity":
            assert value >= -1 - 1e-12, label(case)
        if case[0] != "predictivity" and not any(collapsed):
            # Neighbours of one-dimensional directions tie, and ties go by the order of rows.
            if case[0] in ("mutual_knn", "cknna") and min(p, q) == 1:
                continue
            shuffled = measure(target[order], guide[order])
            assert shuffled == pytest.approx(value, abs=1e-9), label(case)


def test_prepared_sides_give_the_same(measure):
    for shape in shapes(measure):
        target, guide = related(*shape)
        prepared = measure.prepare(target), measure.prepare(guide)
        assert all(isinstance(side, Side) for side in prepared)
        assert measure(*prepared) == measure(target, guide) == measure(prepared[0], guide)


CONSTANT = {
    "zeros": torch.zeros,
    "equal rows": lambda n, p: features(1, p).expand(n, p),
    "large equal rows": lambda n, p: 1e6 + features(1, p).expand(n, p),
    "equal up to rounding": lambda n, p: 1 + 1e-7 * features(n, p),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_no_variance_is_zero_and_flagged(measure, kind):
    for n, p, _ in shapes(measure):
        constant, varied = CONSTANT[kind](n, p), features(n, 9)
        assert measure.compare(constant, varied) == (0.0, True, False)
        assert measure.compare(varied, constant) == (0.0, False, True)
        assert measure.compare(constant, constant) == (0.0, True, True)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_visible(measure, bad):
    for shape in shapes(measure):
        target, guide = related(*shape)
        target[3, 2] = bad
        assert math.isnan(measure(target, guide))
        assert math.isnan(measure(guide, target))
        assert math.isnan(measure(target, torch.zeros_like(guide)))
        assert measure.compare(target, torch.zeros_like(guide))[1:] == (False, True)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_of_float32_features_does_not_matter(measure, scale):
    for shape in shapes(measure):
        target, guide = related(*shape)
        expected = measure(target, guide)
        assert measure(target * scale, guide) == pytest.approx(expected, abs=1e-6)


def test_half_types_count_as_they_are(measure):
    target, guide = (tap.to(torch.bfloat16) for tap in related(24, 6, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure(target, guide) == measure(target.float(), guide.double())


def test_inference_tensors_and_gradients(measure):
    target, guide = related(24, 6, 9)
    with torch.inference_mode():
        other = guide * 1
    assert measure(target.clone().requires_grad_(), other) == measure(target, guide)


def test_what_is_given_stays_as_it_is(measure):
    target, guide = (tap.double() for tap in related(24, 6, 9))
    copies = target.clone(), guide.clone()
    measure(target, guide)
    assert all(map(torch.equal, (target, guide), copies))


def test_fewest_rows(measure):
    n = measure.min_rows
    width = 1
    if hasattr(measure, "squared"):
        n = 3
    target, guide = features(n, width), features(n, width, seed=1)
    if measure.prepare(target).view is not None:
        assert math.isfinite(measure(target, guide))
    with pytest.raises(ValueError, match=r"n (>=|>) \d"):
        measure(features(n - 1, width), features(n - 1, width))


def test_rows_must_match(measure):
    with pytest.raises(ValueError, match=r"same rows, got .*\(24, 6\) and \(23, 9\)"):
        measure(features(24, 6), features(23, 9))
    with pytest.raises(ValueError, match=r"features are \(rows, features\)"):
        measure(features(24), features(24))


@pytest.mark.parametrize("name", ["cca", "svcca"])
@pytest.mark.parametrize(("p", "q"), [(24, 5), (5, 24), (23, 5), (5, 40)])
def test_trivially_perfect_is_refused(name, p, q):
    with pytest.raises(ValueError, match="trivially perfect for features of width"):
        measures.create(name)(features(24, p), features(24, q))


def test_unknown_names_and_options():
    with pytest.raises(UnknownNameError, match="did you mean 'linear_cka'"):
        measures.create("linear_ckaa")
    with pytest.raises(UnknownNameError, match="option of measure 'rsa'"):
        measures.create("rsa", metric="cosine")
    with pytest.raises(ValueError, match="allowed: correlation, cosine, squared_euclidean"):
        measures.create("rsa", rdm="euclidean")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rbf_cka", {"bandwidth": 0.0}),
        ("svcca", {"variance": 0.0}),
        ("svcca", {"variance": 1.5}),
        ("mutual_knn", {"k": 0}),
        ("predictivity", {"ridge": -1.0}),
        ("predictivity", {"folds": 0}),
    ],
)
def test_options_out_of_range(name, options):
    (option,) = options
    with pytest.raises(ValueError, match=rf"{option}.* is .*; allowed"):
        measures.create(name, **options)


@pytest.mark.parametrize("name", ["linear_cka", "rbf_cka"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equidistant_rows_leave_the_unbiased_nothing(name, dtype):
    simplex = (0.3 * torch.eye(24) + 0.1).to(dtype)
    measure = measures.create(name, unbiased=True)
    assert measure.compare(simplex, features(24, 5)) == (0.0, True, False)
    flat = simplex - simplex.mean(0)
    narrow = (flat @ torch.linalg.svd(flat.double()).Vh.T[:, :23].to(dtype)).contiguous()
    assert measure.compare(narrow, features(24, 5)) == (0.0, True, False)


def test_one_direction_leaves_neighbours_nothing():
    ray = torch.arange(1.0, 25.0)[:, None] * features(1, 6)
    for name in ("mutual_knn", "cknna"):
        assert measures.create(name).compare(ray, features(24, 5)) == (0.0, True, False)


def test_rows_that_mostly_coincide_have_no_bandwidth():
    most = features(24, 6)
    most[4:] = most[4]
    assert measures.create("rbf_cka").compare(most, features(24, 5)) == (0.0, True, False)


def test_rows_without_direction_are_alike_and_unlike_all_others():
    target = features(12, 6)
    target[[2, 7]] = 0
    filled = target.double()
    filled[[2, 7]] = torch.arange(6.0).double()
    rdm = 1 - np.corrcoef(filled.numpy())
    rdm[[2, 7]] = rdm[:, [2, 7]] = 1
    rdm[2, 7] = rdm[7, 2] = 0
    guide = features(12, 5, seed=3)
    above = np.triu_indices(12, 1)
    other = 1 - np.corrcoef(guide.double().numpy())
    expected = np.corrcoef(rdm[above], other[above])[0, 1]
    assert measures.create("rsa")(target, guide) == pytest.approx(expected, abs=1e-12)

"""RSA against rsatoolbox and SciPy, and rows of no direction."""

import numpy as np
import pytest
import rsatoolbox
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from tests.helpers.distance_cases import DATA, check_values, correlated, normal, value_and_gradient
from trainers import distances

RDMS = ["correlation", "cosine", "squared_euclidean"]
SCIPY = {"correlation": "correlation", "cosine": "cosine", "squared_euclidean": "sqeuclidean"}
EVERY_RDM = pytest.mark.parametrize("rdm", RDMS)
EVERY_COMPARE = pytest.mark.parametrize("compare", ["pearson", "cosine"])


def reference(target, guide, rdm, compare):
    left, right = (pdist(tap.double().numpy(), SCIPY[rdm]) for tap in (target, guide))
    if compare == "pearson":
        return 1 - np.corrcoef(left, right)[0, 1]
    return 1 - left @ right / np.sqrt((left @ left) * (right @ right))


@pytest.mark.parametrize(
    ("rdm", "value"), list(zip(RDMS, [0.4851461428, 0.4936161881, 0.5062321116], strict=True))
)
def test_published_check_values(rdm, value):
    target, guide = check_values()
    distance = distances.create("rsa", rdm=rdm)
    assert 1 - distance(target, guide).item() == pytest.approx(value, abs=1e-10)
    assert 1 - distance(target.float(), guide).item() == pytest.approx(value, abs=1e-6)


@EVERY_RDM
@EVERY_COMPARE
def test_agrees_with_scipy(rdm, compare):
    # Without their mean, rows of one feature are zero.
    left_out = {"one feature"} if rdm == "correlation" else set()
    for data in DATA.keys() - left_out:
        (target, guide), distance = DATA[data], distances.create("rsa", rdm=rdm, compare=compare)
        truth = reference(target, guide, rdm, compare)
        found = distance(target, guide).item(), distance(target.float(), guide.float()).item()
        assert found[0] == pytest.approx(truth, abs=1e-8), data
        assert found[1] == pytest.approx(truth, abs=1e-5), data


@pytest.mark.parametrize(
    ("rdm", "method"), [("correlation", "correlation"), ("squared_euclidean", "euclidean")]
)
@EVERY_COMPARE
@pytest.mark.parametrize("data", ["correlated", "wide", "low rank"])
def test_agrees_with_rsatoolbox(data, rdm, method, compare):
    rdms = [
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(tap.numpy()), method=method)
        for tap in DATA[data]
    ]
    name = {"pearson": "corr", "cosine": "cosine"}[compare]
    oracle = rsatoolbox.rdm.compare(*rdms, method=name).item()
    distance = distances.create("rsa", rdm=rdm, compare=compare)
    assert 1 - distance(*DATA[data]).item() == pytest.approx(oracle, abs=1e-9)


def test_whitened_cosine_of_its_euclidean_rdms_is_linear_cka():
    taps, upper = correlated(20), np.triu_indices(20, 1)
    distance = distances.create("rsa", rdm="squared_euclidean", compare="cosine")
    rdms = [
        rsatoolbox.rdm.RDMs(distance.profile(tap).view(20, 20).numpy()[upper][None]) for tap in taps
    ]
    oracle = rsatoolbox.rdm.compare(*rdms, method="cosine_cov").item()
    assert 1 - distances.create("linear_cka")(*taps).item() == pytest.approx(oracle, abs=1e-12)


@EVERY_RDM
@EVERY_COMPARE
@pytest.mark.parametrize(("n", "p"), [(12, 4), (7, 10)])
@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_gradient(n, p, rdm, compare, mean):
    (target, guide), distance = correlated(n, p), distances.create("rsa", rdm=rdm, compare=compare)
    target = (target + mean * normal(p, seed=7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target)


def test_independent_features_are_not_similar():
    taps = normal(64, 1024).float(), normal(64, 1024, seed=1).float()
    for rdm in RDMS:
        assert distances.create("rsa", rdm=rdm)(*taps).item() == pytest.approx(1, abs=0.1)


def dead_rows(p):
    target = normal(20, p).float().relu()
    target[3:6] = 0
    return target


@pytest.mark.parametrize("rdm", ["correlation", "cosine"])
@EVERY_COMPARE
@pytest.mark.parametrize("p", [5, 50])
def test_rows_of_no_direction(rdm, compare, p):
    target, guide = dead_rows(p), normal(20, 8, seed=1).float()
    dissimilar = torch.from_numpy(1 - np.nan_to_num(_similarities(target, rdm)))
    dissimilar[3:6, 3:6] = 0
    left = dissimilar.numpy()[np.triu_indices(20, 1)]
    right = pdist(guide.double().numpy(), SCIPY[rdm])
    truth = 1 - (
        np.corrcoef(left, right)[0, 1]
        if compare == "pearson"
        else left @ right / np.sqrt((left @ left) * (right @ right))
    )
    distance = distances.create("rsa", rdm=rdm, compare=compare)
    value, gradient = value_and_gradient(distance, target, guide)
    assert value == pytest.approx(truth, abs=1e-5)
    assert not gradient[3:6].any()
    assert gradient.isfinite().all()
    assert gradient.norm() * target.norm() < 20


def _similarities(target, rdm):
    rows = target.double().numpy()
    if rdm == "correlation":
        rows = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (rows / norms) @ (rows / norms).T


@pytest.mark.parametrize("size", [1e-8, 1e-12, 1e-30])
@pytest.mark.parametrize("rdm", ["correlation", "cosine"])
def test_nearly_dead_rows_do_not_explode(rdm, size):
    target = dead_rows(30)
    target[3:6] = size * normal(3, 30, seed=4).float()
    value, gradient = value_and_gradient(distances.create("rsa", rdm=rdm), target, normal(20, 8))
    assert 0 < value < 2
    assert gradient.norm() * target.norm() < 20


@EVERY_RDM
def test_rows_all_equally_far_apart_have_no_pattern(rdm):
    one_hot, other = torch.eye(12) * 0.3, normal(12, 9).float()
    for target, guide in [(one_hot, other), (other, one_hot)]:
        value, gradient = value_and_gradient(distances.create("rsa", rdm=rdm), target, guide)
        assert value == 1
        assert not gradient.any()


@pytest.mark.parametrize(
    ("rdm", "of_all_rows"), [("correlation", 5.0), ("cosine", 0.0), ("squared_euclidean", 0.0)]
)
@given(seed=st.integers(0, 10**6), p=st.integers(3, 20))
@settings(max_examples=20, deadline=None)
def test_invariances_that_depend_on_the_rdm(rdm, of_all_rows, seed, p):
    target, guide = normal(10, p, seed=seed), normal(10, 6, seed=seed + 1)
    changed = target
    if rdm != "squared_euclidean":
        changed = target * normal(10, 1, seed=seed + 2).exp() + of_all_rows
    if rdm != "correlation":
        changed = changed @ torch.linalg.qr(normal(p, p, seed=seed + 3))[0]
    if rdm == "squared_euclidean":
        changed = changed + normal(p, seed=seed + 4)
    distance = distances.create("rsa", rdm=rdm)
    expected = distance(target, guide).item()
    assert distance(changed, guide).item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("option", ["rdm", "compare"])
def test_bad_options(option):
    with pytest.raises(ValueError, match=f"{option} is spearman; allowed: "):
        distances.create("rsa", **{option: "spearman"})

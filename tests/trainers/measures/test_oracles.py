"""Measures against independent implementations, on data that is easy and data that is not."""

import numpy as np
import pytest
import rsatoolbox
import torch
from scipy import linalg, stats
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from trainers import measures

N, P, Q = 60, 7, 9


def check_data():
    random = np.random.RandomState(1337)
    left = random.randn(100, 10)
    return left, random.randn(100, 10) + left


def data(kind, n=N, p=P, q=Q):
    """Two sides of features (n, p) and (n, q)."""
    random = np.random.default_rng(7)
    left, right = random.standard_normal((n, p)), random.standard_normal((n, q))
    shared = random.standard_normal((n, 4))
    if kind == "correlated":
        left, right = left + 2 * shared @ left[:4], right + shared @ right[:4]
    elif kind == "low rank":
        left, right = shared[:, :3] @ left[:3], (shared + 0.3 * right[:, :4]) @ right[:4]
    elif kind == "duplicated":
        left, right = left + 2 * shared @ left[:4], right + shared @ right[:4]
        left[n // 2 :], right[3 * n // 4 :] = left[: n - n // 2], right[: n - 3 * n // 4]
    elif kind == "badly conditioned":
        left = (left + 2 * shared @ left[:4]) * np.logspace(0, -6, p) + 100
        right = (right + shared @ right[:4]) * np.logspace(0, -5, q) - 30
    return left, right


KINDS = ["random", "correlated", "low rank", "duplicated", "badly conditioned"]
ON_ALL_DATA = pytest.mark.parametrize("kind", KINDS)
WIDE = pytest.mark.parametrize(("p", "q"), [(P, Q), (80, Q), (P, 90), (80, 90)])


def measured(name, pair, **options):
    return measures.create(name, **options)(*map(torch.from_numpy, pair))


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("linear_cka", {}, 0.5576132566),
        ("linear_cka", {"unbiased": True}, 0.5134564895),
        ("rbf_cka", {"bandwidth": 0.5, "median": "matrix"}, 0.6548311823),
        ("rbf_cka", {"bandwidth": 1.0, "median": "matrix"}, 0.5758322230),
        ("rsa", {}, 0.4851461428),
        ("rsa", {"compare": "spearman"}, 0.4724396738),
        ("rsa", {"rdm": "squared_euclidean"}, 0.5062321116),
        ("rsa", {"rdm": "cosine"}, 0.4936161881),
        ("procrustes", {}, 0.7362553106),
        ("cca", {}, 0.7310139588),
        ("cca", {"squared": True}, 0.5453963322),
        ("mutual_knn", {"k": 10}, 0.279),
        ("predictivity", {"ridge": 1.0, "scaling": "absolute", "folds": 1}, 0.5676754471),
    ],
)
def test_published_check_values(name, options, value):
    assert measured(name, check_data(), **options) == pytest.approx(value, abs=1e-10)


def dataset(features):
    return rsatoolbox.data.Dataset(features)


@ON_ALL_DATA
@WIDE
def test_linear_cka(kind, p, q):
    pair = data(kind, p=p, q=q)
    rdms = [rsatoolbox.rdm.calc_rdm(dataset(x), method="euclidean") for x in pair]
    biased = rsatoolbox.rdm.compare(*rdms, method="cosine_cov").item()
    assert measured("linear_cka", pair) == pytest.approx(biased, abs=1e-8)
    unbiased = explicit_cka(*(x @ x.T for x in map(centred, pair)), unbiased=True)
    assert measured("linear_cka", pair, unbiased=True) == pytest.approx(unbiased, abs=1e-8)


@ON_ALL_DATA
@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
@pytest.mark.parametrize("median", ["pairs", "matrix"])
@pytest.mark.parametrize("unbiased", [False, True])
def test_rbf_cka(kind, bandwidth, median, unbiased):
    pair = data(kind)
    kernels = []
    for x in pair:
        squared = squareform(pdist(x, "sqeuclidean"))
        middle = np.median(pdist(x)) ** 2 if median == "pairs" else np.median(squared)
        kernels.append(np.exp(-squared / (2 * bandwidth**2 * middle)))
    expected = explicit_cka(*kernels, unbiased=unbiased)
    options = {"bandwidth": bandwidth, "median": median, "unbiased": unbiased}
    assert measured("rbf_cka", pair, **options) == pytest.approx(expected, abs=1e-8)


@ON_ALL_DATA
@pytest.mark.parametrize(
    ("rdm", "metric"),
    [
        ("correlation", "correlation"),
        ("cosine", "cosine"),
        ("squared_euclidean", "sqeuclidean"),
    ],
)
def test_rsa(kind, rdm, metric):
    pair = data(kind)
    triangles = [pdist(x, metric) for x in pair]
    expected = {
        "pearson": stats.pearsonr(*triangles)[0],
        "spearman": stats.spearmanr(*(np.round(t, 13) for t in triangles))[0],
        "cosine": triangles[0] @ triangles[1] / np.prod([linalg.norm(t) for t in triangles]),
    }
    for compare, value in expected.items():
        got = measured("rsa", pair, rdm=rdm, compare=compare)
        assert got == pytest.approx(value, abs=1e-7), compare


@pytest.mark.parametrize("compare", ["corr", "spearman", "cosine"])
def test_rsa_of_rsatoolbox(compare):
    pair = data("correlated")
    rdms = [rsatoolbox.rdm.calc_rdm(dataset(x), method="correlation") for x in pair]
    expected = rsatoolbox.rdm.compare(*rdms, method=compare).item()
    name = "pearson" if compare == "corr" else compare
    assert measured("rsa", pair, compare=name) == pytest.approx(expected, abs=1e-10)


def test_spearman_gives_ties_their_average_rank():
    pair = [np.round(x) for x in data("correlated")]
    triangles = [np.round(pdist(x, "sqeuclidean")) for x in pair]
    assert len(np.unique(triangles[1])) < 0.5 * len(triangles[1])
    expected = stats.spearmanr(*triangles)[0]
    got = measured("rsa", pair, rdm="squared_euclidean", compare="spearman")
    assert got == pytest.approx(expected, abs=1e-12)


@ON_ALL_DATA
@WIDE
def test_procrustes(kind, p, q):
    pair = data(kind, p=p, q=q)
    left, right = (np.pad(x, ((0, 0), (0, 100 - x.shape[1]))) for x in map(centred, pair))
    _, nuclear = linalg.orthogonal_procrustes(left, right)
    expected = nuclear / linalg.norm(left) / linalg.norm(right)
    assert measured("procrustes", pair) == pytest.approx(expected, abs=1e-9)


def test_procrustes_is_the_bures_similarity_of_rsatoolbox():
    pair = data("correlated", n=12)
    rdms = [rsatoolbox.rdm.calc_rdm(dataset(x), method="euclidean") for x in pair]
    expected = rsatoolbox.rdm.compare(*rdms, method="bures").item()
    assert measured("procrustes", pair) == pytest.approx(expected, abs=1e-6)


def correlations(left, right):
    return np.cos(linalg.subspace_angles(left, right))


@ON_ALL_DATA
def test_cca(kind):
    pair = data(kind)
    rho = correlations(*map(centred, pair))
    assert measured("cca", pair) == pytest.approx(rho.mean(), abs=1e-7)
    assert measured("cca", pair, squared=True) == pytest.approx((rho**2).mean(), abs=1e-7)


@ON_ALL_DATA
@pytest.mark.parametrize("variance", [0.8, 0.99])
def test_svcca(kind, variance):
    pair = data(kind)
    spans = []
    for x in map(centred, pair):
        left, singular, _ = np.linalg.svd(x, full_matrices=False)
        shares = np.cumsum(singular**2) / np.sum(singular**2)
        kept = np.searchsorted(shares, variance) + 1
        spans.append(left[:, :kept] * singular[:kept])
    rho = correlations(*spans)
    options = {} if variance == 0.99 else {"variance": variance}
    assert measured("svcca", pair, **options) == pytest.approx(rho.mean(), abs=1e-7)
    squared = measured("svcca", pair, squared=True, **options)
    assert squared == pytest.approx((rho**2).mean(), abs=1e-7)


@pytest.mark.parametrize("kind", ["random", "correlated", "low rank", "badly conditioned"])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_mutual_knn(kind, k):
    pair = data(kind)
    near = []
    for x in pair:
        rows = x / linalg.norm(x, axis=1, keepdims=True)
        graph = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors_graph()
        near.append(graph.toarray().astype(bool))
    expected = (near[0] & near[1]).sum() / (k * N)
    assert measured("mutual_knn", pair, k=k) == pytest.approx(expected, abs=1e-12)


def test_equally_near_neighbours_come_in_the_order_of_rows():
    left, right = data("duplicated")
    near = []
    for x in (left, right):
        rows = x / linalg.norm(x, axis=1, keepdims=True)
        cosines = np.round(rows @ rows.T, 9)
        np.fill_diagonal(cosines, -np.inf)
        near.append(np.argsort(-cosines, axis=1, kind="stable")[:, :5])
    common = [len(set(a) & set(b)) for a, b in zip(*near, strict=True)]
    got = measured("mutual_knn", (left, right), k=5)
    assert got == pytest.approx(np.mean(common) / 5, abs=1e-12)


def explicit_cknna(left, right, k):
    """The definition of Huh et al. 2024, pair by pair."""
    products, near = [], []
    for x in (left, right):
        rows = x / linalg.norm(x, axis=1, keepdims=True)
        gram = rows @ rows.T
        products.append(gram - gram.mean(1, keepdims=True))
        others = gram - 4 * np.eye(len(x))
        near.append([set(np.argsort(-row)[:k]) for row in others])

    def align(a, b):
        n = len(left)
        pairs = [(i, j) for i in range(n) for j in range(n) if j in near[a][i] & near[b][i]]
        return sum(products[a][i, j] * products[b][i, j] for i, j in pairs)

    return align(0, 1) / np.sqrt(align(0, 0) * align(1, 1))


@pytest.mark.parametrize("kind", ["random", "correlated", "low rank"])
@pytest.mark.parametrize("k", [3, 10])
def test_cknna(kind, k):
    pair = data(kind)
    expected = explicit_cknna(*pair, k)
    assert measured("cknna", pair, k=k) == pytest.approx(expected, abs=1e-10)


@ON_ALL_DATA
@WIDE
@pytest.mark.parametrize("direction", ["guide_from_target", "target_from_guide"])
def test_predictivity(kind, p, q, direction):
    pair = data(kind, p=p, q=q)
    predictors, outcomes = pair if direction == "guide_from_target" else pair[::-1]
    predicted = np.empty_like(outcomes)
    for kept, held_out in KFold(4).split(predictors):
        spread = np.sum(centred(predictors[kept]) ** 2)
        mean_eigenvalue = spread / min(len(kept) - 1, predictors.shape[1])
        model = Ridge(alpha=0.3 * mean_eigenvalue, solver="svd")
        predicted[held_out] = model.fit(predictors[kept], outcomes[kept]).predict(
            predictors[held_out]
        )
    expected = r2_score(outcomes, predicted, multioutput="variance_weighted")
    got = measured("predictivity", pair, direction=direction, ridge=0.3, folds=4)
    assert got == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", ["random", "correlated", "badly conditioned"])
def test_predictivity_without_ridge_is_least_squares(kind):
    pair = data(kind)
    predicted = cross_val_predict(LinearRegression(tol=1e-13), *pair, cv=KFold(5))
    expected = r2_score(pair[1], predicted, multioutput="variance_weighted")
    assert measured("predictivity", pair, ridge=0.0) == pytest.approx(expected, abs=1e-7)


def test_predictivity_with_absolute_ridge():
    pair = data("correlated")
    predicted = cross_val_predict(Ridge(alpha=5.0), *pair, cv=KFold(5))
    expected = r2_score(pair[1], predicted, multioutput="variance_weighted")
    got = measured("predictivity", pair, ridge=5.0, scaling="absolute")
    assert got == pytest.approx(expected, abs=1e-10)


def test_a_large_common_mean_costs_few_digits():
    left, right = data("correlated")
    for name in ("linear_cka", "rbf_cka", "procrustes", "cca", "svcca", "predictivity"):
        expected = measured(name, (left, right))
        assert measured(name, (left + 1e6, right - 1e6)) == pytest.approx(expected, abs=1e-7), name


def test_independent_features_as_the_entries_say():
    random = np.random.default_rng(0)
    pair = random.standard_normal((200, 50)), random.standard_normal((200, 60))
    assert measured("linear_cka", pair, unbiased=True) == pytest.approx(0, abs=0.02)
    assert measured("linear_cka", pair) > 0.15
    assert measured("rsa", pair) == pytest.approx(0, abs=0.05)
    assert measured("rsa", pair, compare="cosine") > 0.95
    assert measured("mutual_knn", pair) == pytest.approx(10 / 199, abs=0.02)
    assert measured("cknna", pair) == pytest.approx(10 / 199, abs=0.02)
    assert measured("predictivity", pair) < 0
    assert measured("cca", pair) > 0.4


def centred(x):
    return x - x.mean(0)


def explicit_cka(K, L, *, unbiased):
    """Song et al. 2012, equations 3 and 5, with explicit n x n matrices."""
    n = len(K)

    def hsic(K, L):
        if not unbiased:
            H = np.eye(n) - 1 / n
            return np.trace(K @ H @ L @ H)
        K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(n)
        total = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
        return np.trace(K @ L) + total - 2 / (n - 2) * (one @ K @ L @ one)

    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))

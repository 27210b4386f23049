"""Pairs of guides: distances by hand, Mantel's test by enumeration, clusters against SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.cluster import hierarchy

from analysis.guide_similarity import DRAWS, SEED, guide_similarity_table
from analysis.schema import describe, frame_of, schema
from analysis.transfer import transfer_table

SEEDS = range(4)
TARGETS = ("fcn", "rnn", "mlp")
#: Mean gains of four guides with three targets: the first two hand over alike.
GAINS = {
    "cnn": (0.20, 0.10, 0.05),
    "resnet": (0.22, 0.11, 0.05),
    "vit": (0.05, 0.20, 0.12),
    "mixer": (0.00, 0.21, 0.10),
}


def study_of(toy, gains=GAINS, seeds=SEEDS, noise=0.004, state="trained"):
    """Guided targets whose gains vary by seed."""
    rng = np.random.default_rng(0)
    study = toy()
    for guide in gains:
        study.guide(dict.fromkeys(seeds, 0.9), guide)
    for index, target in enumerate(TARGETS):
        study.baseline({k: 0.5 + 0.01 * k for k in seeds}, target)
        for guide, rates in gains.items():
            if index < len(rates):
                scores = {k: 0.5 + 0.01 * k + rates[index] + noise * rng.normal() for k in seeds}
                study.guided(scores, state, target=target, guide=guide)
    return study


def profiles(study, rates, moment="final"):
    """Alignment of trained baselines with guides: three taps of targets, two of guides."""
    rows = []
    for row in study.plan:
        if row["role"] != "guided":
            continue
        for tap, value in enumerate(rates[row["guide"]]):
            # The other tap of the guide is less similar; `initial` baselines do not count.
            for guide_tap, when, similarity in (
                ("best", "final", value), ("worse", "final", value / 2), ("best", "initial", 0.99),
            ):  # fmt: skip
                rows.append({
                    "replicate_id": row["baseline_id"], "guide_id": row["guide_id"],
                    "guide_moment": moment, "moment": when, "guide_tap": guide_tap,
                    "target_tap": f"layer{tap}", "measure": "linear_cka(unbiased=true)",
                    "rows": "examples", "n": 100, "similarity": similarity,
                })  # fmt: skip
    return frame_of(rows, schema("alignment"))


LIKE = {"cnn": (0.8, 0.4, 0.2), "resnet": (0.7, 0.5, 0.2), "vit": (0.2, 0.3, 0.6),
        "mixer": (0.1, 0.4, 0.7)}  # fmt: skip
NONE = frame_of([], schema("alignment"))


def matrix_of(study, tasks, metric="accuracy"):
    frame = transfer_table(study.replicates(), study.histories(), tasks)
    frame = frame[(frame["metric"] == metric) & (frame["control"] == "none")]
    return frame.pivot(index="guide", columns="target", values="difference")


def pairs(names=GAINS):
    return list(itertools.combinations(names, 2))


def condensed(value, names=GAINS):
    return np.array([value(a, b) for a, b in pairs(names)])


def test_rows_of_the_transfer_matrix_are_compared(toy, tasks):
    study = study_of(toy)
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    assert list(frame.columns) == describe("guide_similarity")["column"].tolist()
    assert list(zip(frame["guide"], frame["other_guide"], strict=True)) == pairs()
    matrix = matrix_of(study, tasks)
    expected = condensed(lambda a, b: np.sqrt(((matrix.loc[a] - matrix.loc[b]) ** 2).mean()))
    assert frame["transfer_distance"].tolist() == pytest.approx(expected.tolist())
    expected = condensed(lambda a, b: stats.pearsonr(matrix.loc[a], matrix.loc[b]).statistic)
    assert frame["transfer_correlation"].tolist() == pytest.approx(expected.tolist())
    assert set(frame["metric"]) == {"accuracy"}
    assert frame["target"].isna().all()
    assert (frame["guides"].unique(), frame["targets"].unique()) == ([4], [3])
    assert frame[["alignment_distance", "mantel", "mantel_p"]].isna().all(axis=None)


def test_profiles_are_of_the_most_similar_taps_of_trained_baselines(toy, tasks):
    study = study_of(toy)
    frame = guide_similarity_table(study.replicates(), profiles(study, LIKE), tasks)
    expected = condensed(lambda a, b: np.sqrt(np.mean(np.subtract(LIKE[a], LIKE[b]) ** 2)))
    assert frame["alignment_distance"].tolist() == pytest.approx(expected.tolist())


def test_an_untrained_guide_is_compared_as_it_came(toy, tasks):
    study = study_of(toy, state="untrained")
    final = guide_similarity_table(study.replicates(), profiles(study, LIKE), tasks)
    assert final["alignment_distance"].isna().all()
    initial = profiles(study, LIKE, "initial")
    frame = guide_similarity_table(study.replicates(), initial, tasks)
    assert frame["alignment_distance"].notna().all()


def test_mantel_is_a_correlation_and_its_p_counts_permutations(toy, tasks):
    study = study_of(toy)
    frame = guide_similarity_table(study.replicates(), profiles(study, LIKE), tasks)
    transfer = frame["transfer_distance"].to_numpy()
    inside = frame["alignment_distance"].to_numpy()
    r = stats.pearsonr(transfer, inside).statistic
    assert frame["mantel"].tolist() == pytest.approx([r] * 6)
    place = {pair: k for k, pair in enumerate(pairs())}
    null = []
    for order in itertools.permutations(GAINS):
        renamed = dict(zip(GAINS, order, strict=True))
        moved = [place.get((renamed[a], renamed[b]), place.get((renamed[b], renamed[a])))
                 for a, b in pairs()]  # fmt: skip
        null.append(stats.pearsonr(transfer[moved], inside).statistic)
    assert frame["mantel_p"].tolist() == pytest.approx([np.mean(np.array(null) >= r - 1e-12)] * 6)
    assert frame["permutations"].tolist() == [24] * 6


def test_many_guides_are_permuted_at_random(toy, tasks):
    rng = np.random.default_rng(4)
    gains = {f"guide{k}": tuple(rng.uniform(0, 0.3, 3)) for k in range(8)}
    study = study_of(toy, gains)
    alike = guide_similarity_table(study.replicates(), profiles(study, gains), tasks)
    assert alike["permutations"].unique() == [10_000]
    assert alike["mantel"].iloc[0] > 0.95
    assert alike["mantel_p"].iloc[0] < 0.001
    shuffled = dict(zip(gains, rng.permutation(list(gains.values())), strict=True))
    other = guide_similarity_table(study.replicates(), profiles(study, shuffled), tasks)
    assert other["mantel_p"].iloc[0] > 0.05


def test_clusters_are_those_of_scipy(toy, tasks):
    study = study_of(toy)
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    tree = hierarchy.linkage(frame["transfer_distance"].to_numpy(), "average")
    assert frame["cophenetic_distance"].tolist() == pytest.approx(hierarchy.cophenet(tree).tolist())
    found = dict(zip(pairs(), frame["cluster"], strict=True))
    assert found["cnn", "resnet"] == "cnn | resnet"
    assert found["vit", "mixer"] == "vit | mixer"
    assert found["cnn", "mixer"] == "cnn | resnet | vit | mixer"
    assert frame["cluster_support"].tolist() == [1.0] * 6
    assert frame["n"].tolist() == [4] * 6


def test_support_is_the_share_of_resampled_seeds(toy, tasks):
    """Where guides do not differ but by chance, by drawing the same seeds and clustering anew."""
    study = study_of(toy, dict.fromkeys(GAINS, (0.1, 0.1, 0.1)), noise=0.05)
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    values = np.array([[[study.outcomes[f"guided/{t}/{g}/trained/none/linear_cka/alpha=1/{k}"]
                         - study.outcomes[f"baseline/{t}/{k}"] for k in SEEDS] for t in TARGETS]
                       for g in GAINS])  # fmt: skip
    rng = np.random.default_rng(SEED)
    held = dict.fromkeys(frame["cluster"], 0)
    for chosen in rng.integers(len(SEEDS), size=(DRAWS, len(SEEDS))):
        tree = hierarchy.linkage(values[:, :, chosen].mean(-1), "average")
        found = {
            " | ".join(np.array(list(GAINS))[labels == label])
            for height in tree[:, 2]
            for labels in [hierarchy.fcluster(tree, height, "distance")]
            for label in labels
        }
        for cluster in held:
            held[cluster] += cluster in found
    support = dict(zip(frame["cluster"], frame["cluster_support"], strict=True))
    assert len(support) == 3
    assert sorted(support.values())[0] < 0.9
    assert support == pytest.approx({cluster: n / DRAWS for cluster, n in held.items()})


@pytest.mark.parametrize(
    ("gains", "seeds", "null"),
    [
        # Two guides: a distance, and nothing to permute or to cluster.
        ({"cnn": (0.2, 0.1, 0.0), "vit": (0.1, 0.3, 0.2)}, SEEDS,
         ["mantel", "mantel_p", "permutations", "cluster", "cophenetic_distance"]),
        # One target: no distance of rows.
        ({name: rates[:1] for name, rates in GAINS.items()}, SEEDS,
         ["transfer_distance", "transfer_correlation", "mantel", "cluster", "cluster_support"]),
        # Two targets: a correlation of two points is none.
        ({name: rates[:2] for name, rates in GAINS.items()}, SEEDS, ["transfer_correlation"]),
        # Two seeds: too few to resample.
        (GAINS, range(2), ["cluster_support"]),
    ],
)  # fmt: skip
def test_what_is_too_little_is_null(toy, tasks, gains, seeds, null):
    study = study_of(toy, gains, seeds)
    frame = guide_similarity_table(study.replicates(), profiles(study, LIKE), tasks)
    assert len(frame) == len(pairs(gains))
    assert frame[null].isna().all(axis=None)
    rest = frame.columns.difference([*null, "target", "stop_step"])
    if "mantel" not in null:
        assert frame[rest].notna().all(axis=None)


def test_targets_that_a_guide_did_not_guide_are_left_out(toy, tasks):
    gains = GAINS | {"mixer": GAINS["mixer"][:2]}
    study = study_of(toy, gains)
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    assert frame["targets"].unique() == [2]
    matrix = matrix_of(study, tasks)[["fcn", "rnn"]]
    expected = np.sqrt(((matrix.loc["cnn"] - matrix.loc["vit"]) ** 2).mean())
    found = frame[(frame["guide"] == "cnn") & (frame["other_guide"] == "vit")]
    assert found["transfer_distance"].item() == pytest.approx(expected)


def test_states_and_schedules_are_groups_of_their_own(toy, tasks):
    study = study_of(toy)
    for target in TARGETS:
        for guide in ("cnn", "vit"):
            study.guided(
                {0: 0.6, 1: 0.7}, target=target, guide=guide, schedule="alpha=5", alpha=5.0
            )
    study.control("shuffled", {0: 0.5}, target="fcn", guide="cnn")
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    assert frame.groupby("schedule").size().to_dict() == {"alpha=1": 6, "alpha=5": 1}


def test_one_guide_has_no_pair(toy, tasks):
    for study in (study_of(toy, {"cnn": GAINS["cnn"]}), toy()):
        frame = guide_similarity_table(study.replicates(), NONE, tasks)
        assert frame.empty
        assert list(frame.columns) == describe("guide_similarity")["column"].tolist()


def test_nothing_finished(toy, tasks):
    study = toy().baseline({0: "failed"})
    study.guided({0: "missing"}).guided({0: "missing"}, guide="vit")
    frame = guide_similarity_table(study.replicates(), NONE, tasks)
    assert frame["targets"].tolist() == [0]
    assert pd.isna(frame["transfer_distance"]).all()

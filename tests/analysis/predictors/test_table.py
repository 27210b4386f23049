"""The table `predictors`: which values it takes, of which guides, and what it says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from analysis.cells import TaskMetrics
from analysis.predictors.association import HIGHER, LOWER, OPEN, TOO_FEW
from analysis.predictors.table import PREDICTORS, Measured, predictor_table
from analysis.schema import describe, frame_of, schema

SEEDS = range(3)
PAIRS = [("layer1", "block1"), ("layer2", "block2")]
#: Alignment before training of six guides, in which gains follow it.
GUIDES = {f"guide{k}": 0.1 * (k + 1) for k in range(6)}
GROUP = ["guides", "targets", "spearman", "verdict"]


def study_of(toy, guides=GUIDES, targets=("fcn", "rnn"), state="trained", gain=1.0):
    rng = np.random.default_rng(0)
    study = toy()
    for name, value in guides.items():
        study.guide(dict.fromkeys(SEEDS, 0.6 + 0.3 * value), name)
    for place, target in enumerate(targets):
        study.baseline({k: 0.2 + 0.01 * k for k in SEEDS}, target)
        for name, value in guides.items():
            scores = {
                k: 0.2 + 0.01 * k + 0.2 * place + 0.1 * gain * value + 0.001 * rng.normal()
                for k in SEEDS
            }
            study.guided(scores, state, target=target, guide=name)
    return study


def measured_of(study, guides=GUIDES, moment="final", taps=True):
    """Comparisons in which both mapped pairs are as aligned as the guide's value says on average.

    Pairs that are not mapped, other moments, and what was measured in training are more alike.
    """
    similar, by_tap, pairs = [], [], {}
    for row in study.plan:
        if row["role"] != "guided":
            continue
        value = guides[row["guide"]]
        pairs[row["replicate_id"]] = PAIRS
        for target_tap, guide_tap, off in (
            *((*pair, off) for pair, off in zip(PAIRS, (-0.05, 0.05), strict=True)),
            ("layer2", "block1", 0.9),
        ):  # fmt: skip
            for when, measure, more in (
                ("initial", "linear_cka(unbiased=true)", off),
                ("final", "linear_cka(unbiased=true)", 0.5),
                ("initial", "linear_cka(unbiased=true,estimator=batches)", 0.7),
            ):
                similar.append({
                    "replicate_id": row["baseline_id"], "guide_id": row["guide_id"],
                    "guide_moment": moment, "moment": when, "guide_tap": guide_tap,
                    "target_tap": target_tap, "measure": measure, "rows": "examples", "n": 100,
                    "similarity": value + more,
                })  # fmt: skip
        for tap, rank in (("block1", 10.0), ("block2", 20.0), ("unmapped", 900.0)):
            by_tap.append({
                "guide_id": row["guide_id"], "guide_moment": moment, "tap": tap,
                "label_similarity": 1 - value, "effective_rank": rank + value,
            })  # fmt: skip
    table = pa.Table.from_pylist(by_tap) if taps else None
    return Measured.of(frame_of(similar, schema("alignment")), table, pairs)


def of(frame, predictor):
    return frame[frame["predictor"] == predictor].reset_index(drop=True)


def test_a_row_for_each_condition_and_predictor(toy, tasks):
    study = study_of(toy)
    study.control("shuffled", {0: 0.5}, guide="guide0")
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    assert list(frame.columns) == describe("predictors")["column"].tolist()
    assert frame["predictor"].unique().tolist() == list(PREDICTORS)
    assert len(frame) == 4 * 6 * 2
    assert (frame["control"].unique(), frame["metric"].unique()) == (["none"], ["accuracy"])
    assert set(frame["n"]) == {3}


def test_values_are_means_over_mapped_taps_and_seeds(toy, tasks):
    study = study_of(toy)
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    value = frame["guide"].map(GUIDES)
    for predictor, expected in {
        "initial_alignment": value, "label_similarity": 1 - value,
        "guide_score": 0.6 + 0.3 * value, "effective_rank": 15 + value,
    }.items():  # fmt: skip
        rows = frame["predictor"] == predictor
        assert frame[rows]["value"].tolist() == pytest.approx(expected[rows].tolist())


def test_a_known_relation_is_found_by_all_that_follow_it(toy, tasks):
    study = study_of(toy)
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    for predictor in PREDICTORS:
        rows = of(frame, predictor)
        centred = [rows[name] - rows.groupby("target")[name].transform("mean")
                   for name in ("value", "difference")]  # fmt: skip
        expected = stats.spearmanr(*centred).statistic
        # Of values that are equal at both targets, the last bits decide no rank here.
        assert rows["spearman"].tolist() == pytest.approx([expected] * 12, abs=0.02)
        assert set(rows["guides"]) == {6}
        assert set(rows["targets"]) == {2}
        against = predictor == "label_similarity"
        assert set(rows["verdict"]) == {LOWER if against else HIGHER}
        assert (rows["predicted"] - rows["difference"]).abs().max() < 0.005
        assert (rows["predicted_low"] <= rows["predicted"]).all()
        assert set(rows["error_reduction_low"] > 0) == {True}


def test_no_relation_is_not_established(toy, tasks):
    order = [3, 0, 5, 1, 4, 2]
    study = study_of(toy)
    shuffled = dict(zip(GUIDES, np.array(list(GUIDES.values()))[order], strict=True))
    frame = predictor_table(study.replicates(), measured_of(study, shuffled), tasks)
    rows = of(frame, "initial_alignment")
    assert set(rows["verdict"]) == {OPEN}
    assert rows["spearman_low"].iloc[0] < 0 < rows["spearman_high"].iloc[0]
    assert rows["spearman_p"].iloc[0] > 0.3
    assert rows["left_out_low"].iloc[0] < rows["spearman"].iloc[0] < rows["left_out_high"].iloc[0]


@pytest.mark.parametrize("num_guides", [1, 2, 3, 4])
def test_few_guides_say_so(toy, tasks, num_guides):
    guides = dict(list(GUIDES.items())[:num_guides])
    study = study_of(toy, guides)
    frame = predictor_table(study.replicates(), measured_of(study, guides), tasks)
    assert set(frame["verdict"]) == {TOO_FEW}
    assert frame["spearman"].isna().all() == (num_guides < 3)
    assert frame["predicted"].isna().all() == (num_guides < 4)
    assert frame["error_reduction"].isna().all() == (num_guides < 4)
    assert frame[["error_reduction_low", "error_reduction_high"]].isna().all(axis=None)
    assert frame[["value", "difference"]].notna().all(axis=None)


def test_what_was_not_measured_is_null(toy, tasks):
    study = study_of(toy)
    frame = predictor_table(study.replicates(), measured_of(study, taps=False), tasks)
    unknown = frame["predictor"].isin(["label_similarity", "effective_rank"])
    assert frame[unknown]["value"].isna().all()
    assert set(frame[unknown]["guides"]) == {0}
    assert set(frame[unknown]["verdict"]) == {TOO_FEW}
    assert frame[~unknown]["value"].notna().all()
    nothing = Measured.of(frame_of([], schema("alignment")), None, {})
    frame = predictor_table(study.replicates(), nothing, tasks)
    assert of(frame, "initial_alignment")["value"].isna().all()
    assert of(frame, "guide_score")["value"].notna().all()


def test_an_untrained_guide_is_taken_as_it_guides(toy, tasks):
    study = study_of(toy, state="untrained")
    trained = predictor_table(study.replicates(), measured_of(study), tasks)
    assert of(trained, "initial_alignment")["value"].isna().all()
    untrained = predictor_table(study.replicates(), measured_of(study, moment="initial"), tasks)
    assert of(untrained, "initial_alignment")["value"].notna().all()
    # The score of its architecture, trained alone.
    assert of(untrained, "guide_score")["value"].notna().all()


def test_a_target_that_a_guide_lacks_is_left_out(toy, tasks):
    study = study_of(toy)
    for replicate in study.outcomes:
        if replicate.startswith("guided/rnn/guide5"):
            study.outcomes[replicate] = "failed"
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    assert frame[["guides", "targets"]].drop_duplicates().to_numpy().tolist() == [[6, 1]]
    lost = frame[(frame["guide"] == "guide5") & (frame["target"] == "rnn")]
    assert lost["difference"].isna().all()
    assert lost["predicted"].isna().all()
    assert frame[frame["target"] == "fcn"]["predicted"].notna().all()


def test_gaps_at_every_target_cost_a_guide_or_a_target_and_not_all(toy, tasks):
    study = study_of(toy)
    for replicate in study.outcomes:
        if replicate.startswith(("guided/rnn/guide5", "guided/fcn/guide4")):
            study.outcomes[replicate] = "failed"
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    # Of fcn and rnn one goes, and of the other the guide that lacks it.
    assert frame[["guides", "targets"]].drop_duplicates().to_numpy().tolist() == [[5, 1]]
    assert set(of(frame, "initial_alignment")["verdict"]) == {HIGHER}


def test_a_guide_that_lacks_most_targets_goes_alone(toy, tasks):
    targets = ("fcn", "rnn", "vit")
    study = study_of(toy, targets=targets)
    for replicate in study.outcomes:
        if replicate.startswith(("guided/rnn/guide5", "guided/fcn/guide5")):
            study.outcomes[replicate] = "failed"
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    assert frame[["guides", "targets"]].drop_duplicates().to_numpy().tolist() == [[5, 3]]


def test_better_guides_have_lower_losses(toy):
    tasks = {"toy": TaskMetrics(primary_metric="loss", higher_is_better={"loss": False})}
    study = study_of(toy)
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    score = of(frame, "guide_score")
    assert score["value"].is_monotonic_decreasing or score["value"].iloc[0] > score["value"].iloc[5]
    assert set(score["verdict"]) == {HIGHER}
    assert score["spearman"].iloc[0] > 0.9


def test_schedules_and_states_are_groups_of_their_own(toy, tasks):
    study = study_of(toy)
    for guide in ("guide0", "guide1"):
        study.guided({0: 0.4}, guide=guide, schedule="alpha=5", alpha=5.0)
    frame = predictor_table(study.replicates(), measured_of(study), tasks)
    rows = of(frame, "initial_alignment").groupby("schedule")
    assert rows["guides"].first().to_dict() == {"alpha=1": 6, "alpha=5": 2}
    assert rows.size().to_dict() == {"alpha=1": 12, "alpha=5": 2}


def test_several_guides_at_once_are_left_out(toy, tasks):
    study = study_of(toy)
    before = len(study.plan)
    study.guided({0: 0.6}, guide="guide0 + guide1")
    for row in study.plan[before:]:
        row["guide_id"] = None
    measured = measured_of(study, GUIDES | {"guide0 + guide1": 0.0})
    frame = predictor_table(study.replicates(), measured, tasks)
    assert set(frame["guide"]) == set(GUIDES)


def test_nothing_finished_and_nothing_guided(toy, tasks):
    study = toy().baseline({0: "failed"}).guided({0: "missing"})
    frame = predictor_table(study.replicates(), measured_of(study, {"cnn": 0.2}), tasks)
    assert len(frame) == 4
    assert frame["difference"].isna().all()
    assert set(frame["verdict"]) == {TOO_FEW}
    empty = predictor_table(toy().baseline({0: 0.5}).replicates(), measured_of(toy()), tasks)
    pd.testing.assert_index_equal(empty.columns, frame.columns)
    assert empty.empty

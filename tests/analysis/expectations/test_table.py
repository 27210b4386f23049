"""Expectations on hand-made tables, against means by hand and intervals of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import analysis
from analysis import parquet_files
from analysis.expectations.table import expectation_table
from analysis.schema import SCHEMAS, frame_of, schema
from analysis.transfer import transfer_table

STOPPED = {"schedule": "alpha=5,stop=200", "alpha": 5.0, "stop_step": 200}
TRAINING, WHOLE = "linear_cka(unbiased=true,estimator=batches)", "linear_cka(unbiased=true)"


def tables_of(study, tasks):
    replicates = study.replicates()
    history = study.histories()
    return {
        "replicates": replicates,
        "history": history,
        "alignment": frame_of([], schema("alignment")),
        "transfer": transfer_table(replicates, history, tasks),
    }


@pytest.fixture
def tables(full, tasks):
    """`full_study` with a second schedule of the trained guide."""
    full.guided({0: 0.6, 1: 0.7, 2: 0.8}, **STOPPED)
    return tables_of(full, tasks)


def check(tables, *expect, published=()):
    spec = {"expect": list(expect), "published": list(published)}
    return expectation_table("toy-study", spec, tables.__getitem__)


def one(tables, rule):
    (row,) = check(tables, rule).to_dict("records")
    return row


def interval(values):
    error = stats.sem(values)
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)


def test_a_mean(tables):
    row = one(tables, {"rule": "guide >= .91", "claim": "it learns"})
    values = [0.90, 0.92, 0.91, 0.93, 0.90]
    assert row["value"] == pytest.approx(0.912)
    assert (row["low"], row["high"]) == pytest.approx(interval(values))
    assert (row["n"], row["metric"], row["claim"]) == (5, "accuracy", "it learns")
    assert row["holds"] is True
    # The interval, .896 to .928, holds the bound.
    assert row["established"] is False
    assert one(tables, "guide >= .89")["established"] is True
    assert one(tables, "guide <= .91")["holds"] is False


def test_a_difference_is_paired_over_shared_seeds(tables):
    # Seed 3 of trained failed, seed 4 of its control is missing: seeds 0, 1, 2 are left.
    row = one(tables, "trained {schedule: alpha=1} - trained.shuffled >= 20 points")
    differences = np.array([0.70 - 0.48, 0.73 - 0.55, 0.74 - 0.50])
    assert row["n"] == 3
    assert row["value"] == pytest.approx(0.64 / 3)
    assert (row["low"], row["high"]) == pytest.approx(interval(differences))
    assert row["holds"] is True
    assert row["established"] is False


def test_a_difference_is_left_minus_right_whatever_is_better(tables):
    row = one(tables, {"rule": "untrained - baseline <= -0.1", "metric": "loss"})
    assert row["value"] == pytest.approx(-0.102)
    assert row["holds"] is True


def test_a_ratio_is_of_means(tables):
    row = one(tables, {"rule": "untrained / baseline <= .8", "metric": "loss"})
    untrained = 1 - np.array([0.60, 0.66, 0.61, 0.63, 0.62])
    baseline = 1 - np.array([0.50, 0.55, 0.52, 0.51, 0.53])
    assert row["value"] == pytest.approx(untrained.mean() / baseline.mean())
    # Fieller: at the limits r, a t test just fails to reject mean(a - r b) = 0.
    critical = stats.t.ppf(0.975, 4)
    for limit in (row["low"], row["high"]):
        difference = untrained - limit * baseline
        assert abs(difference.mean()) / stats.sem(difference) == pytest.approx(critical)
    assert row["holds"] is True


def test_a_ratio_without_an_interval_and_without_a_denominator(toy, tasks):
    zeros = toy().guide({0: 0.9, 1: 0.9}).baseline({0: 0.0, 1: 0.0}).guided({0: 0.5, 1: 0.6})
    row = one(tables_of(zeros, tasks), "trained / baseline >= 1")
    assert row["problem"] == "the denominator is 0"
    assert row["holds"] is None
    one_seed = toy().guide({0: 0.9}).baseline({0: 0.5}).guided({0: 0.75})
    row = one(tables_of(one_seed, tasks), "trained / baseline >= 1.5")
    assert row["value"] == pytest.approx(1.5)
    assert math.isnan(row["low"])
    assert (row["n"], row["holds"], row["established"]) == (1, True, False)


def test_where_filters_every_term(tables):
    rule = {"rule": "trained - baseline >= 0", "where": {"alpha": 5, "stop_step": 200}}
    row = one(tables, rule)
    assert (row["n"], row["value"]) == (3, pytest.approx((0.1 + 0.15 + 0.28) / 3))
    rule["where"] = {"stop_step": None, "alpha": 1.0}
    assert one(tables, rule)["value"] == pytest.approx((0.2 + 0.18 + 0.22 + 0.18) / 4)


PROBLEMS = [
    ("trained - baseline >= 0", ["2 conditions", "schedule: alpha=1 | alpha=5,stop=200"]),
    ("trained {schedule: alpha=2} >= 0", ["unknown schedule 'alpha=2'", "alpha=1"]),
    ("trained {alpha: 3} >= 0", ["no condition has alpha: 3", "known: 1.0, 5.0"]),
    ("trained.noise >= 0", ["trained.noise: no condition", "trained.shuffled", "input"]),
    (
        "trained.shuffled {alpha: 5} >= 0",
        ["no condition of the study; trained.shuffled stands at alpha: 1.0 (a control that"],
    ),
    ({"rule": "input >= 0", "metric": "perplexity"}, ["unknown metric 'perplexity'", "accuracy"]),
    ({"rule": "untrained >= 0", "metric": "alignment"}, ["no finished replicate with a value"]),
    ("traned >= 0", ["did you mean 'trained'?"]),
    ({"claim": "nothing"}, ["rule is needed"]),
]


@pytest.mark.parametrize(("rule", "words"), PROBLEMS, ids=[str(rule) for rule, _ in PROBLEMS])
def test_what_cannot_be_checked(tables, rule, words):
    row = one(tables, rule)
    assert row["holds"] is None
    assert row["established"] is None
    assert math.isnan(row["value"])
    assert [word for word in words if word not in row["problem"]] == []


def test_any_control_is_named_by_its_label(toy, tasks):
    study = toy().guide({0: 0.9, 1: 0.9}).baseline({0: 0.5, 1: 0.5}).guided({0: 0.7, 1: 0.8})
    study.control("mine(size=2)", {0: 0.6, 1: 0.65}).control("shuffled", {0: 0.5, 1: 0.6})
    study.control("mine(size=2)", {0: 0.55, 1: 0.55}, state="untrained")
    tables = tables_of(study, tasks)
    row = one(tables, "trained - control {control: mine(size=2), state: trained} >= 0")
    assert (row["n"], row["value"]) == (2, pytest.approx((0.1 + 0.15) / 2))
    row = one(tables, "control {control: shuffled} >= .5")
    assert row["value"] == one(tables, "trained.shuffled >= .5")["value"] == pytest.approx(0.55)
    for rule, problem in (
        ("control {control: mine(size=2)} >= 0", "2 conditions, which differ in state"),
        ("control {control: yours} >= 0", r"no condition has control: yours (known: none, mine"),
        ("control {control: none} >= 0", "no condition of the study"),
        ("input >= 0", "it has trained, trained.shuffled, control"),
    ):
        assert problem in one(tables, rule)["problem"]


def test_two_targets_and_two_guides_must_be_told_apart(toy, tasks):
    study = toy().guide({0: 0.9}, "cnn").guide({0: 0.8}, "vit")
    for target, value in (("fcn", 0.5), ("mlp", 0.4)):
        study.baseline({0: value}, target)
        for guide in ("cnn", "vit"):
            study.guided({0: value + 0.1}, target=target, guide=guide)
    tables = tables_of(study, tasks)
    assert "target: fcn | mlp" in one(tables, "baseline >= 0")["problem"]
    assert "as in guide {guide: LABEL}" in one(tables, "guide >= 0")["problem"]
    assert one(tables, "baseline {target: mlp} >= 0")["value"] == pytest.approx(0.4)
    assert one(tables, "guide {guide: vit} >= 0")["value"] == pytest.approx(0.8)
    where = {"target": "mlp", "guide": "vit"}
    row = one(tables, {"rule": "trained - guide >= 0", "where": where})
    assert row["value"] == pytest.approx(-0.3)


def test_values_that_are_not_finite_do_not_count(toy, tasks):
    study = toy().guide({0: 0.9, 1: 0.9, 2: 0.9})
    study.baseline({0: 0.5, 1: float("nan"), 2: 0.3}).guided({0: 0.6, 1: 0.7, 2: float("inf")})
    tables = tables_of(study, tasks)
    assert one(tables, "baseline >= 0")["n"] == 2
    row = one(tables, "trained - baseline >= 0")
    assert (row["n"], row["value"]) == (1, pytest.approx(0.1))
    nothing = toy().guide({0: 0.9}).baseline({0: float("nan")}).guided({0: "failed"})
    row = one(tables_of(nothing, tasks), "trained - baseline >= 0")
    assert row["problem"] == "no finished replicate with a value of accuracy: trained, baseline"


def test_seeds_that_do_not_meet(toy, tasks):
    study = toy().guide({0: 0.9, 1: 0.9}).baseline({0: 0.5, 1: "failed"})
    study.guided({0: "failed", 1: 0.6})
    row = one(tables_of(study, tasks), "trained - baseline >= 0")
    assert row["problem"] == "no seed at which both sides have a value"
    assert row["n"] == 0


@pytest.fixture
def pretrained(toy, tasks):
    """A guide with weights of a file: one replicate, which teaches at every seed."""
    study = toy().guide({0: 0.9})
    study.baseline({0: 0.50, 1: 0.55, 2: 0.52}).guided({0: 0.70, 1: 0.73, 2: 0.74})
    for row in study.plan:
        if row["role"] == "guided":
            row["guide_id"] = "guide/cnn/0"
    return tables_of(study, tasks)


def test_a_pretrained_guide_stands_at_every_seed(pretrained):
    row = one(pretrained, "trained - guide <= -10 points")
    differences = np.array([0.70, 0.73, 0.74]) - 0.9
    assert (row["n"], row["value"]) == (3, pytest.approx(differences.mean()))
    assert (row["low"], row["high"]) == pytest.approx(interval(differences))
    assert row["established"] is True


def test_a_pretrained_guide_alone_is_one_replicate(pretrained):
    row = one(pretrained, "guide >= .8")
    assert (row["n"], row["value"]) == (1, pytest.approx(0.9))
    number = {"of": "guide", "value": 0.9, "metric": "accuracy", "source": "nobody 2030"}
    (row,) = check(pretrained, published=[number]).to_dict("records")
    assert (row["n"], row["value"]) == (1, pytest.approx(0.9))


def test_published_numbers(tables):
    source = {"source": "a paper"}
    found = check(
        tables,
        published=[
            {"of": "baseline", "value": 0.4, "spread": 0.1, "metric": "loss"} | source,
            {"of": "untrained.noise", "value": 0.4} | source,
            {"of": "trained", "value": 0.4} | source,
            {"of": "baseline", "value": "many"} | source,
        ],
    )
    ours, absent, ambiguous, wrong = found.to_dict("records")
    assert ours["value"] == pytest.approx(0.478)
    assert (ours["published"], ours["published_spread"], ours["n"]) == (0.4, 0.1, 5)
    assert ours["source"] == "a paper"
    assert ours["holds"] is None
    assert pd.isna(absent["problem"])
    assert (absent["n"], absent["published"]) == (0, 0.4)
    assert "2 conditions" in ambiguous["problem"]
    assert "give a finite number" in wrong["problem"]
    assert list(found["place"]) == [f"published[{index}]" for index in range(4)]


def similarity(replicate, pair, value, measure=TRAINING, guide=("guide/cnn/0", "final")):
    target_tap, guide_tap = pair
    row = {"replicate_id": replicate, "measure": measure, "moment": "final", "rows": "examples"}
    row |= {"guide_id": guide[0], "guide_moment": guide[1], "n": 500, "similarity": value}
    return row | {"target_tap": target_tap, "guide_tap": guide_tap}


@pytest.fixture
def aligned(toy, tasks):
    """One seed; pairs (a, x) and (b, y) are mapped, (a, y) is not."""
    study = toy().guide({0: 0.9}).baseline({0: 0.5}).guided({0: 0.6}).control("shuffled", {0: 0.4})
    own = {row["role"]: row["replicate_id"] for row in study.plan}
    for role in ("guided", "control"):
        study.history += [(own[role], 1, f"distance/{pair}", 0.5) for pair in ("a/x", "b/y")]
    guided, control, baseline = own["guided"], own["control"], own["baseline"]
    rows = [
        similarity(guided, "ax", 0.8),
        similarity(guided, "by", 0.6),
        similarity(guided, "ay", 0.1),
        similarity(guided, "ax", 0.7, WHOLE),
        similarity(guided, "by", 0.5, WHOLE),
        similarity(control, "ax", 0.2),
        similarity(control, "by", 0.4),
        similarity(guided, "ax", 0.0) | {"moment": "initial"},
        similarity(baseline, "ax", 0.3, WHOLE),
        similarity(baseline, "by", 0.1, WHOLE),
        similarity(baseline, "ay", 0.9, WHOLE),
        similarity(baseline, "ax", 0.9, WHOLE, ("guide/cnn/0", "initial")),
    ]
    tables = tables_of(study, tasks)
    return tables | {"alignment": frame_of(rows, schema("alignment"))}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("trained >= 0", 0.7),
        ("trained - trained.shuffled >= 0", 0.4),
        ("baseline >= 0", 0.2),
        # Of one measure on both sides: that of the whole split.
        ("trained - baseline >= 0", 0.4),
    ],
)
def test_alignment_is_averaged_over_the_mapped_pairs(aligned, rule, expected):
    row = one(aligned, {"rule": rule, "metric": "alignment"})
    assert pd.isna(row["problem"])
    assert (row["n"], row["value"]) == (1, pytest.approx(expected))


def test_alignment_that_cannot_be_told(aligned):
    row = one(aligned, {"rule": "trained.shuffled - baseline >= 0", "metric": "alignment"})
    assert "the two do not compare" in row["problem"]
    alignment = aligned["alignment"]
    undefined = alignment.assign(
        similarity=alignment["similarity"].where(alignment["guide_tap"] != "y")
    )
    row = one(aligned | {"alignment": undefined}, {"rule": "trained >= 0", "metric": "alignment"})
    assert "no finished replicate with a value of alignment" in row["problem"]
    training = alignment[alignment["measure"] == TRAINING]
    row = one(aligned | {"alignment": training}, {"rule": "baseline >= 0", "metric": "alignment"})
    assert "no finished replicate with a value of alignment: baseline" in row["problem"]


@pytest.mark.parametrize("rule", ["trained >= 0", "baseline >= 0", "trained - baseline >= 0"])
def test_a_mixture_has_no_alignment(aligned, rule):
    replicates = aligned["replicates"]
    mixed = replicates.assign(guide=replicates["guide"].replace("cnn", "0.5*cnn+0.5*mlp"))
    row = one(aligned | {"replicates": mixed}, {"rule": rule, "metric": "alignment"})
    assert "the mixture 0.5*cnn+0.5*mlp has several" in row["problem"]


def test_a_baseline_of_two_guides_says_which(aligned):
    replicates, alignment = aligned["replicates"], aligned["alignment"]
    of_guided = replicates["role"] == "guided"
    second = replicates[of_guided].assign(replicate_id="other", state="untrained")
    history = aligned["history"]
    own = replicates["replicate_id"][of_guided].item()
    more = history[history["replicate_id"] == own].assign(replicate_id="other")
    rows = alignment[(alignment["replicate_id"] == own) & (alignment["measure"] == TRAINING)]
    rows = rows.assign(replicate_id="other", guide_moment="initial")
    tables = aligned | {
        "replicates": pd.concat([replicates, second], ignore_index=True),
        "history": pd.concat([history, more], ignore_index=True),
        "alignment": pd.concat([alignment, rows], ignore_index=True),
    }
    row = one(tables, {"rule": "baseline >= 0", "metric": "alignment"})
    assert "which guide? Say whose baseline" in row["problem"]
    row = one(tables, {"rule": "baseline {state: trained} >= 0", "metric": "alignment"})
    assert row["value"] == pytest.approx(0.2)
    row = one(tables, {"rule": "trained - baseline >= 0", "metric": "alignment"})
    assert row["value"] == pytest.approx(0.4)


@pytest.fixture
def store(tmp_path, tables):
    for name, frame in tables.items():
        data = parquet_files.encode(frame, name, {"study": "toy-study"})
        parquet_files.write(tmp_path, parquet_files.table_path("toy-study", name), data)
    return tmp_path


def test_check_reads_and_writes_the_store(store):
    spec = store / "studies" / "toy-study" / "spec.yaml"
    spec.write_text("imports: [antigravity]\nexpect: ['baseline <= .6', 'input >= 1']\n")
    found = analysis.check("toy-study", store=store)
    assert found["holds"].tolist() == [True, False]
    pd.testing.assert_frame_equal(analysis.load("toy-study", "expectations", store=store), found)
    other = analysis.check("toy-study", expect=["baseline >= .6"], store=store)
    assert other["holds"].tolist() == [False]
    assert list(other.columns) == SCHEMAS["expectations"].names


def test_check_says_what_is_missing(store):
    folder = store / "studies" / "toy-study"
    with pytest.raises(ValueError, match=r"unknown study .*'toy-stud'; did you mean 'toy-study'"):
        analysis.check("toy-stud", store=store)
    (folder / "spec.yaml").write_text("name: toy-study\n")
    with pytest.raises(ValueError, match="no expect: rules"):
        analysis.check("toy-study", store=store)
    (folder / "spec.yaml").write_text("expect: baseline\n")
    with pytest.raises(ValueError, match="expect: give a list"):
        analysis.check("toy-study", store=store)
    (folder / "replicates.parquet").unlink()
    with pytest.raises(
        ValueError, match=r"archprior analyze toy-study --store \S+ writes the tables"
    ):
        analysis.check("toy-study", expect=["baseline >= 0"], store=store)

"""Rules on columns of the table `consistency`: which row they read, and what they refuse."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.answers import Answers
from analysis.consistency.table import consistency_table
from analysis.errors import UserError
from analysis.expectations.consistency_metric import COLUMNS, WITH_INTERVAL
from analysis.expectations.rules import read_published, read_rule
from analysis.expectations.table import expectation_table
from analysis.schema import frame_of, schema
from analysis.transfer import transfer_table

SEEDS = range(3)
SCORES = dict.fromkeys(SEEDS, 0.5)


def answers(study, guides):
    """Ten times 12 examples; the guide errs on the first two, guided targets on these too."""
    wrong = {"guide": (0, 1), "guided": (0, 1, 2), "baseline": (1, 4, 5, 6), "control": (7, 8)}
    rows = []
    for row in study.plan:
        errors = wrong[row["role"]] if row["role"] != "guide" else guides.get(row["target"], (0, 1))
        # Seeds differ in one more error, that of the guided targets is also that of their guide.
        errors = (*errors, 9 + row["seed"])
        rows += [
            {"replicate_id": row["replicate_id"], "example": k, "position": 0, "label": 0,
             "prediction": int(k % 12 in errors)}
            for k in range(120)
        ]  # fmt: skip
    return frame_of(rows, schema("predictions"))


@pytest.fixture
def study(toy):
    made = toy().guide(SCORES).guide(SCORES, "vit").baseline(SCORES)
    made.guided(SCORES).guided(SCORES, "untrained").guided(SCORES, guide="vit")
    return made.control("input", SCORES, None)


def tasks_of(replicates):
    return dict(zip(replicates["replicate_id"], replicates["task"], strict=True))


@pytest.fixture
def tables(study, tasks):
    replicates = study.replicates()
    chosen = answers(study, {"vit": (3, 4)})
    return {
        "replicates": replicates,
        "transfer": transfer_table(replicates, study.histories(), tasks),
        "consistency": consistency_table(replicates, Answers([chosen], tasks_of(replicates))),
    }


def check(tables, *expect, published=()):
    spec = {"expect": list(expect), "published": list(published)}
    return expectation_table("toy-study", spec, tables.__getitem__)


def one(tables, rule, metric):
    (row,) = check(tables, {"rule": rule, "metric": metric}).to_dict("records")
    return row


def row_of(tables, **wanted):
    frame = tables["consistency"]
    for column, value in wanted.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    (found,) = frame.to_dict("records")
    return found


CNN = {"target": "fcn", "guide": "cnn"}
ROWS = [
    ("trained {guide: cnn}", "", CNN | {"state": "trained", "control": "none", "with": "guide"}),
    ("untrained", "", CNN | {"state": "untrained", "with": "guide"}),
    ("untrained", ".baseline", CNN | {"state": "untrained", "with": "baseline"}),
    ("input", ".control", CNN | {"control": "input", "with": "control"}),
    ("baseline {guide: cnn}", "", CNN | {"control": None, "with": "guide"}),
    ("baseline", ".other_baseline", {"target": "fcn", "guide": None, "with": "other_baseline"}),
    ("guide {guide: vit}", "", {"target": "vit", "guide": None, "with": "other_guide"}),
]


@pytest.mark.parametrize(("term", "other", "wanted"), ROWS)
def test_a_rule_reads_its_row(tables, term, other, wanted):
    expected = row_of(tables, **wanted)
    found = one(tables, f"{term} >= -1", f"consistency.kappa{other}")
    assert pd.isna(found["problem"])
    assert (found["value"], found["n"]) == (pytest.approx(expected["kappa"]), 3)
    for end in ("low", "high"):
        limit = expected[f"kappa_{end}"]
        assert pd.isna(found[end]) if pd.isna(limit) else found[end] == pytest.approx(limit)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_can_be_bounded(tables, column):
    expected = row_of(tables, **ROWS[0][2])
    found = one(tables, "trained {guide: cnn} >= 0", f"consistency.{column}")
    assert found["value"] == pytest.approx(expected[column])
    assert found["holds"] == (expected[column] >= 0)
    assert pd.isna(found["low"]) or column in WITH_INTERVAL


def test_columns_are_those_of_the_table():
    names = schema("consistency").names
    known = {f"{name}{end}" for name in COLUMNS for end in ("", "_low", "_high")}
    described = {"n", "examples", "with"} | set(names[:12])
    assert set(COLUMNS) <= set(names) <= known | described
    assert [name for name in COLUMNS if f"{name}_low" in names] == list(WITH_INTERVAL)


def test_established_is_the_whole_interval(tables):
    low = row_of(tables, **ROWS[0][2])["excess_low"]
    assert low > 0
    metric = "consistency.excess"
    assert one(tables, "trained {guide: cnn} >= 0", metric)["established"] is True
    assert one(tables, f"trained {{guide: cnn}} >= {low + 0.001:.4f}", metric)["holds"] is True
    found = one(tables, f"trained {{guide: cnn}} >= {low + 0.001:.4f}", metric)
    assert found["established"] is False
    assert one(tables, "trained {guide: cnn} >= 0", "consistency.observed")["established"] is False


def test_published_kappas_stand_beside_ours(tables):
    number = {"of": "trained {guide: cnn}", "metric": "consistency.kappa", "value": 0.047,
              "source": "the paper"}  # fmt: skip
    (row,) = check(tables, published=[number]).to_dict("records")
    assert row["published"] == 0.047
    assert row["value"] == pytest.approx(row_of(tables, **ROWS[0][2])["kappa"])


MISTAKES = [
    ("trained >= 0", "consistency.exces", r"'exces'; did you mean 'excess'\? \(known: bound_high"),
    ("trained >= 0", "consistency.n", "unknown column of consistency: 'n'"),
    ("trained >= 0", "consistency.kappa.guides", "with 'guides'; did you mean 'guide'"),
    ("trained >= 0", "consistency.kappa.control", r"row of trained in consistency: with 'control'"),
    ("guide >= 0", "consistency.kappa.guide", r"row of guide .* \(known: other_guide\)"),
    ("guide >= 0", "consistency.own", "of guide: rows with the guide alone have the column own"),
    ("trained >= 0", "consistency.own.baseline", "rows with the guide alone have the column own"),
    ("baseline >= 0", "consistency.excess", "measured from the baseline"),
    ("trained - baseline >= 0", "consistency.kappa", "a rule on consistency has one term"),
]


@pytest.mark.parametrize(("rule", "metric", "message"), MISTAKES)
def test_mistakes_are_refused_when_the_rule_is_read(rule, metric, message):
    with pytest.raises(UserError, match=message):
        read_rule({"rule": rule, "metric": metric})


def test_mistakes_in_published_numbers_are_refused():
    with pytest.raises(UserError, match="unknown column of consistency: 'kapa'"):
        read_published({"of": "trained", "metric": "consistency.kapa", "value": 1, "source": "x"})


def test_a_baseline_with_several_guides_must_say_which(tables):
    assert "cnn | vit" in one(tables, "baseline >= 0", "consistency.kappa")["problem"]


def test_a_value_that_is_not_there_cannot_be_checked(study, tables):
    empty = consistency_table(study.replicates(), Answers([], {}))
    for consistency in (empty, empty.iloc[:0]):
        found = one(tables | {"consistency": consistency}, "untrained >= 0", "consistency.excess")
        assert found["problem"] == "untrained has no consistency.excess"
        assert found["holds"] is None

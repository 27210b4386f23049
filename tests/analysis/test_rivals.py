"""Rivals in the tables: paired like guided conditions, with verdicts of their own words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from analysis import plots
from analysis.cells import records
from analysis.contract import GUIDANCE
from analysis.expectations.table import expectation_table
from analysis.pairs import pair_table
from analysis.priors import prior_table
from analysis.sentences import sentence
from analysis.trainability import trainability_table
from analysis.transfer import transfer_table
from analysis.verdict_words import Kind, kind
from tests.analysis.conftest import TASKS, ToyStudy
from tests.helpers.drawings import texts, tick_names

SEEDS = range(4)
LOW = {0: 0.50, 1: 0.52, 2: 0.51, 3: 0.49}


def better(by: float) -> dict[int, float]:
    return {seed: value + by + 0.01 * (seed % 2) for seed, value in LOW.items()}


def rival(
    study: ToyStudy, name: str, outcomes: dict[int, Any], control: str = "none", **columns: Any
) -> None:
    role = "rival" if control == "none" else "control"
    before = len(study.plan)
    study.add(role, outcomes, "fcn", guide=name, control=control)
    for row in study.plan[before:]:
        row |= {"baseline_id": f"baseline/fcn/{row['seed']}", "guide_id": None, "guide": None,
                "treatment": name, **columns}  # fmt: skip


@pytest.fixture
def study() -> ToyStudy:
    made = ToyStudy().guide(better(0.4)).baseline(LOW)
    made.guided(better(0.2)).control("shuffled", better(0.0))
    rival(made, "orthogonal", better(0.1), required_controls=[])
    # A difference without spread would have no interval.
    rival(made, "interpolated", {s: v + s / 1000 for s, v in better(0.3).items()},
          required_controls=["permuted"])  # fmt: skip
    rival(made, "interpolated", better(0.1), control="permuted")
    rival(made, "label_smoothing", better(-0.1), required_controls=[])
    rival(made, "lonely", better(0.1), required_controls=["permuted"])
    for row in made.plan:
        if row["role"] in ("guided", "control"):
            row.setdefault("treatment", GUIDANCE)
    return made


def replicates(study: ToyStudy) -> Any:
    frame = study.replicates()
    required = {row["replicate_id"]: row.get("required_controls") for row in study.plan}
    frame["required_controls"] = [required[name] for name in frame["replicate_id"]]
    return frame


@pytest.fixture
def rows(study: ToyStudy) -> dict[tuple[str, str], dict[str, Any]]:
    table = transfer_table(replicates(study), study.histories(), TASKS)
    found = records(table[table["primary"]])
    return {(row["treatment"], row["control"]): row for row in found}


def test_differences_are_to_the_same_baselines(rows: Any) -> None:
    row = rows["orthogonal", "none"]
    assert row["n"] == 4
    assert row["difference"] == pytest.approx(0.105)
    assert row["baseline"] == rows[GUIDANCE, "none"]["baseline"]
    assert {row[name] for name in ("guide", "state", "guide_alone", "specific")} == {None}


def test_verdicts_say_what_a_rival_can_be_specific_to(rows: Any) -> None:
    verdicts = {key: row["verdict"] for key, row in rows.items()}
    assert verdicts["orthogonal", "none"] == "helps"
    assert verdicts["interpolated", "none"] == "helps, prior-specific"
    assert verdicts["interpolated", "permuted"] == "control"
    assert verdicts["label_smoothing", "none"] == "hurts"
    assert verdicts["lonely", "none"] == "helps, specificity not established"
    assert rows["lonely", "none"]["missing_controls"] == "permuted (not planned)"
    assert rows["interpolated", "none"]["specific"] == pytest.approx(0.2015)
    assert rows["interpolated", "permuted"]["specific"] == pytest.approx(0.2015)
    assert kind("helps") == Kind.helps
    assert kind("helps, prior-specific") == Kind.specific


def test_rules_have_terms_of_rivals(study: ToyStudy, tasks: Any) -> None:
    replicates = study.replicates()
    tables = {
        "replicates": replicates,
        "transfer": transfer_table(replicates, study.histories(), tasks),
    }
    rules = [
        "rival {treatment: orthogonal} - baseline >= 10 points",
        "rival {treatment: interpolated} - rival.permuted {treatment: interpolated} >= 10 points",
        "trained - rival {treatment: label_smoothing} >= 0",
        "baseline {treatment: orthogonal} >= 0",
        "rival >= 0",
        "rival {treatment: orthogonl} >= 0",
        "rival.permuted {treatment: orthogonal} >= 0",
        "trained {treatment: guidance} - baseline >= 0",
    ]
    found = expectation_table("toy-study", {"expect": rules}, tables.__getitem__)
    assert found["value"].tolist()[:2] == pytest.approx([0.105, 0.207], abs=0.01)
    assert found["problem"].isna().tolist() == [True] * 4 + [False] * 3 + [True]
    several, unknown, none = found["problem"][4:7]
    assert "as in rival {treatment: LABEL}" in several
    assert "did you mean 'orthogonal'" in unknown
    assert "rival.permuted stands at treatment: interpolated" in none
    assert "rival.permuted" in none


def test_a_rival_can_be_confirmed(study: ToyStudy, tasks: Any) -> None:
    confirm = ["rival {treatment: orthogonal}"]
    found = transfer_table(study.replicates(), study.histories(), tasks, confirm=confirm)
    named = found[found["confirm"].fillna(value=False) & found["primary"]]
    assert named["treatment"].tolist() == ["orthogonal"]
    assert named["verdict_adjusted"].tolist() == named["verdict"].tolist()


def test_rivals_are_a_family_of_their_own(study: ToyStudy, rows: Any) -> None:
    alone = ToyStudy(plan=[r for r in study.plan if r.get("treatment") in (None, GUIDANCE)],
                     outcomes=study.outcomes)  # fmt: skip
    table = transfer_table(replicates(alone), study.histories(), TASKS)
    (guided,) = [r for r in records(table) if r["primary"] and r["control"] == "none"]
    assert rows[GUIDANCE, "none"]["p_adjusted"] == guided["p_adjusted"]


def test_seeds_of_a_rival_without_a_guide_succeed_by_the_guides_of_the_task(
    study: ToyStudy,
) -> None:
    # Two seeds stay at chance, two learn.
    rival(study, "bimodal", {0: 0.1, 1: 0.9, 2: 0.1, 3: 0.9}, required_controls=[])
    tasks = {"toy": replace(TASKS["toy"], chance={"accuracy": 0.1})}
    table = transfer_table(replicates(study), study.histories(), tasks)
    rows = {r["treatment"]: r for r in records(table) if r["primary"] and r["control"] == "none"}
    own = rows[GUIDANCE]["success_threshold"]
    assert own is not None
    assert rows["orthogonal"]["success_threshold"] == own
    assert rows["orthogonal"]["seeds_disagree"] is False
    row = rows["bimodal"]
    assert (row["guided_success"], row["seeds_disagree"]) == (0.5, True)
    assert "50% of treated and 100% of unguided seeds learn" in sentence(row)


def test_figures_name_rivals(study: ToyStudy) -> None:
    frame = replicates(study)
    transfer = transfer_table(frame, study.histories(), TASKS)
    ax = plots.forest(transfer, pair_table(frame, TASKS))
    assert "guided by" not in " ".join(texts(ax))
    assert "orthogonal" in " ".join(tick_names(ax, "y"))
    assert plots.matrix(transfer).get_ylabel() == "guide or rival"
    alone = transfer[transfer["treatment"] == "orthogonal"]
    assert tick_names(plots.forest(alone), "y") == ["orthogonal"]
    assert tick_names(plots.matrix(alone), "y") == ["orthogonal"]


def test_sentences_name_the_rival(rows: Any) -> None:
    assert sentence(rows["orthogonal", "none"]).startswith(
        "The rival orthogonal lifts the fcn by 10.5 points"
    )
    assert "the prior with its weights permuted" in sentence(rows["interpolated", "none"])
    assert sentence(rows["interpolated", "none"]).endswith("the prior's.")
    assert "whether that is the prior's is open" in sentence(rows["lonely", "none"])


def test_tables_of_guides_leave_rivals_out(study: ToyStudy) -> None:
    frame = replicates(study)
    assert len(prior_table(frame, TASKS)) == 2
    assert trainability_table(frame, study.histories(), TASKS)["guide"].notna().all()
    pairs = pair_table(frame, TASKS)
    roles = pairs.groupby("treatment")["role"].agg(lambda each: sorted(set(each))).to_dict()
    assert roles == {
        GUIDANCE: ["control", "guided"], "orthogonal": ["rival"], "label_smoothing": ["rival"],
        "interpolated": ["control", "rival"], "lonely": ["rival"],
    }  # fmt: skip

"""Tables of a search: trials, budget curve, and the columns of tuned rows."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.cells import TaskMetrics
from analysis.contract import CONDITION_COLUMNS
from analysis.search import budget_curve, expected_best, search_table, with_tuning

TASKS = {
    "digits": TaskMetrics(
        primary_metric="accuracy", higher_is_better={"accuracy": True, "loss": False}
    )
}


@dataclass(frozen=True)
class Outcome:
    status: str = "finished"
    validation: Any = None


def accuracy(value: float) -> Outcome:
    return Outcome(validation={"validation/accuracy": value, "validation/loss": 9.0})


def row(trial: int | None, seed: int, **changes: Any) -> dict[str, Any]:
    labels = dict.fromkeys(CONDITION_COLUMNS) | {"study": "s", "task": "digits", "target": "fcn"}
    return {
        **labels, "replicate_id": f"{trial}-{seed}", "role": "candidate", "seed": seed,
        "arm": "baseline", "trial": trial, "batch": None if trial is None else trial // 2,
        "point": json.dumps({"train.lr": trial}), "budget": 3, "select": "validation/accuracy",
    } | changes  # fmt: skip


CANDIDATES = [row(trial, seed) for trial in range(3) for seed in (100, 101)]
WINNER = row(1, 0, role="baseline", replicate_id="w")
OUTCOMES = {
    "0-100": accuracy(0.5), "0-101": accuracy(0.7), "1-100": accuracy(0.8), "1-101": accuracy(0.9),
    "2-100": accuracy(0.1), "2-101": accuracy(0.2),
}  # fmt: skip


def table(outcomes: Any = OUTCOMES, planned: Any = (WINNER,), **changes: Any) -> pd.DataFrame:
    candidates = [each | changes for each in CANDIDATES]
    return search_table(candidates, planned, outcomes, TASKS)


def test_a_row_for_each_trial() -> None:
    found = table()
    assert found["trial"].tolist() == [0, 1, 2]
    assert found["batch"].tolist() == [0, 0, 1]
    assert found["value"].tolist() == pytest.approx([0.6, 0.85, 0.15])
    assert json.loads(found["values"][1]) == {"100": 0.8, "101": 0.9}
    assert json.loads(found["replicate_ids"][1]) == {"100": "1-100", "101": "1-101"}
    assert json.loads(found["point"][1]) == {"train.lr": 1}
    assert found["chosen"].tolist() == [False, True, False]
    assert set(found["role"]) == {"baseline"}
    assert set(found["metric"]) == {"validation/accuracy"}
    assert set(found["higher_is_better"]) == {True}
    assert set(found["status"]) == {"finished"}


def test_guides_of_candidates_are_no_trials() -> None:
    guide = row(None, 100, arm=None, budget=None, select=None, point=None)
    assert len(search_table([guide, *CANDIDATES], [], OUTCOMES, TASKS)) == 3


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("failed"), "failed"),
        (Outcome("blocked"), "failed"),
        (Outcome("missing"), "missing"),
        (accuracy(math.nan), "failed"),
        (Outcome("finished", {}), "failed"),
        (None, "missing"),
    ],
)
def test_a_trial_without_all_its_values_has_none(outcome: Any, status: str) -> None:
    outcomes = {**OUTCOMES, "1-101": outcome}
    if outcome is None:
        del outcomes["1-101"]
    found = table(outcomes)
    assert found["status"].tolist() == ["finished", status, "finished"]
    assert found["value"].isna().tolist() == [False, True, False]
    assert json.loads(found["values"][1]) == {"100": 0.8, "101": None}


def test_a_point_met_twice_has_two_rows() -> None:
    again = [row(3, seed, replicate_id=f"0-{seed}") for seed in (100, 101)]
    found = search_table([*CANDIDATES, *again], [], OUTCOMES, TASKS)
    assert found["value"].tolist() == pytest.approx([0.6, 0.85, 0.15, 0.6])


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("values", [[0.3], [0.1, 0.5, 0.2], [1.0, 1.0, 0.0, 3.0], [2, 1, 4, 3, 7]])
def test_the_expected_best_is_that_of_all_draws(values: list[float], higher: bool) -> None:
    best = max if higher else min
    found = list(expected_best(np.array(values, dtype=float), higher_is_better=higher))
    for b, (mean, deviation) in enumerate(found, 1):
        draws = [best(draw) for draw in itertools.product(values, repeat=b)]
        assert mean == pytest.approx(np.mean(draws))
        assert deviation == pytest.approx(np.std(draws), abs=1e-9)


def test_failed_trials_count_as_the_worst() -> None:
    nan = float("nan")
    for higher, filled in ((True, [0.2, 0.2, 0.8]), (False, [0.8, 0.2, 0.8])):
        found = expected_best(np.array([nan, 0.2, 0.8]), higher_is_better=higher)
        wanted = expected_best(np.array(filled), higher_is_better=higher)
        assert list(found) == list(wanted)
    assert list(expected_best(np.array([nan, nan]), higher_is_better=True)) == [(None, None)] * 2


def test_a_curve_for_each_arm_whose_trials_have_ended() -> None:
    guided = [each | {"arm": "guided", "guide": "cnn", "control": "none"} for each in CANDIDATES]
    found = search_table([*CANDIDATES, *guided], [], OUTCOMES, TASKS)
    curve = budget_curve(found)
    assert curve["b"].tolist() == [1, 2, 3, 1, 2, 3]
    assert curve["role"].tolist() == ["baseline"] * 3 + ["guided"] * 3
    assert curve["expected"][0] == pytest.approx(np.mean([0.6, 0.85, 0.15]))
    assert curve["expected"].iloc[:3].is_monotonic_increasing
    assert set(curve["trials"]) == {3}
    assert budget_curve(found[found["trial"] < 2]).empty
    assert len(budget_curve(table({**OUTCOMES, "1-101": Outcome("missing")}))) == 0


def test_losses_fall_with_the_budget() -> None:
    outcomes = {
        name: Outcome(validation={"validation/loss": each.validation["validation/accuracy"]})
        for name, each in OUTCOMES.items()
    }
    found = table(outcomes, select="validation/loss")
    assert set(found["higher_is_better"]) == {False}
    assert budget_curve(found)["expected"].is_monotonic_decreasing


def test_rows_say_what_was_tuned() -> None:
    labels = {column: WINNER[column] for column in CONDITION_COLUMNS}
    other = labels | {"target": "cnn"}
    replicates = pd.DataFrame(
        [labels | {"budget": 3, "chosen": "{}"}, other | {"budget": None, "chosen": None}]
    ).astype({"budget": "Int64"})
    found = with_tuning([labels | {"n": 1}, other | {"n": 2}], replicates)
    assert [(each["tuned"], each["budget"], each["chosen"]) for each in found] == [
        (True, 3, "{}"),
        (False, None, None),
    ]
    assert [each["n"] for each in found] == [1, 2]

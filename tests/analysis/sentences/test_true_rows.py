"""Sentences on rows that `transfer_table` makes of simulated studies agree with the verdict."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.cells import TaskMetrics
from analysis.sentences import sentence
from analysis.transfer import transfer_table
from analysis.verdicts import Kind, kind

TASKS = {
    "toy": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"loss": False, "accuracy": True},
        chance={"accuracy": 0.1, "loss": 0.9},
    )
}
outcome = st.one_of(
    st.floats(0.0, 1.0).map(lambda value: round(value, 4)),
    st.sampled_from([0.5, 0.6, "failed", "missing"]),
)
arms = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(outcome, min_size=n, max_size=n), min_size=6, max_size=6
    )  # guide, baseline, guided, and three controls
)


def rows_of(toy: Any, values: list[list[float | str]], margin: float | None) -> list[dict]:
    guide, baseline, guided, shuffled, pixels, labels = (dict(enumerate(arm)) for arm in values)
    study = toy().guide(guide).baseline(baseline).guided(guided)
    study.control("shuffled", shuffled).control("input", pixels, None)
    study.control("labels", labels, None, num_pairs=1)
    margins = {} if margin is None else {"accuracy": margin, "loss": margin}
    frame = transfer_table(study.replicates(), study.histories(), TASKS, margins=margins)
    return frame.to_dict("records")


@pytest.mark.processes
@given(arms, st.one_of(st.none(), st.just(0.05)))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_sentence_claims_what_its_verdict_does(toy, values, margin) -> None:
    for row in rows_of(toy, values, margin):
        text, found = sentence(row), kind(row["verdict"])
        assert text.endswith(".")
        assert not re.search(r"\b(nan|None|inf|NA)\b", text), text
        main = text.split(". ")[0]
        assert (" costs " in main or " raises " in main) == (found == Kind.hurts)
        assert main.rstrip(".").endswith(": the guide's") == (found == Kind.specific)
        assert "makes no difference" in text or found != Kind.no_effect
        assert (
            "not established" in text or "nothing is known" in text.lower() or (found != Kind.open)
        )
        if "not the guide's" in text:
            assert found in (Kind.helps, Kind.no_more)
            assert found == Kind.no_more or row["specific_high"] < 0


def test_the_gain_of_a_control_is_that_of_its_level(toy) -> None:
    values = [[0.9] * 5, [0.50, 0.55, 0.52, 0.51, 0.53], [0.55, 0.60, 0.56, 0.57, 0.58]]
    controls = [
        [0.5, 0.51, 0.5, 0.52, 0.5],
        [0.51, 0.5, 0.5, 0.5, 0.5],
        [0.6, 0.64, 0.63, 0.62, 0.6],
    ]
    row = rows_of(toy, values + controls, None)[0]
    gain = np.mean(controls[2]) - np.mean(values[1])
    assert f"labels alone by {100 * gain:.1f} (" in sentence(row)
    assert row["specific_control"] == "labels"


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_seeds(toy, n: int) -> None:
    row = rows_of(toy, [[0.9] * n, [0.5] * n, [0.8] * n, *[[0.5] * n] * 3], None)[0]
    assert "too few for an interval" in sentence(row)

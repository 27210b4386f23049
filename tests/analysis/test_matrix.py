"""Pivoting to guides x targets."""

from __future__ import annotations

import numpy as np
import pytest

import analysis
from analysis.transfer import transfer_table


@pytest.fixture
def frame(toy, tasks):
    study = toy()
    for target in ("rnn", "fcn"):
        study.baseline({0: 0.49, 1: 0.5, 2: 0.51}, target)
    for guide, target, gain in (("mlp", "rnn", 0.1), ("cnn", "rnn", 0.2), ("cnn", "fcn", 0.3)):
        outcomes = dict.fromkeys(range(3), 0.5 + gain)
        for state in ("trained", "untrained"):
            study.guided(outcomes, state, guide=guide, target=target)
            study.control("shuffled", outcomes, state, guide=guide, target=target)
        study.control("input", outcomes, None, guide=guide, target=target)
    return transfer_table(study.replicates(), study.histories(), tasks)


def test_guides_by_targets_in_the_order_of_the_frame(frame):
    chosen = frame.query("state == 'trained' and control == 'none' and metric == 'accuracy'")
    found = analysis.matrix(chosen)
    assert found.index.tolist() == ["mlp", "cnn"]
    assert found.columns.tolist() == ["rnn", "fcn"]
    np.testing.assert_allclose(found.to_numpy(), [[0.1, np.nan], [0.2, 0.3]])


def test_any_column_can_be_the_value(frame):
    chosen = frame.query("state == 'trained' and control == 'none' and metric == 'accuracy'")
    assert analysis.matrix(chosen, "n").loc["cnn", "fcn"] == 3
    assert analysis.matrix(chosen, value="verdict").loc["mlp", "rnn"].startswith("helps")
    with pytest.raises(ValueError, match=r"'differense'; did you mean 'difference'\?"):
        analysis.matrix(chosen, "differense")


def test_axes_that_vary_are_named_with_their_values(frame):
    with pytest.raises(ValueError, match="a matrix needs") as error:
        analysis.matrix(frame)
    message = str(error.value)
    assert "state (trained, untrained, null)" in message
    assert "control (none, shuffled, input)" in message
    assert "metric (accuracy, loss)" in message
    assert "schedule" not in message


def test_a_null_is_a_value_of_its_axis(frame):
    chosen = frame.query("metric == 'accuracy' and control != 'none' and state != 'untrained'")
    with pytest.raises(ValueError, match=r"state \(trained, null\)"):
        analysis.matrix(chosen)


@pytest.mark.parametrize(
    ("column", "value"),
    [("task", "other"), ("distance", "rsa"), ("mapping", "last"), ("schedule", "alpha=5")],
)
def test_every_other_axis_counts_too(frame, column, value):
    chosen = frame.query("state == 'trained' and control == 'none' and metric == 'accuracy'").copy()
    chosen.loc[chosen.index[0], column] = value
    with pytest.raises(ValueError, match=rf"axes: {column} \({value}, "):
        analysis.matrix(chosen)


def test_an_empty_frame_is_an_empty_matrix(frame):
    assert analysis.matrix(frame.iloc[:0]).shape == (0, 0)

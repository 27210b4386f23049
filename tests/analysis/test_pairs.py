"""The `pairs` table, and learning curves' means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.pairs import pair_table
from analysis.schema import describe
from analysis.transfer import transfer_table


def test_a_row_for_each_condition_metric_and_seed(full, tasks):
    frame = pair_table(full.replicates(), tasks)
    assert list(frame.columns) == describe("pairs")["column"].tolist()
    guided = frame.query("state == 'trained' and control == 'none' and metric == 'loss'")
    assert guided["seed"].tolist() == [0, 1, 2, 3, 4]
    assert guided["status"].tolist() == ["finished"] * 3 + ["failed", "finished"]
    assert guided["guided"].tolist()[:3] == pytest.approx([0.30, 0.27, 0.26])
    assert np.isnan(guided["guided"].iloc[3])
    assert guided["baseline"].iloc[3] == pytest.approx(0.49)
    assert guided["difference"].tolist()[:3] == pytest.approx([0.20, 0.18, 0.22])
    assert not guided["primary"].any()
    assert set(frame["role"]) == {"guided", "control"}


def test_means_of_differences_are_those_of_transfer(full, tasks):
    replicates = full.replicates()
    pairs = pair_table(replicates, tasks)
    transfer = transfer_table(replicates, full.histories(), tasks)
    keys = ["state", "control", "metric"]
    means = pairs.fillna({"state": "-"}).groupby(keys)["difference"].mean()
    expected = transfer.fillna({"state": "-"}).set_index(keys)["difference"]
    assert len(expected) == 10
    pd.testing.assert_series_equal(means, expected.sort_index())


def test_no_conditions_are_no_rows(toy, tasks):
    assert pair_table(toy().baseline({0: 0.5}).replicates(), tasks).empty

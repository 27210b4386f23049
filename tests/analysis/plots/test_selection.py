"""Metrics that a figure is usually of are told first."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.errors import UserError
from analysis.plots import selection


def test_of_many_metrics_those_of_the_splits_come_first() -> None:
    layers = [f"feature_std/layer{index:02}" for index in range(40)]
    usual = ["accuracy", "test/loss", "validation/accuracy", "validation/loss", "train/loss"]
    frame = pd.DataFrame({"metric": [*layers, *reversed(usual)]})
    with pytest.raises(UserError) as caught:
        selection.where(frame, metric="foo")
    known = f"(known: {', '.join(usual)}, feature_std/layer00, feature_std/layer01, "
    assert str(caught.value).startswith(f"unknown metric: 'foo' {known}")
    assert str(caught.value).endswith("and 21 more)")
    with pytest.raises(UserError, match=r"did you mean 'train/loss'\?"):
        selection.where(frame, metric="train/los")

"""Sentences on groups of guides."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.predictors.association import CONSTANT, HIGHER, LOWER, OPEN, TOO_FEW
from analysis.predictors.sentences import sentence

ROW: dict[str, Any] = {
    "guides": 6, "targets": 1, "spearman": 0.5, "spearman_low": -0.2, "spearman_high": 0.9,
    "spearman_p": 0.123,
}  # fmt: skip
SHOWN = "(Spearman +0.50 [-0.20, +0.90], p 0.123) over 6 guides and 1 target."


@pytest.mark.parametrize(
    ("changes", "predictor", "expected"),
    [
        ({"verdict": HIGHER}, "guide_score",
         f"Guides that score better alone teach better {SHOWN}"),
        ({"verdict": LOWER}, "effective_rank",
         f"Guides of a higher effective rank teach worse {SHOWN}"),
        ({"verdict": OPEN}, "label_similarity",
         "Whether guides whose features are more similar to the labels teach better is not "
         f"established {SHOWN}"),
        ({"verdict": TOO_FEW, "guides": 1, "spearman": None}, "initial_alignment",
         "Whether guides that are more aligned with the untrained target teach better is not "
         "established: 1 guide cannot tell, it takes 5 at least."),
        ({"verdict": OPEN, "spearman_low": None, "spearman_high": None}, "guide_score",
         "Whether guides that score better alone teach better is not established "
         "(Spearman +0.50, p 0.123) over 6 guides and 1 target."),
        ({"verdict": HIGHER, "state": "untrained"}, "guide_score",
         f"Architectures that score better when trained teach better {SHOWN}"),
        ({"verdict": CONSTANT, "spearman": None}, "guide_score",
         "Whether guides that score better alone teach better is not established: there is no "
         "variation to compare over 6 guides and 1 target."),
    ],
)  # fmt: skip
def test_a_sentence(changes: dict[str, Any], predictor: str, expected: str) -> None:
    assert sentence(ROW | changes, predictor) == expected

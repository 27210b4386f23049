"""A sentence on a group of the table `predictors`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.predictors.association import CONSTANT, HIGHER, LOWER, MIN_GUIDES, TOO_FEW
from analysis.predictors.table import (
    EFFECTIVE_RANK,
    GUIDE_SCORE,
    INITIAL_ALIGNMENT,
    LABEL_SIMILARITY,
)

_WHO = {
    INITIAL_ALIGNMENT: "guides that are more aligned with the untrained target",
    LABEL_SIMILARITY: "guides whose features are more similar to the labels",
    GUIDE_SCORE: "guides that score better alone",
    EFFECTIVE_RANK: "guides of a higher effective rank",
}


def sentence(row: Mapping[str, Any], predictor: str = INITIAL_ALIGNMENT) -> str:
    """A sentence on the group of a row, which may lack the column `predictor`."""
    who, guides = _WHO[predictor], counted(row["guides"], "guide")
    if predictor == GUIDE_SCORE and row.get("state") == "untrained":
        # What guides is not what was scored.
        who = "architectures that score better when trained"
    if row["verdict"] == TOO_FEW:
        return (
            f"Whether {who} teach better is not established: {guides} cannot tell, it takes "
            f"{MIN_GUIDES} at least{_correlation(row)}."
        )
    if row["verdict"] == CONSTANT:
        return (
            f"Whether {who} teach better is not established: there is no variation to "
            f"compare{_over(row)}."
        )
    if row["verdict"] in (HIGHER, LOWER):
        how = "better" if row["verdict"] == HIGHER else "worse"
        return f"{who[0].upper()}{who[1:]} teach {how}{_correlation(row)}{_over(row)}."
    return f"Whether {who} teach better is not established{_correlation(row)}{_over(row)}."


def _correlation(row: Mapping[str, Any]) -> str:
    if row["spearman"] is None:
        return ""
    limits = ""
    if row["spearman_low"] is not None:
        limits = f" [{row['spearman_low']:+.2f}, {row['spearman_high']:+.2f}]"
    return f" (Spearman {row['spearman']:+.2f}{limits}, p {row['spearman_p']:.3f})"


def _over(row: Mapping[str, Any]) -> str:
    return f" over {counted(row['guides'], 'guide')} and {counted(row['targets'], 'target')}"


def counted(number: int, word: str) -> str:
    """A number and the word, in its plural unless the number is 1."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

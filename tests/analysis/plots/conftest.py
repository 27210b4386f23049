"""Tables of synthetic studies for figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from analysis.dials import dial_table
from analysis.pairs import pair_table
from analysis.schema import frame_of, schema
from analysis.transfer import transfer_table

#: Names that are markup, formulas or commands somewhere, very long, or from right to left.
AWKWARD = [
    "<script>alert('x')</script>", "$\\frac{1}{0}$", "a_b & \"c\" -- d", "مرحبا", "\x00\x1b[31m",
    "fcn(" + ",".join(f"option_{k}={k}" for k in range(40)) + ")",
]  # fmt: skip


@pytest.fixture
def tables(tasks: Any) -> Callable[[Any], dict[str, pd.DataFrame]]:
    """The tables of a toy study, as `analyze` would write them."""

    def made(study: Any) -> dict[str, pd.DataFrame]:
        replicates, history = study.replicates(), study.histories()
        return {
            "replicates": replicates,
            "history": history,
            "transfer": transfer_table(replicates, history, tasks),
            "pairs": pair_table(replicates, tasks),
            "dials": dial_table(replicates, tasks),
        }

    return made


def alignment_rows(replicate: str, moment: str, value: float, **columns: Any) -> list[dict]:
    """Rows of the table `alignment`: two guide taps, three target taps, around `value`."""
    return [
        {
            "replicate_id": replicate, "guide_id": "guide/cnn/0", "guide_moment": "final",
            "moment": moment, "guide_tap": guide, "target_tap": target,
            "measure": "linear_cka(unbiased=true)", "rows": "examples", "n": 100,
            "similarity": value + 0.1 * row + 0.01 * column,
        } | columns
        for row, guide in enumerate(["conv1", "conv2"])
        for column, target in enumerate(["dense1", "dense2", "dense3"])
    ]  # fmt: skip


def alignment_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return frame_of(rows, schema("alignment"))
